"""How good classifications are, and how much they lean to places and names."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from intarsia.classification.results import Classification
from intarsia.errors import DataError, InputError
from intarsia.metrics.scores import macro_f1
from intarsia.metrics.shares import PairedTest, Share, mcnemar, wilson

_NONE = "(none)"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of one method on one set of texts.

    Attributes:
        accuracy: Texts that got their label; one without a label is wrong. With single labels it is also micro-F1.
        macro_f1: Mean F1 over labels.
        top: Texts whose label is among the candidates, ACC(TOP).
        decided: Right ones among those; accuracy is `top` times this. None where no candidates hold the label.
        adjusted_rand: Agreement of the groups that the two labellings make, 0 for chance (Hubert and Arabie 1985).
        answered: Texts that got a label.
        calls: Questions per text, without those about pairs.
        tokens: Tokens per text, in and out, where the model tells them.
        unmapped: Answers per call that named no option.
        calibration: Mean distance between confidence and share right, over ten bins of confidence.
    """

    accuracy: Share
    macro_f1: float
    top: Share
    decided: Share | None
    adjusted_rand: float
    answered: Share
    calls: float
    tokens: float
    unmapped: float
    calibration: float

    def to_json(self) -> dict[str, Any]:
        """The scores as JSON values."""
        return asdict(self)


def evaluate(found: Sequence[Classification], gold: Mapping[str, str], labels: Sequence[str]) -> Evaluation:
    """Compares classifications with gold labels.

    Args:
        found: The classifications.
        gold: Item id -> label.
        labels: All labels.

    Raises:
        InputError: If there is nothing to compare.
        DataError: If a text has no gold label, or one that is not among the labels.
    """
    from sklearn.metrics import adjusted_rand_score

    if not found:
        raise InputError("there is nothing to score: no texts")
    known = set(labels)
    for each in found:
        if each.id not in gold:
            raise DataError(f"the text {each.id!r} has no gold label", field="label")
        if gold[each.id] not in known:
            raise DataError(
                f"the gold label {gold[each.id]!r} of {each.id!r} is not among the {len(known)} labels", field="label"
            )
    truth = [gold[each.id] for each in found]
    said = [each.label or _NONE for each in found]
    right = [a == b for a, b in zip(truth, said, strict=True)]
    reached = [label in each.candidates for label, each in zip(truth, found, strict=True)]
    calls = sum(each.calls for each in found)
    tokens = sum(each.usage.input_tokens + each.usage.output_tokens for each in found)
    return Evaluation(
        accuracy=wilson(sum(right), len(right)),
        macro_f1=macro_f1(truth, said),
        top=wilson(sum(reached), len(reached)),
        decided=wilson(sum(right), sum(reached)) if any(reached) else None,
        adjusted_rand=float(adjusted_rand_score(truth, said)),
        answered=wilson(sum(each.label is not None for each in found), len(found)),
        calls=calls / len(found),
        tokens=tokens / len(found),
        unmapped=sum(each.unmapped for each in found) / calls if calls else 0.0,
        calibration=calibration_error([each.confidence for each in found], right),
    )


def compare(first: Sequence[Classification], second: Sequence[Classification], gold: Mapping[str, str]) -> PairedTest:
    """Returns McNemar's test of two methods on the same texts.

    Raises:
        InputError: If they did not classify the same texts.
    """
    other = {each.id: each for each in second}
    if {each.id for each in first} != set(other):
        raise InputError("the two methods did not classify the same texts")
    pairs = [(each.label == gold[each.id], other[each.id].label == gold[each.id]) for each in first]
    return mcnemar([a for a, _ in pairs], [b for _, b in pairs])


def calibration_error(confidence: Sequence[float], right: Sequence[bool], *, bins: int = 10) -> float:
    """Returns the expected calibration error over equally wide bins (Guo et al. 2017)."""
    values, hits = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    place = np.minimum((values * bins).astype(int), bins - 1)
    gaps = [
        abs(values[place == each].mean() - hits[place == each].mean()) * (place == each).mean() for each in set(place)
    ]
    return float(sum(gaps))


def total_variation(first: Sequence[float], second: Sequence[float]) -> float:
    """Returns half the sum of absolute differences of two distributions: 0 for equal ones, 1 for disjoint ones.

    Raises:
        InputError: If they are not of one length.
    """
    if len(first) != len(second):
        raise InputError(f"distributions over {len(first)} and {len(second)} things cannot be compared")
    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)).sum() / 2)


def position_bias(chosen: Sequence[int | None], gold: Sequence[int], positions: int) -> float:
    """Returns the total variation between where the chosen options stood and where the right ones did.

    Args:
        chosen: Place of the chosen option of each text, from 0; None where none was chosen.
        gold: Place of the right option of each text.
        positions: Number of options.
    """
    named = [place for place in chosen if place is not None]
    if not named:
        return 0.0
    return total_variation(_shares(named, positions), _shares(list(gold), positions))


def label_bias(chosen: Sequence[str | None], labels: Sequence[str]) -> float:
    """Returns the total variation between what is chosen for a text without content and the uniform distribution."""
    index = {label: place for place, label in enumerate(labels)}
    named = [index[label] for label in chosen if label is not None]
    if not named:
        return 0.0
    return total_variation(_shares(named, len(labels)), [1 / len(labels)] * len(labels))


def recall_deviation(right: Sequence[bool], gold: Sequence[int]) -> float:
    """Returns the standard deviation of recall over the places of the right option (RStd)."""
    hits, places = np.asarray(right, dtype=float), np.asarray(gold)
    return float(np.std([hits[places == place].mean() for place in np.unique(places)]))


def flip_rate(first: Sequence[str | None], second: Sequence[str | None]) -> Share:
    """Returns the share of texts whose answer changes when the options are shuffled otherwise.

    Raises:
        InputError: If the lists are empty or not of one length.
    """
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} answers cannot be compared")
    return wilson(sum(a != b for a, b in zip(first, second, strict=True)), len(first))


def _shares(places: Sequence[int], count: int) -> list[float]:
    counts = np.bincount(np.asarray(places), minlength=count)
    shares: list[float] = (counts / counts.sum()).tolist()
    return shares
