import json
from dataclasses import replace

import pytest

from intarsia.errors import ConfigError
from intarsia.finetune.scaling import SweepConfig, run_sweep, sweep, trials


@pytest.fixture
def config(tiny_bert, colours):
    return SweepConfig(
        model=str(tiny_bert),
        data=str(colours),
        name="colours",
        ranks=(4, 8),
        sizes=(16,),
        seeds=(0, 1),
        steps=1,
        batch_size=4,
        held_out=12,
        tokens=60,
        shuffles=0,
    )


def test_policies_with_the_same_alpha_share_a_run(config):
    assert len(trials(config)) == 3 * 2
    assert {(trial["rank"], trial["alpha"]) for trial in trials(config)} == {(4, 16), (4, 8), (8, 16)}
    assert {trial["learning_rate"] for trial in trials(replace(config, lr_per_rank={4: 0.5}))} == {0.5, None}


def test_a_sweep_gives_a_row_per_policy_and_resumes(config, tmp_path, monkeypatch):
    journal = tmp_path / "runs.jsonl"
    table = run_sweep(config, output=journal, progress=False)
    assert len(table) == 2 * 2 * 2
    assert table.policies == ["fixed", "proportional"]
    assert table.datasets == ["colours"]
    shared = [run.metrics for run in table.runs if run.R == 8 and run.seed == 0]
    assert shared[0] == shared[1]

    calls = []
    monkeypatch.setattr(sweep, "run_trial", lambda **trial: calls.append(trial))
    with pytest.raises(Exception, match=r".*"):  # the journal belongs to another function
        run_sweep(config, output=journal, progress=False)
    assert calls == []


def test_grids_that_share_runs_share_rows(config, tmp_path):
    more = replace(config, ranks=(8,), sizes=(16, 32))
    table = run_sweep([config, more], progress=False)
    assert len(table) == 8 + 2 * 2
    assert table.axis_values("D") == [16, 32]


def test_grids_of_one_dataset_must_measure_alike(config):
    with pytest.raises(ConfigError, match=r"steps of data set 'colours' is 2.*1 as in the other grid"):
        run_sweep([config, replace(config, steps=2)], progress=False)


def test_a_failed_run_raises_its_own_error_and_keeps_the_finished(config, tmp_path):
    journal = tmp_path / "runs.jsonl"
    with pytest.raises(ConfigError, match="rank is 64"):
        run_sweep(replace(config, ranks=(4, 64), policies=("fixed",)), output=journal, progress=False)
    done = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    assert sum(line.get("error") is None for line in done) == 2


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ranks", ()),
        ("ranks", (0, 2)),
        ("ranks", (2, 2)),
        ("seeds", ()),
        ("policies", ("rising",)),
        ("steps", 0),
        ("alpha", -1.0),
        ("learning_rate", 0.0),
        ("shuffles", -1),
        ("schema", "tags"),
        ("dtype", "int8"),
    ],
)
def test_wrong_settings_name_the_field(config, setting, value):
    with pytest.raises(ConfigError, match=setting):
        replace(config, **{setting: value})
