"""The user's cache of converted models: every conversion happens once, whatever process asks first."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from intarsia.files import atomic_folder


def models_cache() -> Path:
    """Returns the folder of converted models: under `$INTARSIA_CACHE`, or the user's cache folder."""
    root = os.environ.get("INTARSIA_CACHE") or platformdirs.user_cache_dir("intarsia")
    return Path(root).expanduser() / "models"


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Makes `folder` by `build`, unless it is there.

    The rename at the end is what makes it safe: a folder is there whole or not at all. The lock only saves a second
    process the work, and tells us that temporary folders left by killed ones are nobody's.

    Args:
        folder: The folder to make, directly in `models_cache()`.
        build: Fills the empty folder it is given.

    Returns:
        `folder`.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not folder.is_dir():
            for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            with atomic_folder(folder) as temporary:
                build(temporary)
    return folder
