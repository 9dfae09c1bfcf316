import json

import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app
from intarsia.finetune.scaling import Run, RunTable


def call(*arguments):
    return CliRunner().invoke(app, ["scaling", *map(str, arguments)])


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "made.csv"
    RunTable(
        tuple(
            Run(N=10, R=rank, D=5, alpha=16, policy="fixed", seed=seed, metrics={"miub": 0.1 + 1 / rank + 1e-3 * seed})
            for rank in (2, 4, 8, 16, 32)
            for seed in range(3)
        )
    ).write(path)
    return path


def test_a_table_is_fitted_and_a_rank_recommended(table):
    result = call("--table", table, "--tolerance", 0.1)
    assert result.exit_code == 0, result.output
    assert "recommended smallest sufficient rank 20" in result.output
    assert "concordance" in result.output


def test_json_holds_fits_and_recommendation(table):
    result = call("--table", table, "--json")
    found = json.loads(result.stdout)
    assert found["fixed"]["recommendations"]["data"]["rank"] == 8
    assert found["fixed"]["fits"]["data"]["miub"]["parameters"]["beta"]["value"] == pytest.approx(1, abs=0.01)
    assert len(found["runs"]) == 15


def test_a_sweep_writes_everything_and_resumes(tiny_bert, colours, tmp_path):
    output = tmp_path / "run"
    arguments = ["--model", tiny_bert, "--data", colours, "--ranks", "2,4,8", "--sizes", "16,32", "--seeds", "0"]
    arguments += ["--steps", 1, "--batch-size", 4, "--held-out", 20, "--output", output]
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    names = {path.name for path in output.iterdir()}
    assert {"run.json", "runs.jsonl", "table.csv", "table.json", "fits.json"} <= names
    assert len([name for name in names if name.startswith("curves-")]) == 2
    assert len(RunTable.read(output / "table.csv")) == 3 * 2
    assert json.loads((output / "run.json").read_text())["config"]["steps"] == 1

    journal = (output / "runs.jsonl").read_bytes()
    assert call(*arguments).exit_code == 0
    assert (output / "runs.jsonl").read_bytes() == journal

    other = call(*arguments, "--batch-size", 8)
    assert other.exit_code == 2
    assert "a sweep with other settings" in other.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x"], "needs --model, --data and --output"),
        (["--table", "none.csv"], "file not found"),
        (["--table", "t.csv", "--model", "x"], "give only one"),
        (["--model", "x", "--data", "y", "--output", "z", "--ranks", "2,four"], "--ranks '2,four'"),
        (["--model", "x", "--data", "y", "--output", "z", "--policy", "rising"], "policies is 'rising'"),
        (["--table", "t.csv", "--exponent", "R=big"], "AXIS=VALUE"),
        (["--table", "t.csv", "--drop", "Q"], "one of N, R, D"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(arguments, message):
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_an_unknown_metric_suggests_the_near_one(table):
    result = call("--table", table, "--metric", "mub")
    assert result.exit_code == 2
    assert "did you mean 'miub'" in result.output
