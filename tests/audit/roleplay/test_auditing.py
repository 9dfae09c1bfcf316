"""Runs in a folder, their reports, and the task of Inspect."""

from pathlib import Path
from typing import Any

import pytest

from intarsia.audit.roleplay import (
    AuditConfig,
    BuildConfig,
    built_in_roles,
    read_audit,
    read_queries,
    run_audit,
    write_audit_report,
)
from intarsia.audit.roleplay.anonymising import Alias
from intarsia.audit.roleplay.judging import METRICS
from intarsia.errors import ConfigError, InputError, RunExistsError
from intarsia.evals import ModelUnusableError, ScriptedChat
from intarsia.evals.call import Call

BUILD = BuildConfig(multi_domain=2, omission=1, base=1)
ROLES = built_in_roles(4)
CONFIG = AuditConfig("player", ("judge",), ("plain", "narrator"), encoder="words")


def play(call: Call) -> str:
    if "check the character's reply" in call.prompt:
        return "<verdict>pass</verdict>"
    return f"<plot>Dawn.</plot><reply>Hear me on {call.prompt}</reply>"


def judge(call: Call) -> str:
    planted = str(call.key).startswith("control/hallucination")
    return (
        f"[{'yes' if planted else 'no'}]" if "[yes] if" in call.prompt else "[A]" if "letter" in call.prompt else "[4]"
    )


def models(play: Any = play) -> dict[str, Any]:
    return {"player": ScriptedChat(play, name="player"), "judge": ScriptedChat(judge, name="judge")}


def test_stopped_and_resumed_is_as_never_stopped_and_reports_ask_nobody(tmp_path: Path) -> None:
    said: list[str] = []
    first = models()
    whole = run_audit(tmp_path / "a", CONFIG, roles=ROLES, build=BUILD, models=first, say=said.append)
    assert said[0] == "player: 64 to 104 calls to play; judge: 200 to judge", said
    count = 0

    def breaks(call: Call) -> str:
        nonlocal count
        count += 1
        if count > 20:
            raise ModelUnusableError("the key was refused")
        return play(call)

    with pytest.raises(ModelUnusableError):
        run_audit(tmp_path / "b", CONFIG, roles=ROLES, build=BUILD, models=models(breaks))
    with pytest.raises(InputError, match="stopped before it was done"):
        read_audit(tmp_path / "b")
    rest = models()
    resumed = run_audit(tmp_path / "b", CONFIG, roles=ROLES, build=BUILD, models=rest)
    assert resumed.result == whole.result
    assert 0 < len(rest["player"].calls) < len(first["player"].calls)
    assert read_audit(tmp_path / "b") == whole.result
    again = models()
    run_audit(tmp_path / "b", CONFIG, roles=ROLES, build=BUILD, models=again)
    assert not again["player"].calls
    assert not again["judge"].calls
    results, page = write_audit_report([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    assert results[0] == results[1]
    assert "Role-play audit of player" in page.read_text()
    assert whole.result.judging[0]["sensitivity"] == 1.0


def test_no_name_stands_in_anything_that_a_model_is_asked(tmp_path: Path) -> None:
    asked = models()
    config = AuditConfig("player", ("judge",), ("plain", "rolefact", "narrator"), encoder="words")
    run_audit(tmp_path / "run", config, roles=ROLES, build=BUILD, models=asked)
    data = read_queries(tmp_path / "run" / "queries")
    calls = [*asked["player"].calls, *asked["judge"].calls]
    assert len(calls) > 200
    for facts in data.roles.values():
        hidden = Alias(facts.card.name, facts.names)
        for call in calls:
            # Planted replies are of other roles, and may be about a namesake.
            if not str(call.key).startswith("control/"):
                assert not hidden.names_in(" ".join(message.content for message in call.messages)), call.key


def test_refused_runs_say_why_and_leave_nothing(tmp_path: Path) -> None:
    config = AuditConfig("player", ("judge",), encoder="words", max_calls=3)
    with pytest.raises(InputError, match=r"(?s)calls, but only 3 are allowed.*fewer roles"):
        run_audit(tmp_path / "run", config, roles=ROLES, build=BUILD, models=models())
    assert not (tmp_path / "run").exists()
    run_audit(tmp_path / "run", CONFIG, roles=ROLES, build=BUILD, models=models())
    with pytest.raises(RunExistsError, match="defences"):
        run_audit(tmp_path / "run", AuditConfig("player", ("judge",), encoder="words"), roles=ROLES, build=BUILD)
    with pytest.raises(ConfigError, match="judges"):
        AuditConfig("player", ())
    with pytest.raises(InputError, match="no such run or log"):
        read_audit(tmp_path / "none")


def test_the_inspect_task_gives_the_same_scores_and_its_log_can_be_reported(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")
    from intarsia.evals.inspect import add_script, run

    whole = run_audit(
        tmp_path / "a", AuditConfig("player", ("rules",), encoder="words"), roles=ROLES, build=BUILD, models=models()
    )
    assert read_queries(tmp_path / "a" / "queries")
    add_script("role-player", play)
    log = run(
        "intarsia/rolebreak",
        model="scripted/role-player",
        log_dir=tmp_path / "logs",
        dataset=str(tmp_path / "a" / "queries"),
        judge="rules",
        encoder="words",
    )
    read = read_audit(log.path)
    assert read.table == whole.result.table
    assert read.judging[0]["controls"] == 40
    means = {(row["value"], row["metric"]): row["measured"] for row in log.metrics}
    everything = next(row for row in whole.result.table if row["attack"] == "all")
    assert means["sc", "intarsia/reply_mean"] == pytest.approx(everything["sc"]["value"])
    assert means["r5", "intarsia/reply_mean"] == whole.result.rules[0]["r5"]


def test_a_running_history_is_a_sample_of_each_role_in_inspect_too(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")
    from inspect_ai import score
    from inspect_ai.log import read_eval_log

    from intarsia.audit.roleplay.tasks import rolebreak_judge
    from intarsia.evals.inspect import add_script, run

    config = AuditConfig("player", ("rules",), encoder="words", history="running")
    whole = run_audit(tmp_path / "a", config, roles=ROLES, build=BUILD, models=models(remembers))
    add_script("remembering-player", remembers)
    params = {"dataset": str(tmp_path / "a" / "queries"), "judge": "rules", "encoder": "words", "history": "running"}
    log = run("intarsia/rolebreak", model="scripted/remembering-player", log_dir=tmp_path / "logs", **params)
    assert len(log.samples) == 4 + 40
    assert read_audit(log.path).table == whole.result.table
    assert "You asked me 4 things" in (tmp_path / "a" / "replies.jsonl").read_text()
    stored = read_eval_log(str(log.path))
    again = score(stored, rolebreak_judge(), action="overwrite", display="none")
    assert again.results is not None
    assert stored.results is not None
    before = {each.name: each.metrics for each in stored.results.scores}
    assert {each.name: each.metrics for each in again.results.scores} == {name: before[name] for name in METRICS}


def remembers(call: Call) -> str:
    return f"You asked me {sum(message.role == 'user' for message in call.messages)} things, and last: {call.prompt}"
