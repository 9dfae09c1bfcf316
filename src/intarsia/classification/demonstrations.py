"""Examples shown in a duel: which sentences of two labels make the boundary between them clearest."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from intarsia.classification.labels import LabelSet
from intarsia.classification.prompts import Example
from intarsia.classification.streams import generator
from intarsia.errors import DataError
from intarsia.models.sentence_encoder import TextEncoder, Vectors


class Demonstrations:
    """The examples of a classification, and which of them a pair of labels is shown with.

    Choices for a pair are made when it is first asked for, and are the same for both orders of the pair.

    Args:
        examples: Texts with their labels; texts that come twice under one label count once.
        labels: All labels.
        kind: `boundary`, `center` or `random`.
        shots: Sentences of each label.
        encoder: Gives the vectors; not needed for `random`.
        seed: Of `random`.
        exclude: Texts that are never shown, because they are to be classified.

    Raises:
        DataError: If an example has a label that is not among the labels, or a label has no example.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        labels: LabelSet,
        *,
        kind: str = "boundary",
        shots: int = 3,
        encoder: TextEncoder | None = None,
        seed: int = 0,
        exclude: Sequence[str] = (),
    ) -> None:
        self.labels = labels
        self.kind = kind
        self.shots = shots
        self.texts = group_by_label(examples, labels, exclude)
        self._encoder = encoder
        self._seed = seed
        self._pairs: dict[frozenset[str], dict[str, list[str]]] = {}

    @cached_property
    def vectors(self) -> Mapping[str, Vectors]:
        """Label -> the vectors of its examples."""
        if self._encoder is None:
            raise DataError("the examples cannot be compared without an encoder", field="encoder")
        flat = self._encoder.embed([text for texts in self.texts.values() for text in texts])
        ends = np.cumsum([len(texts) for texts in self.texts.values()])
        return dict(zip(self.texts, np.split(flat, ends[:-1]), strict=True))

    @cached_property
    def centroids(self) -> Vectors:
        """Unit mean vectors of the labels' examples, (labels, dim), in the order of the labels."""
        means = np.stack([self.vectors[name].mean(axis=0) for name in self.labels.names])
        centroids: Vectors = means / np.linalg.norm(means, axis=-1, keepdims=True)
        return centroids

    def of_pair(self, first: str, second: str) -> list[Example]:
        """Returns the examples of two labels, in turns: a sentence of the first, one of the second, ..."""
        key = frozenset((first, second))
        if key not in self._pairs:
            # Chosen for one order, so that the other order shows the same sentences.
            self._pairs[key] = self._choose(*sorted((first, second), key=self.labels.index.__getitem__))
        chosen, shown = self._pairs[key], list[Example]()
        for place in range(max(len(chosen[first]), len(chosen[second]))):
            shown += [(chosen[label][place], label) for label in (first, second) if place < len(chosen[label])]
        return shown

    def draw(self, count: int, item: str, call: int) -> list[Example]:
        """Returns `count` random examples for a question over all options, at most one of a label while they last."""
        chance = generator(self._seed, item, call)
        names = list(self.texts)
        chance.shuffle(names)
        shown = [(chance.choice(self.texts[name]), name) for name in names[:count]]
        rest = [(text, name) for name in names for text in self.texts[name] if (text, name) not in shown]
        return shown + chance.sample(rest, min(count - len(shown), len(rest)))

    def _choose(self, first: str, second: str) -> dict[str, list[str]]:
        if self.kind == "boundary":
            rows, columns = boundary_pairs(self.vectors[first], self.vectors[second], self.shots)
            return {
                first: [self.texts[first][row] for row in rows],
                second: [self.texts[second][column] for column in columns],
            }
        if self.kind == "center":
            return {label: self._nearest_to_mean(label) for label in (first, second)}
        return {
            label: generator(self._seed, label, 0).sample(self.texts[label], min(self.shots, len(self.texts[label])))
            for label in (first, second)
        }

    def _nearest_to_mean(self, label: str) -> list[str]:
        closeness = self.vectors[label] @ self.centroids[self.labels.index[label]]
        return [self.texts[label][place] for place in np.argsort(-closeness, kind="stable")[: self.shots]]


def boundary_pairs(first: Vectors, second: Vectors, count: int) -> tuple[list[int], list[int]]:
    """Returns the most similar pairs across two sets of sentences, greedily, each sentence in one pair at most.

    Args:
        first: Unit vectors, (n, dim).
        second: Unit vectors, (m, dim).
        count: Number of pairs; fewer if a set is smaller.

    Returns:
        Places in `first` and in `second`, the most similar pair first.
    """
    similarity: npt.NDArray[np.float32] = first @ second.T
    count = min(count, *similarity.shape)
    # A pair that is taken blocks its row and column; among so many best pairs there are always enough others.
    enough = min(similarity.size, (count - 1) * sum(similarity.shape) + 1)
    best = np.argpartition(-similarity, enough - 1, axis=None)[:enough]
    best = best[np.lexsort((best, -similarity.ravel()[best]))]
    rows, columns = list[int](), list[int]()
    for place in best:
        row, column = divmod(int(place), similarity.shape[1])
        if row not in rows and column not in columns:
            rows.append(row)
            columns.append(column)
            if len(rows) == count:
                break
    return rows, columns


def group_by_label(examples: Sequence[Example], labels: LabelSet, exclude: Sequence[str] = ()) -> dict[str, list[str]]:
    """Returns the texts of every label, in the order of the labels.

    Raises:
        DataError: If an example has another label, or a label has no example.
    """
    hidden = {" ".join(text.casefold().split()) for text in exclude}
    texts: dict[str, dict[str, None]] = {name: {} for name in labels.names}
    for text, label in examples:
        if label not in texts:
            raise DataError(
                f"an example has the label {label!r}, which is not among the {len(labels)} labels", field="label"
            )
        one_line = " ".join(str(text).split())
        if one_line and one_line.casefold() not in hidden:
            texts[label].setdefault(one_line)
    missing = [name for name, of_label in texts.items() if not of_label]
    if missing:
        shown = ", ".join(map(repr, missing[:3])) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise DataError(
            f"there is no example of the label {shown}",
            field="examples",
            fix="add an example of each label, or show none: shots=0",
        )
    return {name: list(of_label) for name, of_label in texts.items()}
