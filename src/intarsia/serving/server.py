"""Running the application: the socket, signals and an orderly end."""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType, TracebackType

import uvicorn

from intarsia.errors import InputError
from intarsia.models import CausalLM, load_causal_lm, resolve
from intarsia.serving.app import create_app
from intarsia.serving.config import ServingConfig
from intarsia.serving.middleware import ChatMiddleware
from intarsia.serving.prompts import served_name
from intarsia.serving.worker import ModelWorker

log = logging.getLogger(__name__)

# For sending the last answers after `grace_seconds`.
_CLOSING_SECONDS = 5


def open_socket(host: str, port: int) -> socket.socket:
    """Reserves the address the server will listen on, before a model is loaded for it.

    Raises:
        InputError: If it is taken or is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        reserved = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(f"cannot listen on {host!r}: {error.strerror}", fix="give another --host") from error
    try:
        # Else the port of a server that has just ended stays taken for a minute.
        if os.name == "posix":
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
    except OSError as error:
        reserved.close()
        raise InputError(
            f"cannot listen on {host} port {port}: {error.strerror}",
            fix="give another --port (0 picks a free one) or --host",
        ) from error
    return reserved


class ModelServer:
    """A server of one model, for use beside other code.

        with ModelServer(loaded, ServingConfig(port=0)) as server:
            print(server.url)

    Args:
        loaded: Model and tokenizer.
        config: Settings.
        middleware: Rewrites chats.
        listener: A bound socket to listen on; by default one is made by the settings.
    """

    def __init__(
        self,
        loaded: CausalLM,
        config: ServingConfig | None = None,
        *,
        middleware: ChatMiddleware | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        config = config or ServingConfig()
        app = create_app(loaded, config, middleware=middleware)
        self._listener = listener or open_socket(config.host, config.port)
        self.worker: ModelWorker = app.state.worker
        self.name: str = app.state.model_name
        settings = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            # Else an application that cannot start would be served without its thread.
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=_CLOSING_SECONDS,
        )
        self._server = _GracefulServer(settings, self.worker, config.grace_seconds)
        self._thread: threading.Thread | None = None
        host, port = self._listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self, on_start: Callable[[], None] | None = None) -> None:
        """Serves until SIGINT or SIGTERM; running requests may then finish for `grace_seconds`.

        A second signal ends them at once.

        Args:
            on_start: Called when the server takes requests.
        """
        self._server.on_start = on_start
        self._server.run(sockets=[self._listener])

    def stop(self) -> None:
        """Ends a server that runs in another thread, as a signal does."""
        self._server.drain()

    def __enter__(self) -> "ModelServer":
        """Starts serving in a thread of its own."""
        started = threading.Event()
        self._thread = threading.Thread(target=self.run, args=(started.set,), name="intarsia-server", daemon=True)
        self._thread.start()
        while not started.wait(0.1):
            if not self._thread.is_alive():
                raise InputError("the server did not start", where=self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends serving."""
        self.stop()
        if self._thread is not None:
            self._thread.join()


class _GracefulServer(uvicorn.Server):
    """Goes on answering, new requests with 503, until the running ones are finished or the time for that is over."""

    def __init__(self, config: uvicorn.Config, worker: ModelWorker, grace_seconds: float) -> None:
        super().__init__(config)
        self.on_start: Callable[[], None] | None = None
        self._worker = worker
        self._grace_seconds = grace_seconds
        self._deadline: float | None = None

    def drain(self) -> None:
        """Begins the end; a second call shortens it. Only sets flags, since signal handlers call it."""
        self._deadline = 0.0 if self._deadline is not None else time.monotonic() + self._grace_seconds
        self._worker.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Receives signals. They are not raised again at the end, so the process ends with status 0."""
        self.drain()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts listening and says so."""
        await super().startup(sockets)
        if self.started and self.on_start is not None:
            self.on_start()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second, tells whether to end."""
        if await super().on_tick(counter):
            return True
        if self._deadline is None:
            return False
        if time.monotonic() < self._deadline and (self.server_state.tasks or any(self._worker.counts)):
            return False
        self._worker.stop()
        # The failed requests' answers are made in the next rounds of the loop.
        await asyncio.sleep(0)
        return True


def serve(
    model: CausalLM | str | os.PathLike[str],
    config: ServingConfig | None = None,
    *,
    middleware: ChatMiddleware | None = None,
    on_start: Callable[[ModelServer], None] | None = None,
) -> None:
    """Serves a model until SIGINT or SIGTERM.

    Args:
        model: Model and tokenizer, or a model argument to load.
        config: Settings.
        middleware: Rewrites chats.
        on_start: Called with the server (its `url` and `name`) when it takes requests.

    Raises:
        InputError: If the address is taken.
        ModelError: If the model cannot be loaded.
    """
    config = config or ServingConfig()
    with open_socket(config.host, config.port) as listener:
        if isinstance(model, CausalLM):
            loaded = model
        else:
            config = replace(config, name=config.name or served_name(resolve(model).ref))
            loaded = load_causal_lm(model)
        server = ModelServer(loaded, config, middleware=middleware, listener=listener)
        if not config.is_loopback and config.api_key is None:
            log.warning("anyone who can reach %s may use the model: there is no API key", server.url)
        server.run(None if on_start is None else lambda: on_start(server))
