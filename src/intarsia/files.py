"""Writing so that a killed process leaves the old file or none, never half of one."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intarsia.errors import IntarsiaError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; moves it into place when the block ends without an error.

    Raises:
        IntarsiaError: If the disk is full; whatever stood at `path` is untouched.
    """
    path = Path(path)
    with _explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; moves it into place when the block ends without an error.

    Args:
        path: The folder to make.
        overwrite: Whether a folder that stands there is replaced. Without it, a folder somebody else finished in the
            meantime is kept and ours is dropped, so two processes may make the same folder at once.

    Raises:
        IntarsiaError: If the disk is full; whatever stood at `path` is untouched.
    """
    path = Path(path)
    with _explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            # Some writers make private files; a result is for everyone the umask allows.
            for file in temporary.rglob("*"):
                file.chmod((0o777 if file.is_dir() else 0o666) & ~_umask())
            if overwrite and path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
                path.replace(old / "folder")
                temporary.replace(path)
                shutil.rmtree(old)
            else:
                try:
                    temporary.rename(path)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def work_folder(path: str | Path | None) -> Iterator[Path]:
    """Yields a folder for what an interrupted run goes on from; without a path, one that is gone after the block.

    A folder that is not there yet is left to whatever first writes to it.
    """
    if path is not None:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` to `path` as indented JSON, atomically. NaN and infinity are refused: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads one JSON file.

    Raises:
        IntarsiaError: If it is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise IntarsiaError("file not found", where=path) from None
    except json.JSONDecodeError as error:
        raise IntarsiaError(f"not valid JSON: {error.msg}", where=f"{path}, line {error.lineno}") from None


@contextmanager
def _explain_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # safetensors and torch wrap the system's error in their own.
        if getattr(error, "errno", None) not in _DISK_FULL and "No space left on device" not in str(error):
            raise
        raise IntarsiaError(
            "the disk is full; nothing was written there",
            where=path,
            fix="free some space or choose another --output, then run the same command again: it resumes",
        ) from error


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
