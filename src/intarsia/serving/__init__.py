"""Serving a causal language model over HTTP, as the OpenAI API does.

`serve` runs a server until it is told to stop, `ModelServer` runs one beside other code, `create_app` gives the ASGI
application. Waiting requests are generated together, in one batch. A `ChatMiddleware` may rewrite what comes and goes.
"""

from intarsia.errors import MissingExtraError

try:
    import fastapi as _fastapi  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name), "serve") from error

from intarsia.serving.app import create_app
from intarsia.serving.config import ServingConfig
from intarsia.serving.middleware import Ask, ChatMessages, ChatMiddleware
from intarsia.serving.server import ModelServer, serve
from intarsia.serving.worker import ModelWorker

__all__ = [
    "Ask",
    "ChatMessages",
    "ChatMiddleware",
    "ModelServer",
    "ModelWorker",
    "ServingConfig",
    "create_app",
    "serve",
]
