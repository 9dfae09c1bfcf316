"""Which options a text is shown, for studies of their number and order."""

from collections.abc import Sequence

import numpy as np

from intarsia.classification.labels import LabelSet
from intarsia.classification.streams import generator
from intarsia.errors import ConfigError, DataError
from intarsia.models.sentence_encoder import Vectors


def observed_labels(labels: LabelSet, gold: Sequence[str]) -> LabelSet:
    """Returns the labels that occur in `gold`: the option list of the published code, easier than the full one."""
    present = set(gold)
    names = tuple(name for name in labels.names if name in present)
    return LabelSet(names, {name: labels.descriptions[name] for name in names if name in labels.descriptions})


def label_space(labels: LabelSet, gold: Sequence[str], kind: str) -> LabelSet:
    """Returns all labels (`full`) or those that occur (`observed`, as published).

    Raises:
        ConfigError: If it is neither.
        DataError: If a gold label is not among the labels.
    """
    if kind not in ("full", "observed"):
        raise ConfigError("label_space", kind, "full or observed")
    for label in gold:
        if label not in labels.index:
            raise DataError(
                f"the gold label {label!r} is not among the {len(labels)} labels",
                field="label",
                fix="add it to the labels, or leave out its texts",
            )
    return labels if kind == "full" else observed_labels(labels, gold)


def arrange_options(
    labels: LabelSet,
    gold: str,
    *,
    option_num: int | None = None,
    gold_position: int | None = None,
    similar_rate: float = 0.0,
    vectors: Vectors | None = None,
    seed: int = 0,
    item: str = "",
) -> tuple[str, ...]:
    """Returns the options of one text: the gold label and others.

    Args:
        labels: All labels.
        gold: The right label.
        option_num: How many options; by default all. All of them come in the order of the labels.
        gold_position: Where the gold label stands, from 0; by default where the order of the labels puts it. The
            others are then shuffled.
        similar_rate: Share of the others that are the labels nearest to the gold one; the rest is random.
        vectors: Unit vectors of the labels, (labels, dim); needed for `similar_rate`.
        seed: Of the random choices.
        item: Id of the text; the choices go by it.

    Raises:
        ConfigError: If a number is out of range.
        DataError: If the gold label is not among the labels.
    """
    count = len(labels) if option_num is None else option_num
    if not 1 <= count <= len(labels):
        raise ConfigError("option_num", option_num, f"between 1 and {len(labels)}, the number of labels")
    if gold_position is not None and not 0 <= gold_position < count:
        raise ConfigError("gold_position", gold_position, f"between 0 and {count - 1}")
    if not 0 <= similar_rate <= 1:
        raise ConfigError("similar_rate", similar_rate, "between 0 and 1")
    if gold not in labels.index:
        raise DataError(f"the gold label {gold!r} is not among the {len(labels)} labels", field="label")
    chance = generator(seed, item, -1)
    similar = _nearest(labels, gold, round(similar_rate * (count - 1)), vectors)
    others = [name for name in labels.names if name != gold and name not in similar]
    chosen = {*similar, *chance.sample(others, count - 1 - len(similar))}
    rest = [name for name in labels.names if name in chosen]
    if gold_position is None:
        return tuple(name for name in labels.names if name in chosen or name == gold)
    chance.shuffle(rest)
    return (*rest[:gold_position], gold, *rest[gold_position:])


def _nearest(labels: LabelSet, gold: str, count: int, vectors: Vectors | None) -> list[str]:
    if count == 0:
        return []
    if vectors is None:
        raise ConfigError("similar_rate", count, "0 where the labels have no vectors")
    place = labels.index[gold]
    order = np.argsort(-(vectors @ vectors[place]), kind="stable")
    return [labels.names[other] for other in order if other != place][:count]
