"""`intarsia serve`: a model behind an OpenAI-compatible HTTP API."""

from pathlib import Path
from typing import Annotated

import typer

from intarsia.cli import console


def serve(
    model: Annotated[str, typer.Argument(help="Hub id, folder, adapter, GGUF file or asset:NAME.")],
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 picks a free one.")] = 8000,
    name: Annotated[str | None, typer.Option(help="The model's name in requests; by default the argument's.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="INTARSIA_API_KEY", help="Key that requests must carry; better set in the environment."),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Most answers generated at once.")] = 32,
    max_batch_tokens: Annotated[
        int, typer.Option(min=1, help="Most token positions of a batch, which bounds its memory.")
    ] = 32768,
    max_prompt_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest prompt; by default what the model's context allows.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer a request may ask for.")] = 2048,
    default_new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest answer to a chat that asks for no length.")
    ] = 512,
    max_queue: Annotated[int, typer.Option(min=1, help="Most answers that wait for the model.")] = 256,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Largest request body.")] = 1 << 20,
    grace: Annotated[
        float, typer.Option(min=0.0, help="Seconds for running requests to finish after a signal to stop.")
    ] = 30.0,
    narrator: Annotated[
        bool,
        typer.Option("--narrator", help="Play characters in Narrator Mode: the system message of a chat is the card."),
    ] = False,
    role: Annotated[
        Path | None, typer.Option(help="With --narrator: YAML card of the character of chats without one.")
    ] = None,
    cors: Annotated[list[str] | None, typer.Option(help="Origin of web pages that may call; repeat for more.")] = None,
) -> None:
    """Serve a model: base, expert or merged, for any client of the OpenAI API. Ctrl-C ends.

    [bold]Example[/bold]: intarsia serve runs/quickstart/model --port 8000
    """
    import logging
    import sys

    from intarsia.errors import InputError
    from intarsia.models import resolve

    if role is not None and not narrator:
        raise InputError("--role is for characters in Narrator Mode", where=role, fix="add --narrator")
    # Importing what serves takes seconds.
    resolve(model)
    from intarsia import serving

    config = serving.ServingConfig(
        host=host,
        port=port,
        name=name,
        api_key=api_key,
        max_batch=max_batch,
        max_batch_tokens=max_batch_tokens,
        max_prompt_tokens=max_prompt_tokens,
        max_new_tokens=max_new_tokens,
        default_new_tokens=default_new_tokens,
        max_queue=max_queue,
        max_body_bytes=max_body_bytes,
        grace_seconds=grace,
        cors_origins=tuple(cors or ()),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("intarsia.serving").setLevel(logging.INFO)

    def announce(server: serving.ModelServer) -> None:
        typer.echo(f"{server.name} listens at {server.url}")
        sys.stdout.flush()
        key = ' -H "Authorization: Bearer $INTARSIA_API_KEY"' if api_key else ""
        body = f'{{"model": "{server.name}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
        console.err().print(
            f"try: curl {server.url}/v1/chat/completions -H 'Content-Type: application/json'{key} -d '{body}'",
            markup=False,
            soft_wrap=True,
        )

    middleware = None
    if narrator:
        from intarsia.audit.roleplay.roles import read_role
        from intarsia.serving.narrator import NarratorMiddleware

        middleware = NarratorMiddleware(read_role(role) if role is not None else None)
    serving.serve(model, config, middleware=middleware, on_start=announce)
