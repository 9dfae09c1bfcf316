"""What an experiment is given: its settings, its seed, and a folder that survives a stop."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.experiments.records import Claim


def _quiet(message: str) -> None:
    """Default progress: none."""


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one run of an experiment.

    Args:
        config: The recipe.
        seed: Every random choice of the run follows from it.
        scale: Name of the recipe, e.g. `"laptop"`.
        folder: Where the run keeps what it may need again; kept over a stop and a restart.
        engine: Backend for `engine.map` and `engine.sweep`: `"local"`, `"ray"`, `"ray://host:port"`, ...
        progress: Tells the user what is going on, in one line.
        claims: The declared claims by id, for `claim`.
    """

    config: Mapping[str, Any]
    seed: int
    scale: str
    folder: Path
    engine: str = "local"
    progress: Callable[[str], None] = _quiet
    claims: Mapping[str, Claim] = field(default_factory=dict)

    def stage(self, name: str, compute: Callable[[], Any]) -> Any:
        """Computes a JSON value once: after a stop it is read from the folder instead.

        Args:
            name: Unique in the run; letters, digits, `-`, `_`, `.`.
            compute: Called if the value is not there yet.

        Returns:
            The value, as JSON gives it back (a tuple becomes a list).

        Raises:
            ValueError: If the value holds NaN or infinity.
        """
        path = self.folder / "stages" / f"{name}.json"
        if path.is_file():
            self.progress(f"{name}: already done")
            return files.read_json(path)
        self.progress(f"{name} ...")
        start = time.monotonic()
        files.write_json(path, compute())
        self.progress(f"{name}: {time.monotonic() - start:.1f} s")
        return files.read_json(path)

    def claim(self, id: str, holds: bool | None, evidence: str) -> Claim:
        """A declared claim with its verdict.

        Args:
            id: The id it was declared with.
            holds: Whether it held; None if this run cannot tell.
            evidence: The numbers that decide it, or why it could not be judged.

        Raises:
            KeyError: If no claim of this id was declared.
        """
        declared = self.claims[id]
        return Claim(declared.id, declared.text, declared.source, holds, evidence)
