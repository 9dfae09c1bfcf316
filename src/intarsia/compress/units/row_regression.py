"""Predicting a token's row from its units: what a trained matrix says about sememes and pieces, in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix
from torch import Tensor

from intarsia.compress.units.token_terms import Term, kind_of
from intarsia.compress.units.unit_map import UnitMap
from intarsia.errors import ConfigError, ModelError

PENALTY = 10.0
"""Best of 3, 10 and 30 for SmolLM2's rows of words of which it was shown no form."""

STRETCH = 0.5

_FORM = ("shape", "piece")
_MEANING = ("sememe", "class")


@dataclass(frozen=True, eq=False)
class RowRegression:
    """Ridge regression from units to rows: a row is the mean row and a vector for each of its token's units.

    Sums say less than products of a token that is known, but they carry over to one that is not.

    Attributes:
        names: Names of the units.
        vectors: A vector of each unit; zero for one that no token had.
        mean: Mean of the rows it was fitted to.
    """

    names: tuple[str, ...]
    vectors: Float[Tensor, "units dim"]
    mean: Float[Tensor, "dim"]

    @classmethod
    def fit(
        cls,
        units: UnitMap,
        matrix: Float[Tensor, "vocab dim"],
        *,
        penalty: float = PENALTY,
        stretch: float = STRETCH,
        tokens: Bool[Tensor, "vocab"] | None = None,
    ) -> Self:
        """Fits the vectors of all units at once, exactly.

        Args:
            units: The units of each token.
            matrix: Trained rows, of a dense embedding or of what `to_dense` gives of a compressed one.
            penalty: Weight of the squared vectors, in tokens: a unit that fewer have is held near zero.
            stretch: How much of the shrinkage is undone, as a power of how much farther from the mean row trained rows
                are than predicted ones. Least squares (0) gives short rows, which a tied head hardly ever chooses;
                rows of full length (1) are loud where they are wrong.
            tokens: Tokens to learn from; by default all that have terms.

        Raises:
            ModelError: If units and matrix are of different vocabularies.
            ConfigError: If the penalty is not positive.
        """
        if len(units) != len(matrix):
            raise ModelError(f"the units are of {len(units)} tokens, but the matrix has {len(matrix)} rows")
        if not penalty > 0:
            raise ConfigError("penalty", penalty, "positive")
        used = units.mask.any(1) if tokens is None else tokens & units.mask.any(1)
        mean = matrix[used].float().mean(0)
        features = unit_features(units)[used.numpy()]
        target = (matrix[used].float() - mean).numpy(force=True)
        gram = (features.T @ features).toarray()
        gram[np.diag_indices_from(gram)] += penalty
        vectors = cho_solve(cho_factor(gram, overwrite_a=True), features.T @ target)
        shrinkage = _mean_length(features @ vectors) / _mean_length(target)
        return cls(units.names, torch.from_numpy(vectors * (shrinkage or 1.0) ** -stretch), mean)

    def rows(self, features: csr_matrix) -> Float[Tensor, "tokens dim"]:
        """Returns the rows of tokens of which `unit_features` are given."""
        return self.mean + torch.from_numpy(features @ self.vectors.numpy())

    def row(self, terms: Sequence[Term]) -> Float[Tensor, "dim"]:
        """Returns the row of a token with these terms; units that are unknown are passed over."""
        index = {name: number for number, name in enumerate(self.names)}
        row = self.mean.clone()
        for name, weight in _weights(terms).items():
            if name in index:
                row += weight * self.vectors[index[name]]
        return row


def unit_features(units: UnitMap) -> csr_matrix:
    """Counts the units of each token, `[tokens, units]`: shape and pieces once, what is in the k-th sense 1 / k times.

    Pads stand for nothing.
    """
    kinds = [kind_of(name) for name in units.names]
    is_meaning, is_form = (np.array([kind in group for kind in kinds], bool) for group in (_MEANING, _FORM))
    of_slot, counts = units.units.numpy(), units.mask.numpy()[..., None]
    meaning, form = is_meaning[of_slot] & counts, is_form[of_slot] & counts
    sense = meaning.any(2).cumsum(1)
    features = _counted(units, meaning, 1 / np.maximum(sense, 1))
    # However often a piece occurs in its token, it counts once.
    forms = _counted(units, form, np.ones_like(sense))
    forms.data[:] = 1
    return features + forms


def _counted(units: UnitMap, chosen: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]) -> csr_matrix:
    """Adds up the weights of terms, `[tokens, terms]`, at those of their units, `[tokens, terms, order]`, chosen."""
    tokens, terms, slots = chosen.nonzero()
    entries = (weights[tokens, terms].astype(np.float32), (tokens, units.units.numpy()[tokens, terms, slots]))
    return csr_matrix(entries, shape=(len(units), len(units.names)))


def _mean_length(rows: npt.NDArray[np.float32]) -> np.float32:
    return np.linalg.norm(rows, axis=1).mean(dtype=np.float32)


def _weights(terms: Sequence[Term]) -> dict[str, float]:
    found: dict[str, float] = {}
    sense = 0
    for term in terms:
        meaning = [name for name in term if kind_of(name) in _MEANING]
        sense += bool(meaning)
        for name in meaning:
            found[name] = found.get(name, 0.0) + 1 / sense
        for name in term:
            if kind_of(name) in _FORM:
                found[name] = 1.0
    return found
