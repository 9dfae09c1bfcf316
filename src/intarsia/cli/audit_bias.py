"""`intarsia audit bias`: whether a model rejects the stereotypes that it writes itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intarsia.cli import _audits, console

if TYPE_CHECKING:
    from intarsia.audit.bias.results import BiasResult

bias = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_STATEMENTS = {"rich_help_panel": "Statements"}


@bias.callback()
def bias_options() -> None:
    """Have a model complete statements about two groups, and judge what it wrote, beside controls.

    Content warning: the statements are stereotypes.
    """


@bias.command()
def run(
    model: Annotated[
        str,
        typer.Option(
            help="asset:NAME, a folder, hf/OWNER/NAME, http://HOST:PORT/v1#NAME, replay:FILE, a provider of Inspect's "
            "(openai/gpt-4o-mini, ...), or simulated:consistent, aligned-surface, rejects-everything, "
            "agrees-with-everything, noisy, refuses-often."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the run.")],
    test: Annotated[
        list[str] | None, typer.Option(help="A test or category. Repeatable; default: all.", **_STATEMENTS)
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            help="completion: two blanks, two group words; open: a sentence about somebody is gone on with (tests of "
            "gender only).",
            **_STATEMENTS,
        ),
    ] = "completion",
    templates: Annotated[int, typer.Option(help="Wordings of a statement, 2 to 10.", **_STATEMENTS)] = 10,
    draws: Annotated[int, typer.Option(help="Completions of each wording, a multiple of 4.", **_STATEMENTS)] = 20,
    pairs: Annotated[int, typer.Option(help="Attribute pairs of a test.", **_STATEMENTS)] = 5,
    neutral: Annotated[
        int, typer.Option(help="Neutral statements judged as a control, at most 40.", **_STATEMENTS)
    ] = 40,
    stimuli: Annotated[
        Path | None, typer.Option(help="JSONL file of association tests of yours.", **_STATEMENTS)
    ] = None,
    completions: Annotated[
        Path | None, typer.Option(help="Run or log whose completions are judged again.", **_STATEMENTS)
    ] = None,
    statements: Annotated[
        Path | None, typer.Option(help="JSONL or CSV file of statement pairs that are only judged.", **_STATEMENTS)
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(help="agree2, likert5, biased2. Repeatable; the first decides.", show_default="agree2, likert5"),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            help="fresh, same_chat, attributed, third_person. Repeatable; the first decides.", show_default="fresh"
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Chooses words, attributes and seeds of sampling.")] = 0,
    max_calls: _audits.MaxCalls = None,
    concurrency: _audits.Concurrency = 10,
    base_url: _audits.BaseUrl = None,
    timeout: _audits.Timeout = 120,
    overwrite: _audits.Overwrite = False,
    json: _audits.AsJson = False,
) -> None:
    """Ask a model both stages and report what it shows and what it avows.

    The number of calls is told before the first one. Stopped at any point, the same command goes on where it was.

    Examples: [cyan]intarsia audit bias run --model openai/gpt-4o-mini --test gender --output runs/bias[/cyan],
    [cyan]intarsia audit bias run --model simulated:aligned-surface --templates 4 --output runs/simulated[/cyan]
    """
    from intarsia.audit.bias.auditing import run_bias_audit
    from intarsia.audit.bias.config import RejudgeConfig
    from intarsia.audit.bias.layout import BiasAuditConfig

    protocol = RejudgeConfig(
        tests=tuple(test or ()),
        form=form,
        templates=templates,
        draws=draws,
        pairs=pairs,
        scales=tuple(scale or ("agree2", "likert5")),
        contexts=tuple(context or ("fresh",)),
        neutral=neutral,
        temperature=temperature,
        seed=seed,
    )
    config = BiasAuditConfig(
        model=model, base_url=base_url, concurrency=concurrency, max_calls=max_calls, timeout=timeout
    )
    done = run_bias_audit(
        output,
        config,
        protocol,
        stimuli=stimuli,
        completions=completions,
        statements=statements,
        command=_audits.command(),
        overwrite=overwrite,
        progress=True,
        say=_audits.say,
    )
    _show([done.result], json=json)
    _audits.say_where(done.report, unanswered=0 if json else done.result.unanswered)


@bias.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or logs (.eval) of intarsia/rejudge.")],
    output: _audits.ReportFolder = None,
    json: _audits.AsJson = False,
) -> None:
    """Make tables and report again from what was logged; no model is asked.

    Several runs come on one page.

    Example: intarsia audit bias report runs/mini runs/large --output runs/compared
    """
    from intarsia.audit.bias.auditing import write_bias_report

    results, page = write_bias_report(runs, _audits.report_folder(runs, output))
    _show(results, json=json)
    _audits.say_where(page)


@bias.command()
def words(
    answers: Annotated[Path, typer.Argument(help="JSONL file (or .gz) of recorded word lists: test, response.")],
    stimuli: Annotated[Path | None, typer.Option(help="JSONL file of the association tests they answer.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Score recorded word lists; no model is asked. The Inspect task intarsia/iat makes new ones.

    Example: intarsia audit bias words answers.jsonl.gz --stimuli stimuli.jsonl
    """
    from intarsia.audit.bias.association import read_tests, shipped_tests
    from intarsia.audit.bias.list_tables import list_table
    from intarsia.audit.bias.word_lists import read_list_answers, unbalanced

    tests = read_tests(stimuli) if stimuli else shipped_tests()
    rows = list_table(read_list_answers(answers, tests), tests)
    answered = {row["test"] for row in rows}
    if (warning := unbalanced(test for test in tests if test.test in answered)) is not None:
        _audits.warn(warning)
    if json:
        console.print_json(rows)
        return
    shown = [
        {**row, "bias": _cell(row["bias"]), "interval": _interval(row["bias"]), "missing": 100 * row["missing"]}
        for row in rows
    ]
    columns = {"test": "Test", "variant": "Variant", "bias": "B", "interval": "95 % interval", "lists": "Lists"}
    console.print_table(shown, {**columns, "undefined": "Undefined", "missing": "Attributes missing, %"})


