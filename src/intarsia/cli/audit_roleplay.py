"""`intarsia audit roleplay`: attacks on characters, defences, and judges that are judged."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from intarsia.cli import _audits, console

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


class Queries(NamedTuple):
    """Which queries are made: what the options of `build` and `run` say.

    Attributes:
        config: Settings of the builder.
        roles: The characters.
        encoder: Finds the nearest roles and queries.
        is_default: Whether no option was given.
    """

    config: "BuildConfig"
    roles: "list[Role]"
    encoder: str
    is_default: bool


def _queries(
    roles: Roles = None,
    role_file: RoleFile = None,
    attack: Attacks = None,
    multi_domain: MultiDomain = 10,
    omission: Omission = 5,
    base: Base = 5,
    language: Language = "Chinese",
    encoder: Encoder = "asset:minilm-l6",
    seed: Seed = 0,
) -> Queries:
    from intarsia.audit.roleplay.building import BuildConfig
    from intarsia.audit.roleplay.roles import built_in_roles, read_roles
    from intarsia.errors import InputError

    if roles is not None and role_file is not None:
        raise InputError("--roles counts built-in roles, but --role-file gives others", fix="leave one of the two out")
    attacks = tuple(attack or BuildConfig.attacks)
    config = BuildConfig(attacks, multi_domain, omission, base, language, seed=seed)
    is_default = config == BuildConfig(seed=seed) and roles is None and role_file is None
    cards = read_roles(role_file) if role_file is not None else built_in_roles(roles)
    return Queries(config, cards, encoder, is_default)


@app.callback()
def roleplay() -> None:
    """Attack characters that a model plays, and measure how they break and what a defence costs."""


@app.command()
@_audits.with_options(_queries)
def build(
    queries: Queries,
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    generator: Annotated[
        str | None, typer.Option(help="Model that writes queries.", show_default="none: built-in questions")
    ] = None,
    generator_url: Annotated[str | None, typer.Option(help="Where the generator is served.")] = None,
    fallback: Annotated[
        bool, typer.Option("--fallback/--no-fallback", help="Templates where there is no wiki text or generator.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder at --output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Write a data set of queries that attack characters.

    Example: intarsia audit roleplay build --output queries --roles 12 --attack multi_domain --attack perturbation
    """
    from dataclasses import replace

    from intarsia.audit.roleplay.building import build_queries
    from intarsia.audit.roleplay.dataset import write_queries
    from intarsia.audit.roleplay.embedding import make_encoder
    from intarsia.evals.background import run as wait
    from intarsia.evals.resolving import chat_model

    config = replace(queries.config, fallback=fallback)
    # A stopped run does not pay for what the generator wrote.
    record = output.parent / f"{output.name}.recording.jsonl"
    model = chat_model(generator, base_url=generator_url, record=record) if generator else None
    data = wait(build_queries(queries.roles, config, encoder=make_encoder(queries.encoder), generator=model))
    manifest = write_queries(output, data, overwrite=overwrite)
    if json:
        console.print_json(manifest)
        return
    rows = [{"attack": name, "queries": count} for name, count in manifest["queries"].items()]
    console.print_table(rows, {"attack": "attack", "queries": "queries"})
    _audits.say(f"wrote {output}: sha256 {manifest['files']['queries.jsonl']}")


@app.command()
@_audits.with_options(_queries)
def run(
    queries: Queries,
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
    max_calls: _audits.MaxCalls = None,
    concurrency: _audits.Concurrency = 10,
    base_url: _audits.BaseUrl = None,
    judge_url: Annotated[str | None, typer.Option(help="Where the judges are served.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the model; 0 takes the likeliest token.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 768,
    max_revisions: Annotated[int, typer.Option(min=0, help="Of Narrator Mode: how often a reply is mended.")] = 2,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Of RoleFact: least confidence of a fact, 0 to 100.",
            show_default="calibrated on 8 development characters",
        ),
    ] = None,
    swap: Annotated[bool, typer.Option("--swap", help="Put options to the judge twice, rotated.")] = False,
    distractors: Annotated[str, typer.Option(help="Of query fidelity: near or random.")] = "near",
    history: Annotated[str, typer.Option(help="single, or running: one conversation for each role.")] = "single",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Judge 40 planted replies, to correct the rate.")
    ] = True,
    allow_unscored: Annotated[
        bool, typer.Option("--allow-unscored", help="Even if over 5 % of the judge's writings give no verdict.")
    ] = False,
    timeout: _audits.Timeout = 120,
    overwrite: _audits.Overwrite = False,
    json: _audits.AsJson = False,
) -> None:
    """Have a model play characters under attack, and report how they hold.

    The number of calls is told before the first one. Stopped at any point, the same command goes on where it was.

    Example: intarsia audit roleplay run --model openai/gpt-4o-mini --judge openai/gpt-4o --defence plain
    --defence narrator --roles 12 --output runs/characters
    """
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
        seed=queries.config.seed,
        max_revisions=max_revisions,
        confidence=confidence,
        swap=swap,
        distractors=distractors,
        history=history,
        controls=controls,
        encoder=queries.encoder,
        allow_unscored=allow_unscored,
        concurrency=concurrency,
        max_calls=max_calls,
        timeout=timeout,
    )
    is_given = dataset is not None and queries.is_default
    done = run_audit(
        output,
        config,
        dataset=dataset,
        roles=None if is_given else queries.roles,
        build=None if is_given else queries.config,
        command=_audits.command(),
        overwrite=overwrite,
        progress=True,
        say=_audits.say,
    )
    _show([done.result], json=json)
    _audits.say_where(done.report, unanswered=0 if json else done.result.unanswered)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or logs (.eval) of intarsia/rolebreak.")],
    output: _audits.ReportFolder = None,
    allow_unscored: Annotated[
        bool, typer.Option("--allow-unscored", help="Even if over 5 % of the judge's writings give no verdict.")
    ] = False,
    json: _audits.AsJson = False,
) -> None:
    """Make tables and report again from what was logged; no model is asked.

    Example: intarsia audit roleplay report runs/characters runs/others --output runs/compared
    """
    from intarsia.audit.roleplay.auditing import write_audit_report

    results, page = write_audit_report(runs, _audits.report_folder(runs, output), allow_unscored=allow_unscored)
    _show(results, json=json)
    _audits.say_where(page)


def _show(results: "list[RoleplayResult]", *, json: bool) -> None:
    if json:
        _audits.print_results(results)
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
            _audits.tell(f"{row['first']} minus {row['second']}: {', '.join(parts)}")
        for row in result.judging:
            if row["sensitivity"] is not None:
                _audits.tell(
                    f"{row['judge']} finds {100 * row['sensitivity']:.0f} % of planted hallucinations and spares "
                    f"{100 * row['specificity']:.0f} % of good replies; {100 * (row['unread'] or 0):.1f} % unread"
                )
        for judge in result.same_model:
            _audits.warn(f"{judge} judges itself, which favours it in role fidelity")
        _audits.warn_unanswered(result, result.queries, "queries")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    scores = {metric: _value(row[metric], 1 if metric == "sc" else 100) for metric in ("hr", "rf", "qf", "sc")}
    return {**row, **scores}


def _value(value: dict[str, float] | None, scale: float, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    places, sign = (2 if scale == 1 else 1), "+" if signed else ""
    low, high = scale * value["low"], scale * value["high"]
    return f"{scale * value['value']:{sign}.{places}f} [{low:.{places}f}, {high:.{places}f}]"
