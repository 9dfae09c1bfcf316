import json

import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app
from intarsia.evals import ScriptedChat
from intarsia.evals.failures import ModelCallError

SMALL = ["--roles", "4", "--multi-domain", "2", "--omission", "1", "--base", "1", "--encoder", "words"]


def call(*arguments):
    return CliRunner().invoke(app, ["audit", "roleplay", *map(str, arguments)])


def play(call):
    manner = "Gruffly" if "decline to answer" in call.messages[0].content else "Gladly"
    return f"{manner}, hear me on this: {call.prompt}"


def judge(call):
    planted = str(call.key).startswith("control/hallucination")
    if "[yes] if" in call.prompt:
        return f"[{'yes' if planted else 'no'}]"
    return "[A]" if "letter" in call.prompt else "[4]"


@pytest.fixture
def models(monkeypatch):
    """Scripted models in the place of those that are named; they remember what they were asked."""
    known = {"player": ScriptedChat(play, name="player"), "judge": ScriptedChat(judge, name="judge")}
    monkeypatch.setattr("intarsia.evals.resolving._find", lambda ref, *_: known[ref])
    return known


def test_run_tells_the_calls_and_prints_scores_and_what_the_judge_is_worth(models, tmp_path):
    options = ["--model", "player", "--judge", "judge", "--defence", "plain", "--defence", "refusal", *SMALL]
    done = call("run", *options, "--output", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "player: 40 calls to play; judge: 200 to judge" in done.stderr
    assert f"report: {tmp_path / 'run' / 'report.html'}" in done.stderr
    assert "judge finds 100 % of planted hallucinations and spares 100 % of good replies; 0.0 % unread" in done.stdout
    assert "refusal minus plain: hallucination +0.0 [0.0, 0.0]" in done.stdout
    made = len(models["player"].calls), len(models["judge"].calls)
    again = call("report", tmp_path / "run", "--json")
    assert json.loads(again.stdout)["judges"] == ["judge"]
    assert (len(models["player"].calls), len(models["judge"].calls)) == made == (40, 200)


def test_a_data_set_is_built_and_asked_and_its_recording_replayed(models, tmp_path, monkeypatch):
    built = call("build", "--output", tmp_path / "set", *SMALL)
    assert built.exit_code == 0, built.output
    assert "multi_domain" in built.stdout
    options = ["--model", "player", "--judge", "judge", "--encoder", "words", "--json"]
    first = call("run", tmp_path / "set", *options, "--output", tmp_path / "run")
    assert first.exit_code == 0, first.output
    assert sorted(json.loads((tmp_path / "run" / "queries" / "manifest.json").read_text())["queries"].values()) == [
        4,
        4,
        4,
        8,
    ]
    monkeypatch.undo()
    record = f"replay:{tmp_path / 'run' / 'recording.jsonl'}"
    options = ["--model", f"{record}#player", "--judge", f"{record}#judge", "--encoder", "words", "--json"]
    again = call("run", tmp_path / "set", *options, "--concurrency", "1", "--output", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["table"] == json.loads(first.stdout)["table"]
    both = call("run", tmp_path / "set", *options, "--roles", "4", "--output", tmp_path / "both")
    assert both.exit_code == 2
    assert "a data set is given, and roles or settings to make one too" in both.stderr


def test_a_model_that_judges_itself_is_told(models, tmp_path):
    options = ["--model", "judge", "--judge", "judge", *SMALL, "--no-controls"]
    done = call("run", *options, "--output", tmp_path / "run")
    assert "warning: judge judges itself, which favours it in role fidelity" in done.stderr
    assert "judges itself" in (tmp_path / "run" / "report.html").read_text()


def test_where_nothing_was_answered_the_reason_is_told(models, tmp_path):
    def fails(call):
        raise ModelCallError("the model is asleep", where="player")

    models["player"] = ScriptedChat(fails, name="player")
    done = call("run", "--model", "player", "--judge", "rules", *SMALL, "--output", tmp_path / "run")
    assert done.exit_code == 1
    assert "there is no reply to score: ModelCallError: the model is asleep (20x)" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--defence", "narator"], "did you mean 'narrator'"),
        (["--attack", "multi"], "unknown attack 'multi'"),
        (["--language", "Klingon"], "unknown language 'Klingon'"),
        (["--distractors", "far"], "distractors is 'far'"),
        (["--confidence", "140"], "confidence is 140"),
        (["--max-calls", "3"], "may make 140 calls, but only 3 are allowed"),
        (["--role-file", "cards.jsonl"], "leave one of the two out"),
    ],
)
def test_bad_input_exits_2_and_leaves_nothing(models, options, message, tmp_path):
    done = call("run", "--model", "player", "--judge", "judge", *SMALL, *options, "--output", tmp_path / "run")
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()
