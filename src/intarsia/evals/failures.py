"""How a call of a model can fail."""

from intarsia.errors import InputError, IntarsiaError


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


class ModelUnusableError(ModelCallError):
    """A model that will not answer any call: the key is refused, there is no such model or address.

    It ends a run, where other failures of a call are failures of its item.
    """


class BudgetExceededError(InputError):
    """A run has made all the calls it may make. It ends the run.

    Args:
        model: Name of the model.
        max_calls: How many calls were allowed.
    """

    def __init__(self, model: str, max_calls: int) -> None:
        super().__init__(
            f"the run needs more than the {max_calls:,} calls it may make",
            where=model,
            fix="allow more calls (max_calls); what is recorded is not asked again",
        )
