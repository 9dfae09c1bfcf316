"""`intarsia audit all`: one report card of a model."""

from pathlib import Path
from typing import Annotated

import typer

from intarsia.cli import _audits, console


def audit_all(
    model: Annotated[
        str,
        typer.Option(
            help="asset:NAME, a folder, hf/OWNER/NAME, http://HOST:PORT/v1#NAME, replay:FILE or a provider of "
            "Inspect's (openai/gpt-4o-mini, ...)."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the card.")],
    judge: Annotated[str, typer.Option(help="A model that judges role-play, or rules, which asks nobody.")] = "rules",
    budget: Annotated[int, typer.Option(min=1, help="Most calls in all, the judge's included.")] = 2000,
    suite: Annotated[
        list[str] | None, typer.Option(help="causal, roleplay or bias. Repeatable.", show_default="all")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Sentence encoder of role-play, or words, which needs no model.")
    ] = "words",
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of any reply.", show_default="what each audit allows")
    ] = None,
    base_url: _audits.BaseUrl = None,
    judge_url: Annotated[str | None, typer.Option(help="Where the judge is served.")] = None,
    concurrency: _audits.Concurrency = 10,
    timeout: _audits.Timeout = 120,
    seed: Annotated[int, typer.Option(help="Seed of questions and sampling.")] = 0,
    overwrite: _audits.Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Run the causal, role-play and bias audits within a number of calls, and write one report card.

    The same budget asks every model the same, so cards can be compared: intarsia report compare A B.

    Example: [cyan]intarsia audit all --model openai/gpt-4o-mini --judge openai/gpt-4o --budget 3000 --output
    runs/mini[/cyan]
    """
    from intarsia.audit.card.running import CardConfig, run_all

    config = CardConfig(
        model=model,
        judge=judge,
        budget=budget,
        **({"suites": tuple(suite)} if suite else {}),
        base_url=base_url,
        judge_base_url=judge_url,
        encoder=encoder,
        max_tokens=max_tokens,
        concurrency=concurrency,
        timeout=timeout,
        seed=seed,
    )
    done = run_all(output, config, command=_audits.command(), overwrite=overwrite, progress=True, say=_audits.say)
    if json:
        console.print_json(done.card.to_json())
    else:
        rows = [
            {
                "suite": score.suite,
                "score": score.name,
                "value": None
                if score.value is None
                else f"{score.value:.2f}"
                if score.unit != "%"
                else f"{score.value:.1f} %",
                "interval": None if score.low is None else f"{score.low:.2f} to {score.high:.2f}",
                "n": score.n,
                # A verdict is of a test, and stands beside the first of its indices.
                "note": score.note if score.suite != "bias" or ": I," in score.name else "",
            }
            for score in done.card.scores
        ]
        headings = {"suite": "Audit", "score": "Score", "value": "Value", "interval": "95 % interval", "n": "n"}
        console.print_table(rows, {**headings, "note": "Beside it"})
        for warning in done.card.warnings:
            _audits.warn(warning)
    _audits.say(f"report card: {done.report}")