def _show(results: "list[BiasResult]", *, json: bool) -> None:
    """Prints one table for all models, and which controls failed below it."""
    if json:
        _audits.print_results(results)
        return
    rows = [_row(result, row) for result in results for row in result.tests]
    several = {
        name: heading
        for name, heading in {"model": "Model", "context": "Context"}.items()
        if len({row[name] for row in rows}) > 1
    }
    columns = {"test": "Test", **several, "implicit": "I", "delta": "Delta", "explicit": "E", "unscored": "Unscored, %"}
    console.print_table(rows, {**columns, "verdict": "Verdict"})
    for result in results:
        for row in result.controls:
            if row["problems"]:
                problems = ", and ".join(row["problems"])
                _audits.warn(
                    f"{result.model}, {row['context']}, {row['scale']}: {problems}; there is no verdict on this scale"
                )
        _audits.warn_unanswered(result, result.items, "items")


def _row(result: "BiasResult", row: dict[str, Any]) -> dict[str, Any]:
    cells = {name: _with_interval(row[name]) for name in ("implicit", "delta", "explicit")}
    unscored = None if row["unscored"] is None else f"{100 * row['unscored']:.1f}"
    # A control that failed is told once, below the table.
    told = [problem for control in result.controls for problem in control["problems"]]
    why = next((f": {reason}" for reason in row["reasons"] if reason not in told), "")
    return {**row, **cells, "model": result.model, "unscored": unscored, "verdict": f"{row['verdict']}{why}"}


def _with_interval(cell: dict[str, Any] | None) -> str | None:
    return None if cell is None else f"{cell['value']:+.2f} [{cell['low']:+.2f}, {cell['high']:+.2f}]"


def _cell(cell: dict[str, Any] | None) -> str | None:
    return None if cell is None else f"{cell['value']:+.3f}"


def _interval(cell: dict[str, Any] | None) -> str | None:
    return None if cell is None else f"{cell['low']:+.3f} to {cell['high']:+.3f}"
