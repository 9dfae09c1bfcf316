"""How far judges agree with one another and with what is known, and what a rate is once their errors are known."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from intarsia.errors import ConfigError, InputError
from intarsia.metrics.intervals import Interval, check_settings, percentile_interval


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Returns the agreement of two judges beyond chance (Cohen 1960): 1 is perfect, 0 is chance.

    None where both only ever said one and the same thing: then agreement by chance is certain.

    Raises:
        InputError: If there are no items, or not the same number.
    """
    if len(first) != len(second) or not first:
        raise InputError(f"agreement needs the same items twice: {len(first)} and {len(second)} were given")
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / n
    of_first, of_second = Counter(first), Counter(second)
    chance = sum(of_first[label] * of_second[label] for label in of_first) / n**2
    return None if chance == 1 else (seen - chance) / (1 - chance)


def krippendorff_alpha(
    ratings: Sequence[Sequence[Hashable | None]], *, level: Literal["nominal", "ordinal"] = "nominal"
) -> float | None:
    """Returns the agreement of any number of judges on labels (Krippendorff 2004).

    Args:
        ratings: One list a judge, one label an item; None where the judge gave none.
        level: `"nominal"`: labels are the same or not. `"ordinal"`: they have an order, and the further apart two are,
            the more they disagree.

    Returns:
        1 if they agree on everything, 0 at chance; None where fewer than two labels were given to any item, or only one
        label occurs.

    Raises:
        InputError: If the judges have not the same number of items.
    """
    if len({len(of_judge) for of_judge in ratings}) > 1:
        raise InputError("agreement needs the same items of every judge")
    units = [[label for label in unit if label is not None] for unit in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    found: set[Any] = {label for unit in units for label in unit}
    if len(found) < 2:
        return None
    # Nominal labels may be of kinds that do not compare; any fixed order does.
    labels = sorted(found, key=None if level == "ordinal" else repr)
    counts = np.array([[unit.count(label) for label in labels] for unit in units], dtype=float)
    totals, sizes = counts.sum(axis=0), counts.sum(axis=1)
    # Ordinal labels are as far apart as the middles of their ranks.
    ranks = totals.cumsum() - totals / 2
    distances = np.subtract.outer(ranks, ranks) ** 2 if level == "ordinal" else 1 - np.eye(len(labels))
    expected = totals @ distances @ totals
    observed = (((counts @ distances) * counts).sum(axis=1) / (sizes - 1)).sum()
    return float(1 - (totals.sum() - 1) * observed / expected)


class JudgeQuality(NamedTuple):
    """How a judge does on items whose truth is known.

    Attributes:
        sensitivity: Share of true cases it finds.
        specificity: Share of other items it leaves alone.
        cases: Number of true cases.
        others: Number of other items.
    """

    sensitivity: float
    specificity: float
    cases: int
    others: int


def judge_quality(truth: Sequence[bool], judged: Sequence[bool]) -> JudgeQuality:
    """Returns sensitivity and specificity of a judge.

    Raises:
        InputError: If there are no true cases, no others, or not one judgement an item.
    """
    if len(truth) != len(judged):
        raise InputError(f"{len(truth)} items have {len(judged)} judgements")
    found = [verdict for case, verdict in zip(truth, judged, strict=True) if case]
    spared = [not verdict for case, verdict in zip(truth, judged, strict=True) if not case]
    if not found or not spared:
        raise InputError("a judge is only known by true cases and others, but one kind is missing")
    return JudgeQuality(sum(found) / len(found), sum(spared) / len(spared), len(found), len(spared))


def rogan_gladen(rate: float, sensitivity: float, specificity: float) -> float:
    """Returns what a rate is without the judge's errors, between 0 and 1 (Rogan and Gladen 1978).

    Args:
        rate: Share of items the judge called cases.
        sensitivity: Share of true cases it finds.
        specificity: Share of other items it leaves alone.

    Raises:
        ConfigError: If a share is not between 0 and 1.
        InputError: If the judge is no better than a coin, so that its rate says nothing.
    """
    for name, value in (("rate", rate), ("sensitivity", sensitivity), ("specificity", specificity)):
        if not 0 <= value <= 1:
            raise ConfigError(name, value, "between 0 and 1")
    if sensitivity + specificity <= 1:
        raise InputError(
            f"a judge with sensitivity {sensitivity:g} and specificity {specificity:g} is no better than a coin, so "
            "its rate cannot be corrected",
            fix="use a better judge",
        )
    return min(1.0, max(0.0, (rate + specificity - 1) / (sensitivity + specificity - 1)))


def corrected_interval(
    rates: npt.NDArray[np.float64],
    quality: JudgeQuality,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Returns the interval of a corrected rate, from draws of the rate and as many draws of the known items.

    Draws in which the judge is no better than a coin say nothing and are left out; None if those are more than a tenth.

    Args:
        rates: Draws of the rate, e.g. of `cluster_draws`, (draws,).
        quality: The judge on known items.
        confidence: Between 0 and 1.
        seed: Seed of the draws of known items.
    """
    check_settings(confidence, len(rates))
    generator = np.random.default_rng(seed)
    found = generator.binomial(quality.cases, quality.sensitivity, size=len(rates)) / quality.cases
    spared = generator.binomial(quality.others, quality.specificity, size=len(rates)) / quality.others
    better = found + spared > 1
    if better.mean() < 0.9:
        return None
    corrected = (rates + spared - 1)[better] / (found + spared - 1)[better]
    return percentile_interval(np.clip(corrected, 0, 1), confidence)


def uniformity_p(counts: Sequence[int]) -> float:
    """Returns the p-value of Pearson's chi-square test that all options are chosen equally often.

    Raises:
        InputError: If nothing was chosen.
    """
    from scipy.stats import chisquare

    if not sum(counts):
        raise InputError("no option was chosen")
    return float(chisquare(counts).pvalue)
