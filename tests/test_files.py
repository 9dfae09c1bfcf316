"""Writing whole or not at all, whatever happens on the way."""

import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from intarsia.errors import IntarsiaError
from intarsia.files import atomic_file, atomic_folder, read_json, write_json, write_text


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert hidden(tmp_path) == []


def test_a_failed_folder_leaves_the_old_one_and_nothing_else(tmp_path):
    with atomic_folder(tmp_path / "run") as folder:
        (folder / "a").write_text("old")

    def write_half():
        with atomic_folder(tmp_path / "run", overwrite=True) as folder:
            (folder / "a").write_text("new")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write_half()
    assert (tmp_path / "run" / "a").read_text() == "old"
    assert hidden(tmp_path) == []


def test_overwriting_replaces_the_whole_folder(tmp_path):
    for name in ("a", "b"):
        with atomic_folder(tmp_path / "run", overwrite=True) as folder:
            (folder / name).write_text(name)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["b"]
    assert hidden(tmp_path) == []


def test_two_makers_of_one_folder_leave_one_whole_folder(tmp_path):
    both_inside = threading.Barrier(2)

    def make(text):
        with atomic_folder(tmp_path / "cache") as folder:
            for index in range(20):
                (folder / str(index)).write_text(text)
            both_inside.wait()

    makers = [threading.Thread(target=make, args=(text,)) for text in "ab"]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    contents = {path.read_text() for path in (tmp_path / "cache").iterdir()}
    assert len(list((tmp_path / "cache").iterdir())) == 20
    assert len(contents) == 1
    assert hidden(tmp_path) == []


WRAPPED = "I/O error: No space left on device (os error 28)"


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError(WRAPPED)])
def test_a_full_disk_is_explained(tmp_path, failure):
    with pytest.raises(IntarsiaError, match="disk is full") as caught, atomic_folder(tmp_path / "run"):
        raise failure
    assert caught.value.exit_code == 1
    assert str(tmp_path / "run") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_really_full_device_is_explained(tmp_path):
    def fill():
        with atomic_file(tmp_path / "a"):
            Path("/dev/full").write_text("x")

    with pytest.raises(IntarsiaError, match="disk is full"):
        fill()


def test_files_are_readable_as_the_umask_allows(tmp_path):
    write_text(tmp_path / "a", "x")
    with atomic_folder(tmp_path / "run") as folder:
        private = folder / "weights"
        private.touch(mode=0o600)
    mask = os.umask(0)
    os.umask(mask)
    for path in (tmp_path / "a", tmp_path / "run" / "weights"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_json_is_checked_both_ways(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()
    (tmp_path / "b.json").write_text('{"a": 1,\n oops}')
    with pytest.raises(IntarsiaError, match="line 2"):
        read_json(tmp_path / "b.json")
    with pytest.raises(IntarsiaError, match="not found"):
        read_json(tmp_path / "c.json")
    write_json(tmp_path / "d.json", {"ü": [1]})
    assert json.loads((tmp_path / "d.json").read_text()) == read_json(tmp_path / "d.json") == {"ü": [1]}
