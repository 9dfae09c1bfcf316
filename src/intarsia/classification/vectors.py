"""Embeddings of labels and texts, each computed once."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.classification.demonstrations import Demonstrations
from intarsia.classification.labels import LabelSet, label_texts
from intarsia.errors import ConfigError
from intarsia.models.sentence_encoder import TextEncoder, Vectors


class LabelVectors:
    """What an encoder says about labels and texts.

    Args:
        labels: All labels.
        encoder: The encoder.
        demonstrations: The examples, if there are any.
        seed: Of clusters and of the supervised classifier.
    """

    def __init__(
        self, labels: LabelSet, encoder: TextEncoder, demonstrations: Demonstrations | None = None, *, seed: int = 0
    ) -> None:
        self._labels = labels
        self._encoder = encoder
        self._demonstrations = demonstrations
        self._seed = seed
        self._clusters: dict[tuple[tuple[str, ...], int], list[int]] = {}

    def of_text(self, text: str) -> npt.NDArray[np.float32]:
        """Returns the unit vector of a text, (dim,)."""
        vector: npt.NDArray[np.float32] = self._encoder.embed([text])[0]
        return vector

    def of_labels(self, options: Sequence[str], prototypes: str = "names") -> Vectors:
        """Returns the unit vectors of labels, (options, dim): of their `names`, or `centroids` of their examples."""
        rows = self.names if prototypes == "names" else self._examples().centroids
        chosen: Vectors = rows[[self._labels.index[option] for option in options]]
        return chosen

    @cached_property
    def names(self) -> Vectors:
        """Unit vectors of the labels' names and descriptions, (labels, dim)."""
        return self._encoder.embed(label_texts(self._labels.names, dict(self._labels.descriptions)))

    def clusters(self, options: Sequence[str], count: int) -> list[int]:
        """Returns the cluster of each option (k-means of their names' vectors; MacQueen 1967)."""
        from sklearn.cluster import KMeans

        # Which labels are together does not depend on the order they come in.
        known = tuple(sorted(options, key=self._labels.index.__getitem__))
        if (known, count) not in self._clusters:
            vectors = self.of_labels(known)
            distinct = len(np.unique(vectors, axis=0))
            fitted = KMeans(min(count, distinct), n_init=1, random_state=self._seed).fit(vectors)
            self._clusters[known, count] = fitted.labels_.tolist()
        cluster = dict(zip(known, self._clusters[known, count], strict=True))
        return [cluster[option] for option in options]

    @cached_property
    def logistic_regression(self) -> Any:
        """A logistic regression of labels on the vectors of the examples."""
        from sklearn.linear_model import LogisticRegression

        vectors = self._examples().vectors
        names = [name for name, rows in vectors.items() for _ in rows]
        return LogisticRegression(C=10.0, max_iter=1000).fit(np.concatenate(list(vectors.values())), names)

    def _examples(self) -> Demonstrations:
        if self._demonstrations is None:
            raise ConfigError("prototypes", "centroids", "names where there are no examples")
        return self._demonstrations
