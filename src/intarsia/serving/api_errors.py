"""Refusals as clients of the OpenAI API understand them."""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException


class ApiError(HTTPException):
    """An answer other than success.

    Args:
        status: HTTP status.
        message: What is wrong and what to do about it.
        param: The request's parameter it concerns.
        code: A word programs can tell the error by.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers) if headers else None)
        self.param = param
        self.code = code

    @property
    def body(self) -> dict[str, Any]:
        """The error object of the API."""
        return error_body(self.status_code, self.detail, param=self.param, code=self.code)


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Returns the error object of the API for a status and a message."""
    kind = {429: "rate_limit_error"}.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
