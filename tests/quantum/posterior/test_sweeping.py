"""Sweeps and searches: the same numbers whatever the workers, failures counted, wrong settings refused."""

import numpy as np
import pytest

from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.quantum.posterior import ChainConfig, posterior_chain, sweep, sweeping, worst_case_search

SMALL = {"families": ["haar", "stabilizer"], "orders": ["desc", "random"], "n_states": 2, "progress": False}


def test_numbers_do_not_depend_on_the_workers():
    alone, threads = (sweep(2, backend=backend, workers=2, **SMALL) for backend in ("serial", "threads"))
    assert alone.records == threads.records
    assert (alone.chains, alone.failed, alone.kl_violations) == (8, 0, 0)
    assert len({record["total"] for record in alone.records}) > 4


@pytest.mark.slow
def test_numbers_are_the_same_in_processes():
    assert sweep(2, backend="local", workers=2, **SMALL).records == sweep(2, backend="serial", **SMALL).records


def test_a_state_keeps_its_numbers_as_the_sweep_grows():
    few = sweep(2, ["haar"], ["weight"], 1, backend="serial", progress=False)
    more = sweep(2, ["w", "haar"], ["desc", "weight"], 2, backend="serial", progress=False)
    assert few.records[0] in more.records


def test_failed_chains_are_counted_and_errors_too(monkeypatch):
    real = posterior_chain

    def broken(psi, order, config, *, seed):
        if order == "desc":
            raise RuntimeError("no")
        return real(psi, order, config, seed=seed)

    monkeypatch.setattr(sweeping, "posterior_chain", broken)
    found = sweep(2, backend="serial", **SMALL)
    assert (found.chains, found.failed) == (8, 4)
    assert found.records[0]["error"] == "RuntimeError: no"
    assert found.largest is not None


def test_a_sweep_is_resumed(tmp_path, monkeypatch):
    first = sweep(2, backend="serial", output=tmp_path / "chains.jsonl", **SMALL)
    monkeypatch.setattr(sweeping, "posterior_chain", None)
    assert sweep(2, backend="serial", output=tmp_path / "chains.jsonl", **SMALL).records == first.records


def test_a_climb_only_rises_and_its_best_can_be_walked_again():
    config = ChainConfig(eps=2e-3)
    short, long = (
        worst_case_search(2, config=config, restarts=2, steps=steps, backend="serial", progress=False)
        for steps in (1, 12)
    )
    assert long.evaluations == 26
    assert len(long.totals) == 2
    assert long.best == max(long.totals) > min(short.totals)
    assert all(end >= start for start, end in zip(long.starts, long.totals, strict=True))
    # The second climb begins at a product with single qubits first, hence at the conjectured bound.
    assert long.starts[1] == pytest.approx(2 * 0.998**2, abs=1e-3)
    again = posterior_chain(long.state / np.linalg.norm(long.state), long.order, config)
    assert again.total == pytest.approx(long.best, abs=1e-9)


def test_wrong_settings_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'haar'"):
        sweep(2, ["har"], progress=False)
    with pytest.raises(UnknownNameError, match="order"):
        sweep(2, ["haar"], ["up"], progress=False)
    with pytest.raises(ConfigError, match="n_states"):
        sweep(2, n_states=0, progress=False)
    with pytest.raises(InputError, match="6 qubits"):
        sweep(6, progress=False)
    with pytest.raises(ConfigError, match="steps"):
        worst_case_search(2, steps=0, progress=False)
