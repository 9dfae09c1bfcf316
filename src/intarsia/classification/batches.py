"""Classifying a file of texts: results are handed on as they come, or in the order of the texts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from intarsia.classification.classifier import Classifier
from intarsia.classification.results import Classification, Item


class Failure(NamedTuple):
    """A text without a result.

    Attributes:
        id: The text.
        error: What went wrong.
    """

    id: str
    error: str


class Report(NamedTuple):
    """The end of a batch.

    Attributes:
        done: Texts classified.
        cut: Texts whose end was left out.
        abstained: Texts without a label.
        failures: Texts without a result.
    """

    done: int
    cut: int
    abstained: int
    failures: list[Failure]


async def classify_batch(
    classifier: Classifier,
    items: Sequence[Item],
    emit: Callable[[Classification], None],
    *,
    concurrency: int = 10,
    ordered: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Classifies texts and hands each result to `emit`.

    Args:
        classifier: The classifier.
        items: The texts.
        emit: Called with each result.
        concurrency: Texts worked on at once.
        ordered: Whether results are handed on in the order of the texts; else as soon as they are there.
        progress: Called with the number of texts done, and of those that failed.

    Raises:
        UnmappedError: If too many answers name no option.
        BudgetExceededError: If the run has made all the calls it may make.
        ModelUnusableError: If the model will not answer any call.
    """
    waiting: dict[int, Classification | None] = {}
    failures, done, cut, abstained, following = list[Failure](), 0, 0, 0, 0
    finished = classifier.stream(items, concurrency=concurrency)
    try:
        async for place, outcome in finished:
            found: Classification | None = outcome.value
            if found is None:
                failures.append(Failure(items[place].id, outcome.error or "failed"))
            else:
                done, cut, abstained = done + 1, cut + found.cut, abstained + (found.label is None)
            if ordered:
                waiting[place] = found
                while following in waiting:
                    if (ready := waiting.pop(following)) is not None:
                        emit(ready)
                    following += 1
            elif found is not None:
                emit(found)
            if progress is not None:
                progress(done, len(failures))
    finally:
        await finished.aclose()
        # A run that is stopped keeps what is done, though texts before it are not.
        for place in sorted(waiting):
            if (ready := waiting[place]) is not None:
                emit(ready)
    return Report(done, cut, abstained, failures)
