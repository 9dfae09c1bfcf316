"""RoleBreak's reproduction in small: all rows and claims, and real models by way of a server that plays and judges."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from intarsia.audit.roleplay.defences import DEFENCES
from intarsia.errors import ConfigError, DataError, UnknownNameError
from intarsia.experiments import Context, registry
from intarsia.experiments import _rolebreak_studies as studies
from intarsia.experiments._rolebreak_recipe import JudgeRecipe, ScriptedRecipe, read_recipe

SLUG = "rolebreak"
CONFIG: dict[str, Any] = {
    "interview": {"answers": ["responses_a"], "encoder": "words", "resamples": 50},
    "scripted": {"roles": 8},
    "judge": {"sensitivity": [0.9], "specificity": [0.9], "true_rates": [0.3], "items": 500, "replicates": 60},
    "real": {"roles": 4, "multi_domain": 2, "omission": 1, "base": 1, "encoder": "words", "concurrency": 4},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ("INTARSIA_DATA", "INTARSIA_ROLEPLAY_MODEL", "INTARSIA_ROLEPLAY_JUDGE"):
        monkeypatch.delenv(name, raising=False)
    claims = {claim.id: claim for claim in registry.get(SLUG).claims}

    def start(config=CONFIG, folder="run"):
        lines: list[str] = []
        context = Context(config, 0, "tiny", tmp_path / folder, progress=lines.append, claims=claims)
        return registry.get(SLUG).run(context), lines

    return start


def interview(folder: Path, answer: str = "I am {profile} You ask: {question}") -> None:
    """Writes interview answers in the form of the real ones."""
    folder = folder / "roleplay-interview"
    folder.mkdir(parents=True)
    trades = ("baker of bread", "pilot of ships", "singer of songs", "digger of wells", "keeper of bees")
    roles = [{"role": trade.split()[0], "name": "N", "profile": f"a {trade}."} for trade in trades]
    questions = [
        {
            "role": role["role"],
            "i": i,
            "topic": "t" if i else studies.CONFLICT,
            "question": f"Why {word} {role['role']}?",
        }
        for role in roles
        for i, word in enumerate(("snow", "gold", "rain", "salt", "fire"))
    ]
    by_role = {role["role"]: role["profile"] for role in roles}
    replies = [{**q, "response": answer.format(profile=by_role[q["role"]], question=q["question"])} for q in questions]
    (folder / "roles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in roles))
    for name, rows in (("questions", questions), ("responses_a", replies)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))


def test_every_study_is_there_and_every_claim_judged(run, tmp_path, monkeypatch) -> None:
    interview(tmp_path / "data")
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path / "data"))
    outcome, _ = run()
    found = {(row.system, row.dataset, row.metric): row for row in outcome.rows}
    assert found["GPT-3.5 + Narrator Mode", "RoleBreakEval, 1,013 queries", "query fidelity, %"].paper == 89
    assert found["responses_a", "857 interview answers", "role fidelity by embeddings, 4 roles, %"].measured == 100
    for defence in DEFENCES:
        row = found[f"scripted character, {defence}", "all attacks", "hallucination rate, %"]
        assert row.n == 200, defence
        assert row.low <= row.measured <= row.high
    claims = {claim.id: claim for claim in outcome.claims}
    assert list(claims) == [claim.id for claim in registry.get(SLUG).claims]
    held = {id: claim.holds for id, claim in claims.items()}
    assert held.pop("narrator-wins") is None
    assert held.pop("near-is-harder") is not None
    assert held == {"speaker-is-told": True, "pipeline-order": True, "cost-formula": True, "judge-corrected": True}
    assert "rolefact 808" in claims["cost-formula"].evidence, "4 calls a query, and 8 to calibrate"
    assert "self_reflection 600" in claims["cost-formula"].evidence
    assert len(outcome.figures) == 2
    again, lines = run()
    assert again.rows == outcome.rows
    assert all(line.endswith("already done") for line in lines)


def test_without_interview_answers_that_study_is_left_out_and_told(run) -> None:
    outcome, _ = run()
    claims = {claim.id: claim for claim in outcome.claims}
    assert claims["speaker-is-told"].holds is None
    assert "set INTARSIA_DATA" in claims["near-is-harder"].evidence
    assert any("E1 was left out" in note for note in outcome.notes)


def test_interview_answers_to_other_questions_are_refused(run, tmp_path, monkeypatch) -> None:
    interview(tmp_path / "data")
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path / "data"))
    with gzip.open(tmp_path / "data" / "roleplay-interview" / "responses_a.jsonl.gz", "wt") as file:
        file.write(json.dumps({"role": "baker", "question": "Who?", "response": "I."}) + "\n")
    with pytest.raises(DataError, match="not those to the questions"):
        run()


def test_a_judge_without_errors_needs_no_correction_and_a_script_without_faults_has_none() -> None:
    (row,) = studies.judge_study(JudgeRecipe((1.0,), (1.0,), (0.3,), items=400, replicates=20), 0)
    assert row["raw"] == pytest.approx(row["corrected"])
    found = studies.scripted_study(ScriptedRecipe(roles=4, hallucination=0.0, narrator_hallucination=0.0), 0)
    assert set(found["truth"].values()) == {0.0}


class Stage:
    """Plays and judges: the plain role breaks, RoleFact and refusal say little, the narrator tells a story."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, body: dict[str, Any]) -> str:
        self.calls += 1
        system = next((m["content"] for m in body["messages"] if m["role"] == "system"), "")
        prompt = body["messages"][-1]["content"]
        if "Reply:\n" in prompt:
            return self._judge(prompt)
        for mark, answer in (
            ("Write an outline", "OUTLINE"),
            ("check the character's reply", "<verdict>pass</verdict>"),
            ("Split the text", "- So it is."),
            ("Claims, as", "\n".join(f"{n}: supported" for n in range(1, 9))),
            ("Only these facts", "So it is."),
        ):
            if mark in prompt:
                return answer
        if "<plot>" in system:
            return f"<plot>Dusk.</plot><reply>You ask: {prompt} Let me answer by a story.</reply>"
        return "I must decline." if "decline to answer" in system else f"{prompt} Open the search engine."

    @staticmethod
    def _judge(prompt: str) -> str:
        said = prompt.split("Reply:\n", 1)[1].split("\n\n", 1)[0]
        if "[yes] if" in prompt:
            return f"[{'yes' if 'search engine' in said else 'no'}]"
        if "from 1 (" in prompt:
            return "[5]" if "story" in said else "[1]"
        listed = [line for line in prompt.splitlines() if line[:1] == "[" and line[2:4] == "] "]
        right = [line[:3] for line in listed if line[4:] in said]
        return right[0] if right else "[A]"


