"""`intarsia fuse`: a large model specialised by small experts while it decodes."""

from pathlib import Path
from typing import Annotated

import typer

from intarsia.cli import console


def fuse(
    large: Annotated[str, typer.Option(help="The model to specialise: hub id, folder, GGUF file or asset:NAME.")],
    small: Annotated[str, typer.Option(help="The base of the experts.")],
    expert: Annotated[
        list[str],
        typer.Option(help="A fine-tuned model or LoRA adapter of the small base; NAME=REF names it; repeatable."),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the fused model.")],
    solver: Annotated[
        str, typer.Option(help="How alpha is found: grid (the paper's), newton (fast), refine, bracket, joint, static.")
    ] = "grid",
    target: Annotated[
        str, typer.Option(help="What several experts ask for: centroid (the paper's) or max.")
    ] = "centroid",
    alpha: Annotated[
        str | None, typer.Option(help="Of the static solver: one number, or one for each expert, with commas.")
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Write only where the models are, not copies of their weights.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at the output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fuse a large model with experts of a small one, by their logits.

    Nothing is trained. The folder is a model like any other: generate, chat, evaluate and serve take it.

    [bold]Example[/bold]: intarsia fuse --large HuggingFaceTB/SmolLM2-1.7B-Instruct
    --small HuggingFaceTB/SmolLM2-135M-Instruct --expert runs/reuters --solver newton --output fused
    """
    from intarsia.errors import ConfigError, RunExistsError

    if output.exists() and not overwrite and any(output.iterdir()):
        raise RunExistsError(output, what="a model")
    if alpha is not None and solver != "static":
        raise ConfigError("--alpha", alpha, "left out, unless --solver is static")
    settings: dict[str, object] = {"solver": solver, "target": target}
    if alpha is not None:
        numbers = [_number(part) for part in alpha.split(",")]
        settings["alpha"] = numbers[0] if len(numbers) == 1 else numbers

    from intarsia.fusion import SolverConfig, fuse_models, save_fused
    from intarsia.fusion.building import name_experts
    from intarsia.pipeline.progress import Stages

    config = SolverConfig.from_dict(settings)
    stages = Stages()
    with stages.stage("load the models"):
        fused = fuse_models(large, small, name_experts(expert), solver=config, device="cpu")
    with stages.stage(f"write {output}"):
        save_fused(fused, output, references=reference, overwrite=overwrite)
    model = fused.model
    facts = {
        "large": large,
        "small": small,
        "experts": ", ".join(
            f"{name} ({'adapter' if name in model.config.adapters else 'model'})" for name in model.config.experts
        ),
        "solver": solver,
        "shared tokens": model.config.vocabulary,
        "context": model.context_length,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "kept once": len(model.config.shared),
        "output": str(output),
    }
    if json:
        console.print_json(facts)
        return
    lines = [{"key": key, "value": console.format_value(value)} for key, value in facts.items()]
    console.print_table(lines, {"key": "", "value": ""})
    console.say(f"try: intarsia chat {output} --trace")


def _number(text: str) -> float:
    from intarsia.errors import ConfigError

    try:
        return float(text)
    except ValueError:
        raise ConfigError("--alpha", text, "a number, or numbers with commas between them") from None
