import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from intarsia.models.cache import build_once, models_cache

# Builds the folder named by the first argument, slowly, and says so.
BUILD = """
import sys, time
from pathlib import Path
from intarsia.models.cache import build_once

def build(folder):
    (folder / "first").write_text("1")
    print("building", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "second").write_text("2")

build_once(Path(sys.argv[1]), build)
"""


def start(folder: Path, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BUILD, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_at_once_build_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "model"
    processes = [start(folder, 0.5) for _ in range(3)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert sum(out == "building\n" for out, _ in outputs) == 1
    assert {file.name for file in folder.iterdir()} == {"first", "second"}
    assert [path for path in folder.parent.iterdir() if path.suffix == ".tmp"] == []


def test_a_killed_process_leaves_no_folder_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    killed = start(folder, 60)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "building\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not folder.exists()
    assert len(list(tmp_path.glob(".model.*.tmp"))) == 1
    build_once(folder, lambda temporary: (temporary / "done").touch())
    assert (folder / "done").is_file()
    assert list(tmp_path.glob(".model.*.tmp")) == []


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        build_once(tmp_path / "model", fail)
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


def test_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path))
    assert models_cache() == tmp_path / "models"
    monkeypatch.delenv("INTARSIA_CACHE")
    assert models_cache().parts[-2:] == ("intarsia", "models")
