import json

import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app
from intarsia.evals import ModelUnusableError, ScriptedChat

pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")


def call(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def card(folder, model, *options):
    return call("audit", "all", "--model", model, "--output", folder, *options)


def test_a_card_of_one_audit_is_made_and_two_are_compared(tmp_path):
    for name in ("aligned-surface", "consistent"):
        done = card(tmp_path / name, f"simulated:{name}", "--suite", "bias", "--budget", "72")
        assert done.exit_code == 0, done.output
        assert f"simulated:{name}: at most 72 calls (bias 72)" in done.stderr
        assert f"report card: {tmp_path / name / 'report.html'}" in done.stderr
    content = json.loads((tmp_path / "consistent" / "card.json").read_text())
    assert content["calls"] == {"bias": 72}
    assert content["made"]["bias"] <= 72
    done = call(
        "report", "compare", tmp_path / "aligned-surface", tmp_path / "consistent", "--output", tmp_path / "both"
    )
    assert done.exit_code == 0, done.output
    rows = {row["score"]: row for row in json.loads((tmp_path / "both" / "comparison.json").read_text())["rows"]}
    # The first rejects its own stereotypes, the second stands by them.
    assert rows["gender-career: Delta, rejects its own"]["verdict"] == "differs"
    assert rows["gender-career: Delta, rejects its own"]["high"] < 0


def test_an_audit_that_fails_stands_on_the_card_and_the_others_run(tmp_path, monkeypatch):
    def speaks(call):
        if "ANSWER" in call.prompt:
            raise ModelUnusableError("it cannot count")
        return "I know nothing of that."

    monkeypatch.setattr("intarsia.evals.resolving._find", lambda *_: ScriptedChat(speaks, name="parrot"))
    done = card(tmp_path / "card", "simulated:noisy", "--budget", "116")
    assert done.exit_code == 0, done.output
    assert "at most 116 calls (causal 24, roleplay 20, bias 72)" in done.stderr
    content = json.loads((tmp_path / "card" / "card.json").read_text())
    assert {score["suite"] for score in content["scores"]} == {"roleplay", "bias"}
    assert content["made"] == {"roleplay": 20, "bias": content["made"]["bias"]}
    assert any("The causal audit failed" in warning for warning in content["warnings"])
    assert "warning: The causal audit failed" in done.stderr
    page = (tmp_path / "card" / "report.html").read_text()
    assert page.index("The causal audit failed") < page.index("Role-play</h2>")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "10"], "at least 20 calls"),
        (["--suite", "chess"], "unknown audit 'chess'"),
    ],
)
def test_bad_input_exits_2(options, message, tmp_path):
    done = card(tmp_path / "card", "simulated:noisy", *options)
    assert done.exit_code == 2
    assert message in done.stderr


def test_two_cards_are_needed_for_a_comparison(tmp_path):
    done = call("report", "compare", tmp_path)
    assert done.exit_code == 2
    assert "compare takes two report cards" in done.stderr
    done = call("report", "compare", tmp_path, tmp_path)
    assert "no model report card" in done.stderr
