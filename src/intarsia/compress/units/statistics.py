"""What a unit map is made of, in numbers."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

USAGE_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
"""Lower ends of the bins of the usage histogram."""


@dataclass(frozen=True)
class UnitStatistics:
    """Numbers that tell whether units fit a vocabulary.

    Attributes:
        tokens: Tokens of the vocabulary.
        exact: Tokens with dense rows of their own.
        words: Tokens that might stand in a lexicon: three letters or more.
        words_found: Those that do.
        mean_senses: Senses that have a term, on average over the words found.
        units: Number of units by kind.
        usage: Number of units by how many tokens use them: lower end of the bin to units.
        one_user: Units that one token alone uses.
        collisions: Groups of tokens whose terms are the same, by their ids.
    """

    tokens: int
    exact: int
    words: int
    words_found: int
    mean_senses: float
    units: dict[str, int]
    usage: dict[int, int]
    one_user: int
    collisions: list[list[int]]

    @property
    def share_found(self) -> float:
        """Share of the words that the lexicon has."""
        return self.words_found / self.words if self.words else 0.0

    @property
    def colliding_tokens(self) -> int:
        """Tokens that have the same terms as another."""
        return sum(map(len, self.collisions))

    def to_dict(self) -> dict[str, Any]:
        """Returns the numbers as JSON values, the histogram as pairs."""
        values = asdict(self) | {"share_found": self.share_found, "colliding_tokens": self.colliding_tokens}
        return values | {"usage": [list(pair) for pair in self.usage.items()]}


def unit_usage(
    units: Int[Tensor, "vocab terms order"], mask: Bool[Tensor, "vocab terms"], num_units: int
) -> Int[Tensor, "units"]:
    """Counts the tokens that use each unit."""
    tokens = torch.arange(len(units))[:, None, None].expand(units.shape)
    pairs = torch.stack([tokens[mask].flatten().long(), units[mask].flatten().long()])
    distinct = torch.unique(pairs[0] * num_units + pairs[1])
    return torch.bincount(distinct % num_units, minlength=num_units)


def usage_histogram(usage: Int[Tensor, "units"]) -> dict[int, int]:
    """Counts units by bins of their usage."""
    bins = torch.bucketize(usage, torch.tensor(USAGE_STEPS), right=True)
    counts = torch.bincount(bins, minlength=len(USAGE_STEPS) + 1).tolist()[1:]
    return {step: count for step, count in zip(USAGE_STEPS, counts, strict=True) if count}


def find_collisions(units: Int[Tensor, "vocab terms order"], mask: Bool[Tensor, "vocab terms"]) -> list[list[int]]:
    """Finds groups of tokens that have terms, and the same ones."""
    rows = torch.where(mask[..., None], units, -1).flatten(1)
    _, group, counts = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
    suspects = ((counts[group] > 1) & mask.any(1)).nonzero().flatten().tolist()
    found: dict[int, list[int]] = {}
    for token in suspects:
        found.setdefault(int(group[token]), []).append(token)
    return sorted(found.values())
