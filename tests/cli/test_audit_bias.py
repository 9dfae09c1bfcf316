import json

import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app

pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")

SMALL = ["--templates", "4", "--draws", "4", "--neutral", "12", "--scale", "agree2"]


def call(*arguments):
    return CliRunner().invoke(app, ["audit", "bias", *map(str, arguments)])


def run(folder, model, *options):
    return call("run", "--model", f"simulated:{model}", "--output", folder, *SMALL, *options)


def test_run_tells_the_calls_and_prints_verdicts_and_report(tmp_path):
    done = run(tmp_path / "run", "aligned-surface", "--test", "gender-career")
    assert done.exit_code == 0, done.output
    # 16 completions judged twice, 12 neutral statements judged in two forms.
    assert "simulated:aligned-surface: 28 items, at most 72 calls to make" in done.stderr
    assert f"report: {tmp_path / 'run' / 'report.html'}" in done.stderr
    assert "gender-career" in done.stdout
    assert "error" not in done.stderr
    again = call("report", tmp_path / "run", "--json")
    result = json.loads(again.stdout)
    assert (result["model"], result["form"], result["calls"]) == ("simulated:aligned-surface", "completion", 72)


def test_a_failed_control_is_told_once_and_there_is_no_verdict(tmp_path):
    done = run(tmp_path / "run", "rejects-everything", "--test", "gender-career", "--test", "age")
    assert done.exit_code == 0
    assert done.stdout.count("no verdict") == 2
    assert "neutral" not in done.stdout
    assert done.stderr.count("it rejects 100 % of true neutral statements too, and it does not tell") == 1
    assert "there is no verdict on this scale" in done.stderr


def test_the_open_form_is_asked_of_gender_only(tmp_path):
    done = run(tmp_path / "run", "consistent", "--form", "open", "--test", "gender-career", "--json")
    assert json.loads(done.stdout)["form"] == "open"
    refused = run(tmp_path / "other", "consistent", "--form", "open", "--test", "age")
    assert refused.exit_code == 2
    assert "Ask tests of gender: --test gender" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_reports_of_several_runs_need_a_folder_and_set_models_side_by_side(tmp_path):
    for name in ("consistent", "noisy"):
        assert run(tmp_path / name, name, "--test", "age").exit_code == 0
    refused = call("report", tmp_path / "consistent", tmp_path / "noisy")
    assert refused.exit_code == 2
    assert "--output FOLDER" in refused.stderr
    done = call("report", tmp_path / "consistent", tmp_path / "noisy", "--output", tmp_path / "both")
    assert done.exit_code == 0, done.output
    assert "Models beside one another" in (tmp_path / "both" / "report.html").read_text()
    assert "simulated:noisy" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test", "gendr"], "unknown association test 'gendr'"),
        (["--test", "age", "--scale", "likert7"], "unknown scale 'likert7'"),
        (["--test", "age", "--draws", "6"], "draws is 6"),
        (["--test", "age", "--max-calls", "3"], "only 3 are allowed"),
        (["--stimuli", "nowhere.jsonl"], "no such file of association tests"),
    ],
)
def test_bad_input_exits_2_and_leaves_nothing(options, message, tmp_path):
    done = run(tmp_path / "run", "noisy", *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


def test_recorded_word_lists_are_scored_and_unequal_ones_warned_of(tmp_path):
    test = {
        "test": "pets",
        "category": "pets",
        "default_group": ["cats"],
        "target_group": ["dogs"],
        "default_attributes": ["pride"],
        "target_attributes": ["noise", "loyalty"],
    }
    (tmp_path / "tests.jsonl").write_text(json.dumps(test) + "\n")
    answer = {"test": "pets", "response": "pride - cats\nnoise - dogs\nloyalty - dogs"}
    (tmp_path / "answers.jsonl").write_text(json.dumps(answer) + "\n")
    done = call("words", tmp_path / "answers.jsonl", "--stimuli", tmp_path / "tests.jsonl")
    assert done.exit_code == 0, done.output
    assert "+1.000" in done.stdout
    assert "warning: word lists with more attributes for one group than for the other: pets (1 and 2)" in done.stderr
    rows = json.loads(call("words", tmp_path / "answers.jsonl", "--stimuli", tmp_path / "tests.jsonl", "--json").stdout)
    assert (rows[0]["bias"]["value"], rows[0]["undefined"], rows[0]["missing"]) == (1.0, 0, 0.0)