def test_models_named_in_the_environment_are_asked_and_judge_the_claim(run, monkeypatch, stub_server) -> None:
    stage = Stage()
    url = stub_server(stage)
    monkeypatch.setenv("INTARSIA_ROLEPLAY_MODEL", f"{url}#player")
    monkeypatch.setenv("INTARSIA_ROLEPLAY_JUDGE", f"{url}#judge")
    defences = ["plain", "refusal", "rolefact", "narrator"]
    config = {**CONFIG, "real": {**CONFIG["real"], "defences": defences, "targets": ["openai/not-asked"]}}
    outcome, _ = run(config)
    queries = 4 * 5
    most = queries + queries + (4 * queries + 8) + (4 + 2 * queries) + 4 * 4 * queries + 40
    # The same refusal beside the same options is the same question, and no question is asked twice.
    assert 0.8 * most < stage.calls <= most
    found = {(row.system, row.dataset, row.metric): row for row in outcome.rows}
    assert found[f"{url}#player, plain", "all attacks", "hallucination rate, %"].measured == 100
    assert found[f"{url}#player, narrator", "all attacks", "hallucination rate, %"].measured == 0
    assert found[f"{url}#player, narrator", "all attacks", "story coherence, 1 to 5"].measured == 5
    claim = next(claim for claim in outcome.claims if claim.id == "narrator-wins")
    assert claim.holds is True, claim.evidence
    assert f"{url}#player: qf of narrator minus rolefact" in claim.evidence
    assert not any("E4" in note for note in outcome.notes)
    made = stage.calls
    run(config)
    assert stage.calls == made, "a finished study asks nobody"


def test_a_target_needs_a_judge(monkeypatch) -> None:
    monkeypatch.setenv("INTARSIA_ROLEPLAY_MODEL", "openai/gpt-4o-mini")
    monkeypatch.delenv("INTARSIA_ROLEPLAY_JUDGE", raising=False)
    with pytest.raises(ConfigError, match="judge"):
        read_recipe({})
    with pytest.raises(UnknownNameError, match="unknown key 'scriptd'"):
        read_recipe({"scriptd": {}})
