"""What a reducer knows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.classification.asking import Questions
from intarsia.classification.vectors import LabelVectors


@dataclass(frozen=True)
class Reduction:
    """A text whose options are to be reduced.

    Attributes:
        text: The text, on one line.
        options: All its options.
        questions: Asks about it.
        vectors: Embeddings of labels and texts; None where there is no encoder.
    """

    text: str
    options: tuple[str, ...]
    questions: Questions
    vectors: LabelVectors | None = None

    def nearest(self, options: Sequence[str], count: int, prototypes: str = "names") -> list[str]:
        """Returns the options nearest to the text by sentence embedding, nearest first."""
        assert self.vectors is not None, "reducers that compare vectors are given an encoder"
        closeness = self.vectors.of_labels(options, prototypes) @ self.vectors.of_text(self.text)
        return [options[place] for place in np.argsort(-closeness, kind="stable")[:count]]
