"""`intarsia chat`: a conversation in the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intarsia.cli import console

if TYPE_CHECKING:
    from rich.text import Text

    from intarsia.fusion import FusionTrace

# One hue per expert, told apart on dark and light terminals; the background is the stronger, the larger alpha.
_HUES = ((214, 96, 77), (67, 147, 195), (90, 174, 97), (153, 112, 171), (224, 168, 46), (80, 180, 180))
_STRONGEST = 2.0


def chat(
    model: Annotated[str, typer.Argument(help="Hub id, folder, adapter, GGUF file or asset:NAME.")],
    system: Annotated[str | None, typer.Option(help="System message; by default the model's own.")] = None,
    single: Annotated[
        bool | None,
        typer.Option("--single/--history", help="Ask each line on its own; by default so for merged experts."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token, more samples.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling.")] = 0,
    role: Annotated[
        Path | None, typer.Option(help="YAML card of a character to talk to: name, description and more.")
    ] = None,
    narrator: Annotated[
        bool, typer.Option("--narrator", help="With --role: tell the character's story rather than let it refuse.")
    ] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Of a fused model: colour each token by its expert and by alpha.")
    ] = False,
    trace_file: Annotated[
        Path | None, typer.Option(help="Of a fused model: JSONL file for what fusion did at each token.")
    ] = None,
) -> None:
    """Talk to a model: base, expert or merged. Ctrl-D ends.

    A merged model also says which experts answered; a fused one shows with --trace how strongly they did.

    [bold]Example[/bold]: intarsia chat runs/quickstart/model
    """
    import sys

    import torch
    from transformers import TextStreamer

    from intarsia.errors import InputError
    from intarsia.fusion import FusionTrace
    from intarsia.models import load_causal_lm

    if narrator and role is None:
        raise InputError("--narrator needs a character", fix="add --role CARD.yaml")
    if role is not None:
        if system or trace or trace_file is not None:
            raise InputError(
                "a character has its own system message and no trace", fix="leave --system and --trace out"
            )
        _talk_to_character(model, role, narrator, bool(single), max_new_tokens, temperature, seed)
        return
    loaded = load_causal_lm(model)
    routed = hasattr(loaded.model, "route")
    traces = hasattr(loaded.model, "solver")
    if (trace or trace_file is not None) and not traces:
        raise InputError("only a fused model has a trace", where=model, fix="leave --trace out, or see intarsia fuse")
    single = routed if single is None else single
    collected = FusionTrace()
    torch.manual_seed(seed)
    start = [{"role": "system", "content": system}] if system else []
    messages = list(start)
    streamer = TextStreamer(loaded.tokenizer, skip_prompt=True, skip_special_tokens=True)
    if sys.stdin.isatty():
        console.say("[dim]one line is one turn; Ctrl-D ends[/dim]")
    while True:
        try:
            line = (console.out().input("[bold]> [/bold]") if sys.stdin.isatty() else input()).strip()
        except EOFError:
            return
        if not line:
            continue
        messages = [*(start if single else messages), {"role": "user", "content": line}]
        inputs = loaded.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(loaded.model.device)
        options = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        if routed:
            mixture = loaded.model.route(**inputs)
            options["mixture"] = mixture
            shares = zip(loaded.model.experts, mixture[0].tolist(), strict=True)
            console.say(
                "[dim]" + "  ".join(f"{name} {share:.0%}" for name, share in shares if share > 0.005) + "[/dim]"
            )
        if trace or trace_file is not None:
            options["trace"] = collected
        if not trace:
            options["streamer"] = streamer
        out = loaded.model.generate(**inputs, max_new_tokens=max_new_tokens, **options)
        if trace:
            console.out().print(coloured(collected, loaded.tokenizer))
        if trace_file is not None:
            collected.save(trace_file, loaded.tokenizer)
        answer = loaded.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        messages.append({"role": "assistant", "content": answer})


def _talk_to_character(
    model: str, card: Path, narrator: bool, single: bool, max_new_tokens: int, temperature: float, seed: int
) -> None:
    import sys

    from intarsia.audit.roleplay.narration import NarratorConfig
    from intarsia.audit.roleplay.narrator import NarratorChat
    from intarsia.audit.roleplay.roles import read_role
    from intarsia.evals import Message, assistant, chat_model, run, user

    role = read_role(card)
    config = NarratorConfig() if narrator else NarratorConfig(outline=False, plot=False, verify=False)
    character = NarratorChat(chat_model(model), role, config)
    messages: list[Message] = []

    async def turn() -> str:
        said = ""
        spoken = character.stream(messages, max_tokens=max_new_tokens, temperature=temperature, seed=seed)
        async for piece in spoken:
            if piece.kind == "reply":
                said += piece.text
                typer.echo(piece.text, nl=False)
            elif piece.kind == "plot" and sys.stdin.isatty():
                console.err().print(piece.text, style="dim", markup=False, soft_wrap=True)
        typer.echo()
        return said

    if sys.stdin.isatty():
        console.say(f"[dim]{role.name} listens; one line is one turn; Ctrl-D ends[/dim]")
    while True:
        try:
            line = (console.out().input("[bold]> [/bold]") if sys.stdin.isatty() else input()).strip()
        except EOFError:
            return
        if line:
            messages[:] = [*([] if single else messages), user(line)]
            messages.append(assistant(run(turn())))


def coloured(trace: "FusionTrace", tokenizer: Any) -> "Text":
    """The last traced text, each token on a background of its expert's hue, as strong as alpha; and a legend."""
    from rich.text import Text

    text = Text()
    for step in trace.rows[-1]:
        active = max(range(len(step.alpha)), key=step.alpha.__getitem__)
        text.append(tokenizer.decode([step.token]), style=_style(active, step.alpha[active]))
    text.append("\n\n")
    for index, name in enumerate(trace.experts):
        for alpha in (0.5, 1.0, 1.5, 2.0):
            text.append(f" {alpha:g} ", style=_style(index, alpha))
        text.append(f" alpha of {name}\n", style="dim")
    return text


def _style(expert: int, alpha: float) -> str:
    share = min(alpha / _STRONGEST, 1.0)
    red, green, blue = (round(255 + (level - 255) * share) for level in _HUES[expert % len(_HUES)])
    return f"black on rgb({red},{green},{blue})"
