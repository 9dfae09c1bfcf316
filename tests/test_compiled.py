"""Compiled loops: which tensors they take, and how rows are shared among threads."""

import numpy as np
import pytest
import torch

from intarsia import compiled


@pytest.mark.parametrize("threads", [1, 3])
def test_many_rows_are_shared_among_threads(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    parts = []

    def work(rows: slice) -> list[int]:
        parts.append(rows)
        return list(range(10))[rows]

    assert [row for part in compiled.in_threads(10, 2**23, work) for row in part] == list(range(10))
    assert len(parts) == threads
    parts.clear()
    assert compiled.in_threads(10, 100, work) == [list(range(10))]
    assert parts == [slice(0, 10)]


def test_nothing_to_do() -> None:
    assert compiled.in_threads(0, 100, lambda rows: rows) == [slice(0, 0)]


def test_only_float32_on_a_processor() -> None:
    assert compiled.compilable(torch.zeros(1))
    assert not compiled.compilable(torch.zeros(1, dtype=torch.float64))
    assert not compiled.compilable(torch.zeros(1, device="meta"))


def test_where_machine_code_cannot_be_kept_it_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    real = compiled.numba.njit

    def unwritable(*args: object, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("no locator available")
        return real(*args, **options)

    monkeypatch.setattr(compiled.numba, "njit", unwritable)
    double = compiled.compiled(lambda values: values * 2)
    assert double(np.arange(3)).tolist() == [0, 2, 4]
