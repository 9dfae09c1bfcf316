"""`intarsia audit`: evaluation suites for chat models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from intarsia.cli import _audits, console
from intarsia.cli.audit_all import audit_all
from intarsia.cli.audit_bias import bias
from intarsia.cli.audit_roleplay import app as roleplay

if TYPE_CHECKING:
    from intarsia.audit.causal.building import Subject
    from intarsia.audit.causal.config import BenchmarkConfig
    from intarsia.audit.causal.names import Words
    from intarsia.audit.causal.results import AuditResult

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich")
causal = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

# The options of the generator, which `generate` and `run` share.
_GENERATOR = {"rich_help_panel": "Questions"}
Seed = Annotated[int, typer.Option(help="Seed; the same seed gives the same bytes everywhere.", **_GENERATOR)]
Group = Annotated[str, typer.Option(help="Shape: 00 has 5 tiers, 10 has 6, 20 has 7, 30 has 8.", **_GENERATOR)]
Level = Annotated[
    list[int] | None, typer.Option(help="Nodes in a tier. Repeatable; default: all levels.", **_GENERATOR)
]
Graphs = Annotated[int, typer.Option(help="Graphs for each level and each of the 4 densities.", **_GENERATOR)]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", help="CP, BA, FI or CI. Repeatable; default: all.", **_GENERATOR)
]
WhatIfs = Annotated[list[int] | None, typer.Option(help="What-ifs of a CI question. Repeatable.", **_GENERATOR)]
NameStyles = Annotated[
    list[str] | None,
    typer.Option(
        "--names", help="specific, pseudo, letters, bio, che, eco, phy, own, or of --words. Repeatable.", **_GENERATOR
    ),
]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        help="zero_shot, one_shot, two_shot, zero_cot, one_cot, two_cot, mis_hint. Repeatable.",
        **_GENERATOR,
    ),
]
Evidence = Annotated[str, typer.Option(help="full: all roots are observed; partial: some are hidden.", **_GENERATOR)]
RootStates = Annotated[str, typer.Option(help="true: all roots happen; random: a coin for each.", **_GENERATOR)]
Distance = Annotated[float, typer.Option(help="Of treatments and outcomes, in (0, 1].", **_GENERATOR)]
ClosedWorldHint = Annotated[
    bool,
    typer.Option(
        "--closed-world-hint/--literal", help="Say that nothing happens without a listed condition.", **_GENERATOR
    ),
]
ShuffleSentences = Annotated[bool, typer.Option("--shuffle-sentences", help="Sentences in random order.", **_GENERATOR)]
Unique = Annotated[bool, typer.Option("--unique", help="No two graphs that differ in names only.", **_GENERATOR)]
Clip = Annotated[bool, typer.Option("--clip", help="Fewer what-ifs where a graph has too few events.", **_GENERATOR)]
WordFile = Annotated[Path | None, typer.Option("--words", help="JSON file of name styles of yours.", **_GENERATOR)]
GraphFile = Annotated[Path | None, typer.Option("--graph", help="JSON or JSONL file of graphs of yours.", **_GENERATOR)]


class Questions(NamedTuple):
    """Which questions are asked: what the options of `generate` and `run` say.

    Attributes:
        config: Settings of the generator.
        words: Name styles of the user's.
        subjects: Graphs of the user's.
        is_default: Whether no option was given.
    """

    config: "BenchmarkConfig"
    words: "Words | None"
    subjects: "list[Subject] | None"
    is_default: bool


def _questions(
    seed: Seed = 0,
    group: Group = "00",
    level: Level = None,
    graphs: Graphs = 50,
    task: Tasks = None,
    what_ifs: WhatIfs = None,
    names: NameStyles = None,
    prompt: Prompts = None,
    evidence: Evidence = "full",
    root_states: RootStates = "true",
    distance: Distance = 1.0,
    closed_world_hint: ClosedWorldHint = True,
    shuffle_sentences: ShuffleSentences = False,
    unique: Unique = False,
    clip: Clip = False,
    words: WordFile = None,
    graph: GraphFile = None,
) -> Questions:
    from intarsia.audit.causal.config import BenchmarkConfig
    from intarsia.audit.causal.names import read_words
    from intarsia.audit.causal.user_graphs import read_graphs

    # Lists that were left out keep the generator's defaults.
    lists = {
        "levels": level,
        "tasks": task,
        "what_ifs": what_ifs,
        "names": names or (["own"] if graph else None),
        "prompts": prompt,
    }
    config = BenchmarkConfig(
        seed=seed,
        group=group,
        graphs=graphs,
        evidence=evidence,
        root_states=root_states,
        distance=distance,
        minimal_sets=False,
        closed_world_hint=closed_world_hint,
        shuffle_sentences=shuffle_sentences,
        unique=unique,
        clip=clip,
        **{name: tuple(values) for name, values in lists.items() if values is not None},  # type: ignore[arg-type]
    )
    return Questions(
        config,
        read_words(words) if words else None,
        read_graphs(graph) if graph else None,
        config == BenchmarkConfig(minimal_sets=False) and not words and not graph,
    )


@app.callback()
def audit() -> None:
    """Audit a chat model: causal reasoning, characters under attack, bias that is shown and avowed; or all on one card.

    Example: intarsia audit all --model openai/gpt-4o-mini --judge openai/gpt-4o --budget 3000 --output runs/mini
    """


@causal.callback()
def causal_options() -> None:
    """Ask for causal paths, adjustment sets, facts and counterfactuals of never-seen causal graphs."""


@causal.command()
@_audits.with_options(_questions)
def generate(
    questions: Questions,
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    minimal_sets: Annotated[
        bool, typer.Option("--minimal-sets/--no-minimal-sets", help="List the minimal adjustment sets.", **_GENERATOR)
    ] = True,
    export: Annotated[list[str] | None, typer.Option(help="Also write lm-eval or huggingface. Repeatable.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder at --output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Write a data set of causal questions with proved answers.

    Example: intarsia audit causal generate --output questions --seed 7 --names specific --names bio --export lm-eval
    """
    from dataclasses import replace

    from intarsia.audit.causal.dataset import write_dataset

    manifest = write_dataset(
        output,
        replace(questions.config, minimal_sets=minimal_sets),
        words=questions.words,
        subjects=questions.subjects,
        exports=export or (),
        overwrite=overwrite,
    )
    if json:
        console.print_json(manifest)
        return
    rows = [{"task": name, "questions": count} for name, count in manifest["questions"].items()]
    console.print_table(rows, {"task": "task", "questions": "questions"})
    _audits.say(f"wrote {output}: sha256 {manifest['files']['questions.jsonl']}")


