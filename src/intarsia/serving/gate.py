"""What every request passes first: who may enter, how large a body may be, and a line in the log."""

import hmac
import ipaddress
import logging
import time

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intarsia.serving.api_errors import ApiError, error_body
from intarsia.serving.config import ServingConfig

access_log = logging.getLogger("intarsia.serving.access")
log = logging.getLogger(__name__)

# Whoever watches over the server need not have a key.
_OPEN_PATHS = {"/health"}


class Gate:
    """Wraps an application, in ASGI's terms a middleware.

    Args:
        app: The application.
        config: Key, limits and host.
    """

    def __init__(self, app: ASGIApp, config: ServingConfig) -> None:
        self._app = app
        self._config = config
        self._key = config.api_key.encode() if config.api_key is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request pass, or answers it with what is wrong."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def noting_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, self._counting(receive), noting_status)
        except HTTPException as error:
            body = error.body if isinstance(error, ApiError) else error_body(error.status_code, error.detail)
            await JSONResponse(body, error.status_code, error.headers)(scope, receive, noting_status)
        except Exception:
            log.exception("a request failed")
            # After its head, an answer can only be broken off.
            if status:
                raise
            body = error_body(500, "internal error; see the server's log", code="internal_error")
            await JSONResponse(body, 500)(scope, receive, noting_status)
        finally:
            access_log.info(_line(scope, status, time.perf_counter() - start))

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if self._key is None:
            self._check_host(headers)
        elif scope["path"] not in _OPEN_PATHS:
            self._check_key(self._key, headers)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._config.max_body_bytes:
            raise self._too_large()

    def _check_key(self, key: bytes, headers: dict[bytes, bytes]) -> None:
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), key):
            raise ApiError(
                401,
                "the API key is missing or wrong; send it as Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        """Without a key, a local server answers to local names only.

        A web page whose host name was pointed at 127.0.0.1 would be of the same origin as the server, and could read
        its answers.
        """
        if self._config.is_loopback and not _is_local(headers.get(b"host", b"localhost").decode("latin-1")):
            raise ApiError(
                403,
                "without an API key this server answers to local names only; call it as localhost, or give it a key",
                code="host_not_allowed",
            )

    def _counting(self, receive: Receive) -> Receive:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._config.max_body_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> ApiError:
        message = f"the body is larger than {self._config.max_body_bytes} bytes"
        return ApiError(413, message, code="body_too_large")


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def _line(scope: Scope, status: int, seconds: float) -> str:
    client = (scope.get("client") or ("-",))[0]
    # As it came, with everything but plain characters escaped; without the query, which may hold anything.
    path = scope.get("raw_path", b"").decode("ascii", "backslashreplace")
    return f"{client} {scope['method']} {path} {status or 'disconnected'} {seconds:.2f} s"
