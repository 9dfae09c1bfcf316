"""What a long run says of itself."""

import io
import itertools

import pytest
from rich.console import Console

from intarsia.pipeline import progress


@pytest.fixture
def seconds(monkeypatch):
    """Every look at the clock finds it 20 seconds later."""
    clock = itertools.count(0, 20)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))


def test_without_a_terminal_long_stages_write_a_line_now_and_then(seconds):
    written = io.StringIO()
    with progress.Stages(Console(file=written, width=200)).stage("train", 6) as advance:
        for _ in range(6):
            advance(1)
    lines = written.getvalue().splitlines()
    assert lines[0] == "train ..."
    assert lines[1].startswith("train: 2 of 6, ")
    assert lines[-1].startswith("done train ")
    assert len(lines) < 6


def test_a_short_stage_says_when_it_begins_and_ends():
    written = io.StringIO()
    with progress.Stages(Console(file=written, width=200)).stage("load") as advance:
        advance(1)
    assert written.getvalue().splitlines() == ["load ...", "done load 0 s"]