@causal.command()
@_audits.with_options(_questions)
def run(
    questions: Questions,
    model: Annotated[
        str,
        typer.Option(
            help="asset:NAME, a folder, hf/OWNER/NAME, http://HOST:PORT/v1#NAME, replay:FILE, a provider of Inspect's "
            "(openai/gpt-4o-mini, ...), or baseline:solver, majority, copy-factual, treatment-parents, empty-set, "
            "random-set."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the run.")],
    dataset: Annotated[
        Path | None, typer.Argument(help="Data set of `generate`; without one, questions are generated.")
    ] = None,
    criterion: Annotated[
        str, typer.Option(help="Rule for BA answers: adjustment, backdoor (stricter) or released (faulty).")
    ] = "adjustment",
    extractor: Annotated[
        str, typer.Option(help="rules; or model: a model writes out answers that the rules cannot read.")
    ] = "rules",
    extractor_model: Annotated[
        str | None, typer.Option(help="The model that does so.", show_default="the one that is asked")
    ] = None,
    max_calls: _audits.MaxCalls = None,
    concurrency: _audits.Concurrency = 10,
    engine: Annotated[
        str, typer.Option(help="inspect; or for very many questions serial, threads, local, ray, ray://HOST:PORT.")
    ] = "inspect",
    base_url: _audits.BaseUrl = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")] = 0.0,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Most tokens of a reply.", show_default="1024; 2048 for step by step"),
    ] = None,
    model_seed: Annotated[int | None, typer.Option(help="Seed of sampling.")] = None,
    timeout: _audits.Timeout = 120,
    overwrite: _audits.Overwrite = False,
    json: _audits.AsJson = False,
) -> None:
    """Ask a model and report what it can do.

    The number of calls is told before the first one. Stopped at any point, the same command goes on where it was.

    Examples: [cyan]intarsia audit causal run --model openai/gpt-4o-mini --graphs 10 --output runs/mini[/cyan],
    [cyan]intarsia audit causal run questions --model asset:smollm2-135m-instruct --output runs/smollm2[/cyan]
    """
    from intarsia.audit.causal.auditing import run_audit
    from intarsia.audit.causal.layout import AuditConfig

    config = AuditConfig(
        model=model,
        criterion=criterion,
        extractor=extractor,
        extractor_model=extractor_model,
        base_url=base_url,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=model_seed,
        engine=engine,
        concurrency=concurrency,
        max_calls=max_calls,
        timeout=timeout,
    )
    done = run_audit(
        output,
        config,
        dataset=dataset,
        benchmark=None if dataset is not None and questions.is_default else questions.config,
        words=questions.words,
        subjects=questions.subjects,
        command=_audits.command(),
        overwrite=overwrite,
        progress=True,
        say=_audits.say,
    )
    _show([done.result], json=json)
    _audits.say_where(done.report, unanswered=0 if json else done.result.unanswered)


