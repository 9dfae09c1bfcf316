import json

import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app

pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")

SMALL = ["--level", "1", "--graphs", "1", "--task", "BA", "--task", "FI"]


def call(*arguments):
    return CliRunner().invoke(app, ["audit", "causal", *map(str, arguments)])


def test_run_tells_the_calls_and_prints_table_and_report(tmp_path):
    done = call("run", "--model", "baseline:solver", "--output", tmp_path / "run", *SMALL, "--names", "specific")
    assert done.exit_code == 0, done.output
    assert "baseline:solver: 8 questions, 8 calls to make" in done.stderr
    assert f"report: {tmp_path / 'run' / 'report.html'}" in done.stderr
    assert "100.0" in done.stdout
    assert "baseline:random-set" in done.stdout
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["settings"]["model"] == "baseline:solver"


def test_report_of_a_run_is_the_same_and_asks_nobody(tmp_path):
    options = ["--model", "baseline:solver", "--engine", "serial", "--output", tmp_path / "run", *SMALL]
    first = call("run", *options, "--json")
    assert first.exit_code == 0, first.output
    again = call("report", tmp_path / "run", "--json")
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert json.loads(first.stdout)["model"] == "baseline:solver"


def test_names_are_compared_in_words(tmp_path):
    options = ["--engine", "serial", "--names", "specific", "--names", "bio", "--output", tmp_path / "run", *SMALL]
    done = call("run", "--model", "baseline:solver", *options)
    assert "baseline:solver: specific minus bio names +0.0 points, p = 1 (8 pairs)" in done.stdout


def test_a_data_set_is_asked(tmp_path):
    assert call("generate", "--output", tmp_path / "set", *SMALL).exit_code == 0
    options = ["--model", "baseline:solver", "--engine", "serial", "--output", tmp_path / "run"]
    done = call("run", tmp_path / "set", *options, "--json")
    assert {row["n"] for row in json.loads(done.stdout)["by_task"]} == {4}
    both = call("run", tmp_path / "set", "--graphs", "2", *options)
    assert both.exit_code == 2
    assert "a data set is given, and settings to generate one too" in both.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--criterion", "frontdoor"], "unknown criterion 'frontdoor'"),
        (["--task", "XX"], "unknown task 'XX'"),
        (["--prompt", "zero_shoot"], "did you mean 'zero_shot'"),
        (["--max-calls", "3"], "may make 8 calls, but only 3 are allowed"),
        (["--model", "baseline:majority"], "answers FI, CI only, but BA are asked too"),
    ],
)
def test_bad_input_exits_2_and_leaves_nothing(options, message, tmp_path):
    done = call("run", "--model", "baseline:solver", "--output", tmp_path / "run", *SMALL, *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


def test_another_run_is_not_overwritten_unasked(tmp_path):
    options = ["--engine", "serial", "--output", tmp_path / "run", *SMALL]
    call("run", "--model", "baseline:solver", *options)
    done = call("run", "--model", "baseline:solver", *options, "--criterion", "released")
    assert done.exit_code == 2
    assert "pass --overwrite" in done.stderr
    assert call("run", "--model", "baseline:solver", *options, "--criterion", "released", "--overwrite").exit_code == 0


def test_reports_of_several_runs_need_a_folder(tmp_path):
    done = call("report", tmp_path / "a", tmp_path / "b")
    assert done.exit_code == 2
    assert "--output FOLDER" in done.stderr
