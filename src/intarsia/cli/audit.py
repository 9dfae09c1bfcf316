"""`intarsia audit`: evaluation suites for chat models."""

from pathlib import Path
from typing import Annotated

import typer

from intarsia.cli import console

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich")
causal = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def audit() -> None:
    """Audit what a chat model can do, with generated questions whose answers are proved.

    Example: intarsia audit causal generate --output questions --seed 7
    """


@causal.callback()
def causal_options() -> None:
    """Ask for causal paths, adjustment sets, facts and counterfactuals of never-seen causal graphs."""


@causal.command()
def generate(
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    seed: Annotated[int, typer.Option(help="Seed; the same seed gives the same bytes everywhere.")] = 0,
    group: Annotated[str, typer.Option(help="Shape: 00 has 5 tiers, 10 has 6, 20 has 7, 30 has 8.")] = "00",
    level: Annotated[list[int] | None, typer.Option(help="Nodes in a tier. Repeatable; default: all levels.")] = None,
    graphs: Annotated[int, typer.Option(help="Graphs for each level and each of the 4 densities.")] = 50,
    task: Annotated[list[str] | None, typer.Option(help="CP, BA, FI or CI. Repeatable; default: all.")] = None,
    what_ifs: Annotated[list[int] | None, typer.Option(help="What-ifs of a CI question. Repeatable.")] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(help="specific, pseudo, letters, bio, che, eco, phy, own, or of --words. Repeatable."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="zero_shot, one_shot, two_shot, zero_cot, one_cot, two_cot, mis_hint. Repeatable."),
    ] = None,
    evidence: Annotated[str, typer.Option(help="full: all roots are observed; partial: some are hidden.")] = "full",
    root_states: Annotated[str, typer.Option(help="true: all roots happen; random: a coin for each.")] = "true",
    distance: Annotated[float, typer.Option(help="Of treatments and outcomes, in (0, 1].")] = 1.0,
    minimal_sets: Annotated[
        bool, typer.Option("--minimal-sets/--no-minimal-sets", help="List the minimal adjustment sets.")
    ] = True,
    closed_world_hint: Annotated[
        bool, typer.Option("--closed-world-hint/--literal", help="Say that nothing happens without a listed condition.")
    ] = True,
    shuffle_sentences: Annotated[bool, typer.Option("--shuffle-sentences", help="Sentences in random order.")] = False,
    unique: Annotated[bool, typer.Option("--unique", help="No two graphs that differ in names only.")] = False,
    clip: Annotated[bool, typer.Option("--clip", help="Fewer what-ifs where a graph has too few events.")] = False,
    words: Annotated[Path | None, typer.Option(help="JSON file of name styles of yours.")] = None,
    graph: Annotated[Path | None, typer.Option(help="JSON or JSONL file of graphs of yours.")] = None,
    export: Annotated[list[str] | None, typer.Option(help="Also write lm-eval or huggingface. Repeatable.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder at --output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Write a data set of causal questions with proved answers.

    Example: intarsia audit causal generate --output questions --seed 7 --names specific --names bio --export lm-eval
    """
    from intarsia.audit.causal.building import OWN_NAMES
    from intarsia.audit.causal.config import TASKS, BenchmarkConfig
    from intarsia.audit.causal.dataset import write_dataset
    from intarsia.audit.causal.names import read_words
    from intarsia.audit.causal.user_graphs import read_graphs

    config = BenchmarkConfig(
        group=group,
        levels=tuple(level or ()),
        graphs=graphs,
        tasks=tuple(task or TASKS),
        what_ifs=tuple(what_ifs or (1, 2, 3)),
        names=tuple(names or [OWN_NAMES if graph else "specific"]),
        prompts=tuple(prompt or ["zero_shot"]),
        evidence=evidence,
        root_states=root_states,
        distance=distance,
        minimal_sets=minimal_sets,
        closed_world_hint=closed_world_hint,
        shuffle_sentences=shuffle_sentences,
        unique=unique,
        clip=clip,
        seed=seed,
    )
    manifest = write_dataset(
        output,
        config,
        words=read_words(words) if words else None,
        subjects=read_graphs(graph) if graph else None,
        exports=export or (),
        overwrite=overwrite,
    )
    if json:
        console.print_json(manifest)
        return
    rows = [{"task": name, "questions": count} for name, count in manifest["questions"].items()]
    console.print_table(rows, {"task": "task", "questions": "questions"})
    console.say(f"wrote {output}: sha256 {manifest['files']['questions.jsonl']}")


app.add_typer(causal, name="causal")
