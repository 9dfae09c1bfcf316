"""`intarsia audit roleplay`: attacks on characters, defences, and judges that are judged."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intarsia.cli import console

if TYPE_CHECKING:
    from intarsia.audit.roleplay.building import BuildConfig
    from intarsia.audit.roleplay.results import RoleplayResult
    from intarsia.audit.roleplay.roles import Role

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_MAKE = {"rich_help_panel": "Queries"}
Roles = Annotated[int | None, typer.Option(min=4, help="How many built-in roles.", show_default="all 76", **_MAKE)]
RoleFile = Annotated[Path | None, typer.Option(help="JSONL or YAML file of role cards of yours.", **_MAKE)]
Attacks = Annotated[
    list[str] | None,
    typer.Option(
        "--attack",
        help="multi_domain, multilingual, omission, perturbation, perturbation_multilingual. Repeatable; default: "
        "the first four.",
        **_MAKE,
    ),
]
MultiDomain = Annotated[int, typer.Option(min=1, help="Multi-domain queries for each role.", **_MAKE)]
Omission = Annotated[int, typer.Option(min=1, help="Omission queries for each role.", **_MAKE)]
Base = Annotated[int, typer.Option(min=1, help="Base queries of each role to translate and perturb.", **_MAKE)]
Language = Annotated[str, typer.Option(help="Of the multilingual attack.", **_MAKE)]
Encoder = Annotated[str, typer.Option(help="Sentence encoder, or words: no model, no meaning.")]
Seed = Annotated[int, typer.Option(help="Seed of codes, choices, options and sampling.")]


@app.callback()
def roleplay() -> None:
    """Attack characters that a model plays, and measure how they break and what a defence costs."""


@app.command()
def build(
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    generator: Annotated[
        str | None, typer.Option(help="Model that writes queries.", show_default="none: built-in questions")
    ] = None,
    generator_url: Annotated[str | None, typer.Option(help="Where the generator is served.")] = None,
    roles: Roles = None,
    role_file: RoleFile = None,
    attack: Attacks = None,
    multi_domain: MultiDomain = 10,
    omission: Omission = 5,
    base: Base = 5,
    language: Language = "Chinese",
    fallback: Annotated[
        bool, typer.Option("--fallback/--no-fallback", help="Templates where there is no wiki text or generator.")
    ] = True,
    encoder: Encoder = "asset:minilm-l6",
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder at --output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Write a data set of queries that attack characters.

    Example: intarsia audit roleplay build --output queries --roles 12 --attack multi_domain --attack perturbation
    """
    from intarsia.audit.roleplay.building import build_queries
    from intarsia.audit.roleplay.dataset import write_queries
    from intarsia.audit.roleplay.embedding import make_encoder
    from intarsia.evals.background import run as wait
    from intarsia.evals.resolving import chat_model

    cards = _cards(roles, role_file)
    config = _build(attack, multi_domain, omission, base, language, seed, fallback)
    # A stopped run does not pay for what the generator wrote.
    record = output.parent / f"{output.name}.recording.jsonl"
    model = chat_model(generator, base_url=generator_url, record=record) if generator else None
    data = wait(build_queries(cards, config, encoder=make_encoder(encoder), generator=model))
    manifest = write_queries(output, data, overwrite=overwrite)
    if json:
        console.print_json(manifest)
        return
    rows = [{"attack": name, "queries": count} for name, count in manifest["queries"].items()]
    console.print_table(rows, {"attack": "attack", "queries": "queries"})
    _say(f"wrote {output}: sha256 {manifest['files']['queries.jsonl']}")


