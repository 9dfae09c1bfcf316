"""What fusion did at each token: alpha, divergences, flags."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from intarsia.files import write_text
from intarsia.fusion.kl_solver import AlphaResult


@dataclass(frozen=True)
class TraceStep:
    """One token of one row. Divergences are in nats.

    Attributes:
        token: Its id.
        alpha: Strength of each expert's shift when it was chosen.
        forward: `KL(P_fused || P)`.
        backward: `KL(P || P_fused)`.
        target_forward: `KL(Q_t || Q)` of each expert.
        target_backward: `KL(Q || Q_t)` of each expert.
        loss: The objective at alpha.
        at_bound: Whether alpha is as small or as large as allowed.
        saturated: Whether the target is out of the shift's reach.
        clipped: Whether a divergence was cut.
    """

    token: int
    alpha: list[float]
    forward: float
    backward: float
    target_forward: list[float]
    target_backward: list[float]
    loss: float
    at_bound: bool
    saturated: bool
    clipped: bool


@dataclass
class FusionTrace:
    """Collects what fusion does; pass one to `forward`, `score` or `generate` as `trace=`.

    Attributes:
        experts: Names of the experts, in the order of alpha.
        rows: The tokens of each row of the batch.
        drafted: Tokens drafted, if generation speculated.
        accepted: Those of them that were kept.
    """

    experts: list[str] = field(default_factory=list)
    rows: list[list[TraceStep]] = field(default_factory=list)
    drafted: int = 0
    accepted: int = 0
    _pending: list[AlphaResult] = field(default_factory=list)

    def add(self, result: AlphaResult) -> None:
        """Keeps one position's result, `[batch]`, until `finish` tells its tokens."""
        self._pending.append(result)

    def finish(self, tokens: Sequence[Sequence[int]]) -> None:
        """Joins the results kept with the tokens they led to, one list per row; a row may have ended early."""
        rows: list[list[TraceStep]] = [[] for _ in tokens]
        for position, result in enumerate(self._pending):
            fields = {name: value.tolist() for name, value in result._asdict().items() if name != "expert"}
            for row, (steps, chosen) in enumerate(zip(rows, tokens, strict=True)):
                if position < len(chosen):
                    values = {name: value[row] for name, value in fields.items()}
                    steps.append(TraceStep(token=int(chosen[position]), **values))
        self.rows += rows
        self._pending.clear()

    def alphas(self) -> Float[np.ndarray, "tokens experts"]:
        """Returns alpha of all tokens of all rows."""
        values = [step.alpha for row in self.rows for step in row]
        return np.array(values, dtype=float).reshape(len(values), len(self.experts))

    def summary(self) -> dict[str, Any]:
        """Returns mean and quantiles of each expert's alpha where it is active, and how often bounds were met."""
        alphas = self.alphas()
        steps = [step for row in self.rows for step in row]
        per_expert = {}
        for index, name in enumerate(self.experts):
            active = alphas[:, index][alphas[:, index] > 0]
            quantiles = np.quantile(active, (0.1, 0.5, 0.9)) if len(active) else (0.0, 0.0, 0.0)
            per_expert[name] = {
                "share": len(active) / max(len(alphas), 1),
                "mean": float(active.mean()) if len(active) else 0.0,
                "quantiles": [float(value) for value in quantiles],
            }
        return {
            "tokens": len(steps),
            "experts": per_expert,
            "at_bound": float(np.mean([step.at_bound for step in steps])) if steps else 0.0,
            "saturated": float(np.mean([step.saturated for step in steps])) if steps else 0.0,
            "drafted": self.drafted,
            "accepted": self.accepted,
        }

    def save(self, path: str | Path, tokenizer: Any = None) -> Path:
        """Writes one JSON line per token, with its text if a tokenizer is given; atomically."""
        lines = []
        for row, steps in enumerate(self.rows):
            for position, step in enumerate(steps):
                record: dict[str, Any] = {"row": row, "position": position, **asdict(step)}
                record["alpha"] = dict(zip(self.experts, step.alpha, strict=True))
                if tokenizer is not None:
                    record["text"] = tokenizer.decode([step.token])
                lines.append(json.dumps(record, ensure_ascii=False))
        write_text(path, "\n".join(lines) + "\n" if lines else "")
        return Path(path)


def last_position(result: AlphaResult) -> AlphaResult:
    """Takes the last position of a result over `[batch, positions]`."""
    return AlphaResult(*(value[:, -1] for value in result))
