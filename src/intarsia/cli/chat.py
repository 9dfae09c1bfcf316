"""`intarsia chat`: a conversation in the terminal."""

from typing import Annotated

import typer

from intarsia.cli import console


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
) -> None:
    """Talk to a model: base, expert or merged. Ctrl-D ends.

    A merged model also says which experts answered.

    [bold]Example[/bold]: intarsia chat runs/quickstart/model
    """
    import sys

    import torch
    from transformers import TextStreamer

    from intarsia.models import load_causal_lm

    loaded = load_causal_lm(model)
    experts = getattr(loaded.model.config, "experts", None)
    single = bool(experts) if single is None else single
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
        if experts:
            mixture = loaded.model.route(**inputs)
            options["mixture"] = mixture
            shares = zip(experts, mixture[0].tolist(), strict=True)
            console.say(
                "[dim]" + "  ".join(f"{name} {share:.0%}" for name, share in shares if share > 0.005) + "[/dim]"
            )
        out = loaded.model.generate(**inputs, max_new_tokens=max_new_tokens, streamer=streamer, **options)
        answer = loaded.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        messages.append({"role": "assistant", "content": answer})