@app.command()
def run(
    model: Annotated[
        str,
        typer.Option(
            help="Model that plays: asset:NAME, a folder, hf/OWNER/NAME, http://HOST:PORT/v1#NAME, replay:FILE, or a "
            "provider of Inspect's (openai/gpt-4o-mini, ...)."
        ),
    ],
    judge: Annotated[
        list[str], typer.Option(help="Model that judges, or rules. Repeatable; the first one's scores are reported.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the run.")],
    dataset: Annotated[Path | None, typer.Argument(help="Data set of `build`; without one, queries are made.")] = None,
    defence: Annotated[
        list[str] | None,
        typer.Option(
            help="plain, refusal, self_reflection, rolefact, narrator, narrator-no-outline, narrator-no-plot, "
            "narrator-no-verify. Repeatable; default: plain."
        ),
    ] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Do not start if more calls may be needed.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls at once.")] = 10,
    base_url: Annotated[str | None, typer.Option(help="Where the model is served.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Where the judges are served.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the model; 0 takes the likeliest token.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 768,
    max_revisions: Annotated[int, typer.Option(min=0, help="Of Narrator Mode: how often a reply is mended.")] = 2,
    confidence: Annotated[float, typer.Option(help="Of RoleFact: least confidence of a fact, 0 to 100.")] = 70.0,
    swap: Annotated[bool, typer.Option("--swap", help="Put options to the judge twice, rotated.")] = False,
    distractors: Annotated[str, typer.Option(help="Of query fidelity: near or random.")] = "near",
    history: Annotated[str, typer.Option(help="single, or running: one conversation for each role.")] = "single",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Judge 40 planted replies, to correct the rate.")
    ] = True,
    allow_unscored: Annotated[
        bool, typer.Option("--allow-unscored", help="Even if over 5 % of the judge's writings give no verdict.")
    ] = False,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds until a call counts as failed.")] = 120,
    roles: Roles = None,
    role_file: RoleFile = None,
    attack: Attacks = None,
    multi_domain: MultiDomain = 10,
    omission: Omission = 5,
    base: Base = 5,
    language: Language = "Chinese",
    encoder: Encoder = "asset:minilm-l6",
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away what the folder holds.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Have a model play characters under attack, and report how they hold.

    The number of calls is told before the first one. Stopped at any point, the same command goes on where it was.

    Example: intarsia audit roleplay run --model openai/gpt-4o-mini --judge openai/gpt-4o --defence plain
    --defence narrator --roles 12 --output runs/characters
    """
    import shlex
    import sys

    from intarsia.audit.roleplay.auditing import run_audit
    from intarsia.audit.roleplay.layout import AuditConfig

    config = AuditConfig(
        model=model,
        judges=tuple(judge),
        defences=tuple(defence or ["plain"]),
        base_url=base_url,
        judge_base_url=judge_url,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        max_revisions=max_revisions,
        confidence=confidence,
        swap=swap,
        distractors=distractors,
        history=history,
        controls=controls,
        encoder=encoder,
        allow_unscored=allow_unscored,
        concurrency=concurrency,
        max_calls=max_calls,
        timeout=timeout,
    )
    own = roles is not None or role_file is not None
    settings = _build(attack, multi_domain, omission, base, language, seed, fallback=True)
    is_default = settings == _build(None, 10, 5, 5, "Chinese", seed, fallback=True)
    done = run_audit(
        output,
        config,
        dataset=dataset,
        roles=_cards(roles, role_file) if own or dataset is None else None,
        build=None if dataset is not None and is_default else settings,
        command=f"intarsia {shlex.join(sys.argv[1:])}",
        overwrite=overwrite,
        progress=True,
        say=_say,
    )
    _show([done.result], json=json)
    if done.result.unanswered and not json:
        console.say("run the same command again to ask those without a reply")
    _say(f"report: {done.report}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or logs (.eval) of intarsia/rolebreak.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for report and tables.", show_default="the run's own folder")
    ] = None,
    allow_unscored: Annotated[
        bool, typer.Option("--allow-unscored", help="Even if over 5 % of the judge's writings give no verdict.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Make tables and report again from what was logged; no model is asked.

    Example: intarsia audit roleplay report runs/characters runs/others --output runs/compared
    """
    from intarsia.audit.roleplay.auditing import write_audit_report
    from intarsia.errors import InputError

    if output is None and (len(runs) > 1 or not runs[0].is_dir()):
        raise InputError("logs and several runs have no folder of their own", fix="say where to write: --output FOLDER")
    results, page = write_audit_report(runs, output or runs[0], allow_unscored=allow_unscored)
    _show(results, json=json)
    _say(f"report: {page}")


def _cards(count: int | None, file: Path | None) -> "list[Role]":
    from intarsia.audit.roleplay.roles import built_in_roles, read_roles
    from intarsia.errors import InputError

    if count is not None and file is not None:
        raise InputError("--roles counts built-in roles, but --role-file gives others", fix="leave one of the two out")
    return read_roles(file) if file is not None else built_in_roles(count)


def _build(
    attack: list[str] | None,
    multi_domain: int,
    omission: int,
    base: int,
    language: str,
    seed: int,
    fallback: bool,
) -> "BuildConfig":
    from intarsia.audit.roleplay.building import BuildConfig

    return BuildConfig(
        attacks=tuple(attack or BuildConfig.attacks),
        multi_domain=multi_domain,
        omission=omission,
        base=base,
        language=language,
        fallback=fallback,
        seed=seed,
    )


def _show(results: "list[RoleplayResult]", *, json: bool) -> None:
    if json:
        tables = [result.to_json() for result in results]
        console.print_json(tables[0] if len(tables) == 1 else tables)
        return
    rows = [{"model": result.model, **_shown(row)} for result in results for row in result.table]
    columns = {"model": "Model"} if len(results) > 1 else {}
    columns |= {"defence": "Defence", "attack": "Attack", "hr": "Hallucination, %", "rf": "Role, %", "qf": "Query, %"}
    console.print_table(rows, {**columns, "sc": "Coherence", "n": "n"})
    for result in results:
        for row in result.differences:
            parts = [
                f"{name} {_value(row[metric], scale, signed=True)}"
                for metric, name, scale in (("hr", "hallucination", 100), ("qf", "query", 100), ("sc", "coherence", 1))
                if row[metric]
            ]
            _out(f"{row['first']} minus {row['second']}: {', '.join(parts)}")
        for row in result.judging:
            if row["sensitivity"] is not None:
                _out(
                    f"{row['judge']} finds {100 * row['sensitivity']:.0f} % of planted hallucinations and spares "
                    f"{100 * row['specificity']:.0f} % of good replies; {100 * (row['unread'] or 0):.1f} % unread"
                )
        for judge in result.same_model:
            console.complain(f"{judge} judges itself, which favours it in role fidelity")
        if result.unanswered:
            reasons = "; ".join(f"{reason} ({count}x)" for reason, count in result.errors.items())
            console.complain(f"{result.unanswered} of {result.queries} queries got no reply: {reasons}")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    scores = {metric: _value(row[metric], 1 if metric == "sc" else 100) for metric in ("hr", "rf", "qf", "sc")}
    return {**row, **scores}


def _value(value: dict[str, float] | None, scale: float, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    places, sign = (2 if scale == 1 else 1), "+" if signed else ""
    low, high = scale * value["low"], scale * value["high"]
    return f"{scale * value['value']:{sign}.{places}f} [{low:.{places}f}, {high:.{places}f}]"


def _out(text: str) -> None:
    console.out().print(text, markup=False, soft_wrap=True)


def _say(text: str) -> None:
    # Names of models and folders may hold brackets, which Rich would take for markup.
    console.err().print(text, markup=False, soft_wrap=True)