@causal.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or logs (.eval) of intarsia/causal.")],
    output: _audits.ReportFolder = None,
    criterion: Annotated[str | None, typer.Option(help="Rule for BA answers.", show_default="that of each run")] = None,
    json: _audits.AsJson = False,
) -> None:
    """Make tables and report again from what was logged; no model is asked.

    Several runs come on one page, to be compared.

    Example: intarsia audit causal report runs/mini runs/smollm2 --output runs/compared
    """
    from intarsia.audit.causal.auditing import write_audit_report

    results, page = write_audit_report(runs, _audits.report_folder(runs, output), criterion=criterion)
    _show(results, json=json)
    _audits.say_where(page)


def _show(results: "list[AuditResult]", *, json: bool) -> None:
    """Prints one table for all models, and what needs no reasoning below it."""
    if json:
        _audits.print_results(results)
        return
    rows: list[dict[str, Any]] = []
    for result in results:
        rows += [{"system": result.model, **_cells(row)} for row in result.table]
    rows += [_cells(row) for row in results[0].baselines]
    several = {
        name: heading
        for name, heading in {"level": "Level", "names": "Names", "prompt": "Prompt"}.items()
        if len({row.get(name) for row in rows if name in row}) > 1
    }
    columns = {"system": "System", "task": "Task", **several, "right": "Right, %", "interval": "95 % interval"}
    console.print_table(rows, {**columns, "unread": "Unparsable, %", "n": "n"})
    for result in results:
        for row in result.names:
            if row["task"] == "all":
                _audits.tell(
                    f"{result.model}: {row['first']} minus {row['second']} names {100 * row['difference']:+.1f} "
                    f"points, p = {row['p_value']:.3g} ({row['n']} pairs)"
                )
        for row in result.extraction:
            _audits.tell(
                f"{result.model}, {row['task']}: right {100 * row['rules']['accuracy']:.1f} % as rules read, "
                f"{100 * row['with_model']['accuracy']:.1f} % with the extracting model; unparsable "
                f"{100 * row['unparsable_by_rules']:.1f} % and {100 * row['unparsable_with_model']:.1f} %"
            )
        _audits.warn_unanswered(result, result.questions, "questions")


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    shown = {
        **row,
        "right": f"{100 * row['accuracy']:.1f}",
        "interval": f"{100 * row['low']:.1f} to {100 * row['high']:.1f}",
    }
    return {**shown, "unread": f"{100 * row['unparsable']:.1f}"} if "unparsable" in row else shown


app.command("all")(audit_all)
app.add_typer(causal, name="causal")
app.add_typer(roleplay, name="roleplay")
app.add_typer(bias, name="bias")
