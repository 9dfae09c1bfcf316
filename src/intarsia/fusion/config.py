"""How alpha, the strength of the experts' shift, is found at each decoding step."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from intarsia.errors import ConfigError, UnknownNameError

Solver = Literal["grid", "refine", "bracket", "newton", "static", "joint"]
Target = Literal["centroid", "max"]
SOLVERS: tuple[str, ...] = get_args(Solver)
TARGETS: tuple[str, ...] = get_args(Target)


@dataclass
class SolverConfig:
    """Settings of `solve_alpha`; the defaults are those of Dynamic Logit Fusion.

    Attributes:
        solver: `grid` tries evenly spaced values (the paper's; 21 of them by default). `refine` goes on from the
            best of them by bisection. `bracket` bisects between the two values of alpha at which one of the two KL
            conditions holds. `newton` steps on a fourth-order expansion and mostly looks at the vocabulary once or
            twice. `static` uses `alpha` as it is (proxy tuning is `alpha=1`). `joint` moves all experts at once.
        target: What several experts ask for: the mean of their KL pairs (`centroid`, what the paper's sum over
            experts amounts to) or the pair of the expert that moved farthest from its base (`max`).
        low: Smallest alpha that is tried.
        high: Largest alpha that is tried (paper: 2).
        step: Distance of neighbouring values of the grid (paper: 0.1).
        alpha: Of `static`: one number, or one for each expert. With one number every expert has it.
        ridge: Of `joint`: weight of `||alpha||^2`, which picks one of the many optima there are for more than two
            experts.
        tolerance: Width in alpha at which an iterative solver stops.
        top_m: Compute with the `top_m` likeliest tokens of each model only; None for all. An approximation.
    """

    solver: Solver = "grid"
    target: Target = "centroid"
    low: float = 0.0
    high: float = 2.0
    step: float = 0.1
    alpha: float | Sequence[float] = 1.0
    ridge: float = 1e-3
    tolerance: float = 1e-4
    top_m: int | None = None

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise UnknownNameError("solver", str(self.solver), SOLVERS)
        if self.target not in TARGETS:
            raise UnknownNameError("target", str(self.target), TARGETS)
        if not 0 <= self.low < self.high < math.inf:
            raise ConfigError(
                "alpha range", f"{self.low} to {self.high}", "not empty, from 0 or more to a finite number"
            )
        if not 0 < self.step <= self.high - self.low:
            raise ConfigError("step", self.step, f"positive and at most {self.high - self.low:g}, the range's width")
        if not 0 <= self.ridge < math.inf:
            raise ConfigError("ridge", self.ridge, "0 or more, and finite")
        if not 0 < self.tolerance < 1:
            raise ConfigError("tolerance", self.tolerance, "between 0 and 1")
        if self.top_m is not None and self.top_m < 1:
            raise ConfigError("top_m", self.top_m, "1 or more, or None for all tokens")
        if isinstance(self.alpha, Sequence):
            # JSON and YAML have lists; a tuple cannot be changed behind the config's back.
            self.alpha = tuple(float(value) for value in self.alpha)
        strengths = self.alpha if isinstance(self.alpha, tuple) else (self.alpha,)
        if not strengths or not all(math.isfinite(value) for value in strengths):
            value = list(self.alpha) if isinstance(self.alpha, tuple) else self.alpha
            raise ConfigError("alpha", value, "one number or one for each expert, all finite")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Makes settings of what `to_dict` gave.

        Raises:
            UnknownNameError: If there is no such setting.
        """
        known = cls.__dataclass_fields__
        for name in values:
            if name not in known:
                raise UnknownNameError("solver setting", name, known)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        values = asdict(self)
        if isinstance(self.alpha, tuple):
            values["alpha"] = list(self.alpha)
        return values
