"""Serving a causal language model over HTTP, as the OpenAI API does.

`serve` runs a server until it is told to stop, `ModelServer` runs one beside other code, `create_app` gives the ASGI
application. Waiting requests are generated together, in one batch. A `ChatMiddleware` may rewrite what comes and goes.
`ModelWorker` batches without a server. Names are imported when they are first used.
"""

from importlib.util import find_spec
from typing import Any

from intarsia._lazy import lazy_names
from intarsia.errors import MissingExtraError

_HOMES = {
    "Ask": "middleware",
    "ChatMessages": "middleware",
    "ChatMiddleware": "middleware",
    "ModelServer": "server",
    "ModelWorker": "worker",
    "ServingConfig": "config",
    "create_app": "app",
    "serve": "server",
}

__all__ = sorted(_HOMES)
_get, __dir__ = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    if _HOMES.get(name) in ("app", "server"):
        for package in ("fastapi", "uvicorn"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "serve")
    return _get(name)
