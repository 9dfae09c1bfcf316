import math
from pathlib import Path

import pytest
from engine_jobs import diverge, train

from intarsia import engine
from intarsia.errors import InputError

TRIALS = [{"rank": rank, "seed": seed, "data": {"noise": 0.5}} for rank in (4, 8, 16) for seed in range(2)]


@pytest.mark.parametrize("backend", ["serial", "threads", "local"])
def test_each_trial_has_its_outcome(tmp_path: Path, backend: str) -> None:
    outcomes = engine.sweep(train, TRIALS, backend=backend, output=tmp_path / "trials.jsonl")
    assert [outcome.ok for outcome in outcomes] == [True] * 4 + [False] * 2
    assert outcomes[3].value == {"loss": 1 / 8 + 0.01 + 0.5}
    assert outcomes[4].error == "ValueError: rank 16 is above the matrix"
    assert [outcome.key for outcome in outcomes] == [engine.stable_key(trial) for trial in TRIALS]


def test_trials_may_be_added_and_moved(tmp_path: Path) -> None:
    output = tmp_path / "trials.jsonl"
    first = engine.sweep(train, TRIALS[:2], backend="serial", output=output)
    size = output.stat().st_size
    moved = [dict(reversed(trial.items())) for trial in reversed(TRIALS[:2])]
    assert engine.sweep(train, moved, backend="serial", output=output) == first[::-1]
    assert output.stat().st_size == size


def test_a_diverged_trial_is_a_result(tmp_path: Path) -> None:
    for _ in range(2):
        (outcome,) = engine.sweep(diverge, [{"rank": 1}], backend="serial", output=tmp_path / "trials.jsonl")
        assert outcome.ok
        assert math.isnan(outcome.value["loss"])


def test_a_sweep_cannot_continue_that_of_another_function(tmp_path: Path) -> None:
    engine.sweep(train, TRIALS[:1], backend="serial", output=tmp_path / "trials.jsonl")
    with pytest.raises(InputError, match=r"of engine_jobs\.train, not of engine_jobs\.diverge"):
        engine.sweep(diverge, [{"rank": 1}], backend="serial", output=tmp_path / "trials.jsonl")


@pytest.mark.parametrize("trial", [3, ["rank"], {1: "rank"}])
def test_a_trial_that_is_no_settings_is_named(trial: object) -> None:
    with pytest.raises(InputError, match=r"trial 2"):
        engine.sweep(train, [{"rank": 1, "seed": 0}, trial], backend="serial")  # type: ignore[list-item]
