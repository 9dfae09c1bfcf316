"""How a call of a model can fail."""

from intarsia.errors import IntarsiaError


class ModelCallError(IntarsiaError):
    """A model gave no answer.

    Args:
        what: What went wrong.
        where: The model and the call.
        fix: What the user can do about it.
        retryable: Whether the same call may succeed later (busy, timed out, a garbled reply).
        wait_seconds: How long the model asked to be left alone; None if it did not say.
    """

    # Also those of an error that came from another process, which keeps its message only.
    retryable: bool = False
    wait_seconds: float | None = None

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        retryable: bool = False,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.retryable = retryable
        self.wait_seconds = wait_seconds
