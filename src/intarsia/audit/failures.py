"""Questions that got no reply: why, and how often."""

from collections import Counter
from collections.abc import Iterable, Mapping

from intarsia.errors import IntarsiaError

NOT_ASKED = "not asked: the run was stopped"


def count_reasons(errors: Iterable[str | None], not_asked: int = 0) -> dict[str, int]:
    """Returns reason -> how often, in the order of the alphabet.

    Args:
        errors: What failed, of each question that got no reply; of several lines the first counts.
        not_asked: Questions that a stopped run did not come to.
    """
    found = Counter((error or "no reason is given").splitlines()[0] for error in errors)
    found += Counter({NOT_ASKED: not_asked})
    return dict(sorted(found.items()))


def told(reasons: Mapping[str, int]) -> str:
    """Returns the reasons as text."""
    return "; ".join(f"{reason} ({count}x)" for reason, count in reasons.items())


def require_replies(replies: int, model: str, reasons: Mapping[str, int]) -> None:
    """Raises an IntarsiaError that says why, if there is no reply to score at all."""
    if not replies:
        why = f": {told(reasons)}" if reasons else ""
        raise IntarsiaError(
            f"there is no reply to score{why}", where=model, fix="mend what failed, and run the same command again"
        )
