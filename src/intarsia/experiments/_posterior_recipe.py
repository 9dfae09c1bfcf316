"""The settings of the reproduction of posterior information."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intarsia.errors import ConfigError
from intarsia.pipeline.recipe import parse


@dataclass(frozen=True)
class SweepRecipe:
    """A, chains of random states with the maximum-entropy estimator.

    Attributes:
        states: Number of qubits (as text) to states of each family.
        families: Families of states.
        orders: Orders of components.
        eps: Share of the maximally mixed state.
    """

    states: dict[str, int] = field(default_factory=lambda: {"2": 47, "3": 47, "4": 3})
    families: tuple[str, ...] = ("haar", "ghz", "w", "product", "ghz-noise", "real", "symmetric")
    orders: tuple[str, ...] = ("desc", "weight", "random")
    eps: float = 2e-3

    def __post_init__(self) -> None:
        if not all(qubits.isdigit() and 1 <= int(qubits) <= 5 for qubits in self.states):
            raise ConfigError("states", self.states, "states of each family by 1 to 5 qubits")


@dataclass(frozen=True)
class IntervalRecipe:
    """B, the interval estimator on Haar states of two qubits.

    Attributes:
        states: How many.
        order: Order of components.
        eps: Share of the maximally mixed state.
    """

    states: int = 500
    order: str = "desc"
    eps: float = 1e-3


@dataclass(frozen=True)
class ClosedFormRecipe:
    """D, states whose totals are known in closed form.

    Attributes:
        angles: Angles t of `cos t |00> + sin t |11>`.
        eps: Share of the maximally mixed state.
    """

    angles: tuple[float, ...] = (0.2, 0.5)
    eps: float = 1e-4


@dataclass(frozen=True)
class LargeRecipe:
    """E, chains of five qubits.

    Attributes:
        families: One state of each.
        orders: Orders of components.
        eps: Share of the maximally mixed state.
    """

    families: tuple[str, ...] = ("haar", "ghz", "w", "product", "stabilizer", "real", "symmetric")
    orders: tuple[str, ...] = ("desc", "weight")
    eps: float = 2e-3


@dataclass(frozen=True)
class ClimbRecipe:
    """F, the hill climb.

    Attributes:
        restarts: Number of qubits (as text) to climbs for each divergence.
        steps: Steps of a climb.
        eps: Share of the maximally mixed state.
    """

    restarts: dict[str, int] = field(default_factory=lambda: {"2": 4, "3": 4})
    steps: int = 150
    eps: float = 2e-3


@dataclass(frozen=True)
class PosteriorRecipe:
    """The whole reproduction.

    Attributes:
        sweep: A and C.
        interval: B.
        closed_forms: D.
        large: E.
        climb: F.
    """

    sweep: SweepRecipe = field(default_factory=SweepRecipe)
    interval: IntervalRecipe = field(default_factory=IntervalRecipe)
    closed_forms: ClosedFormRecipe = field(default_factory=ClosedFormRecipe)
    large: LargeRecipe = field(default_factory=LargeRecipe)
    climb: ClimbRecipe = field(default_factory=ClimbRecipe)


def read_recipe(config: Mapping[str, Any]) -> PosteriorRecipe:
    """Reads and checks the recipe."""
    recipe: PosteriorRecipe = parse(PosteriorRecipe, config, where="quantum-posterior-information recipe")
    return recipe
