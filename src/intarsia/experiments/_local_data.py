"""Where recipes find local data files, and what they take where these are absent."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from intarsia.errors import ConfigError
from intarsia.experiments.provenance import checkout

LOCAL = "$DATA/"
"""How a recipe begins a path in the data folder."""

Task = TypeVar("Task", bound=Any)


def data_folder(given: str) -> Path | None:
    """Returns the data folder: `$INTARSIA_DATA`, else the recipe's, from the checkout; None if there is neither."""
    if os.environ.get("INTARSIA_DATA"):
        return Path(os.environ["INTARSIA_DATA"])
    root = checkout()
    return (root / given).resolve() if root is not None and given else None


def tasks_at_hand(tasks: Mapping[str, Task], instead: Mapping[str, Task], folder: Path | None) -> dict[str, Task]:
    """Puts real paths into tasks whose `data` begins with `$DATA/`; where one is absent, all are taken from `instead`.

    Raises:
        ConfigError: If one is absent and `instead` is empty.
    """
    local = [name for name, task in tasks.items() if task.data.startswith(LOCAL)]
    paths = {name: folder / tasks[name].data.removeprefix(LOCAL) for name in local} if folder is not None else {}
    if all(name in paths and paths[name].exists() for name in local):
        return {name: replace(task, data=str(paths[name])) if name in paths else task for name, task in tasks.items()}
    if not instead:
        raise ConfigError("data_folder", str(folder or ""), f"a folder with the texts of {', '.join(local)}")
    return dict(instead)
