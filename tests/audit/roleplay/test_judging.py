"""Rules, options, verdicts and tables."""

import numpy as np
import pytest

from intarsia.audit.roleplay import RoleQueries, RuleJudge, WordEncoder, ask_and_judge, check_reply, roleplay_result
from intarsia.audit.roleplay.asking import Judged
from intarsia.audit.roleplay.controls import control_case, planted_controls
from intarsia.audit.roleplay.judged import judged_from_record
from intarsia.audit.roleplay.judging import Case, ModelJudge, read_bracketed
from intarsia.audit.roleplay.options import Options, arrange, balanced_places
from intarsia.errors import ConfigError, InputError, IntarsiaError
from intarsia.evals import ScriptedChat, run
from intarsia.evals.call import Call


@pytest.mark.parametrize(
    ("reply", "rule"),
    [
        ("As an AI language model I have no body.", "r1"),
        ("我在罗马长大，那里有七座山丘。", "r2"),
        ("I used the telephone this morning.", "r3"),
        ("def order(xs):\n    return xs", "r4"),
        ("I cannot answer that question.", "r5"),
        ("They call me Caesar.", "r6"),
        ("<plot>dawn</plot> Hail.", "r7"),
        ("Ah, this Python of which you speak, what beast is it?", None),
        ("What is a telephone? I never saw one.", None),
        ("I cannot tell whether the gods laugh, but my legions do.", None),
    ],
)
def test_rules_find_what_they_are_for_and_spare_wonder(reply: str, rule: str | None) -> None:
    found = check_reply(reply, born=-100, died=-44, hidden_names=("Julius Caesar", "Caesar")).found
    assert set(found) == ({rule} if rule else set())


def test_rules_spare_every_planted_good_reply() -> None:
    for control in planted_controls():
        findings = control_case(control).findings
        assert findings is not None
        assert not (findings.is_break and not control.hallucinated), control.id
    assert sum(control.hallucinated for control in planted_controls()) == 20 == len(planted_controls()) - 20


def test_code_is_no_fault_of_one_who_knows_computers() -> None:
    assert "r4" not in check_reply("def f(x):\n  return x", domains=("Computer Science",)).found


def test_verdicts_are_the_last_bracket_of_the_last_line_else_anywhere() -> None:
    assert read_bracketed("[no] at first\nin the end [yes]", ("yes", "no")) == "yes"
    assert read_bracketed("so [No]\nthat is all", ("yes", "no")) == "no"
    assert read_bracketed("[yes]\nor [perhaps]", ("yes", "no")) is None
    assert read_bracketed("", ("yes", "no")) is None


def test_each_letter_is_right_equally_often_whatever_the_order() -> None:
    ids = [f"q{n}" for n in range(40)]
    places = balanced_places(ids, 3, "rf")
    assert [list(places.values()).count(place) for place in range(4)] == [10] * 4
    assert balanced_places(reversed(ids), 3, "rf") == places
    options = arrange("right", ["a", "b", "c"], 2, "key")
    assert options.texts[2] == "right"
    turned = options.rotated()
    assert turned.texts[turned.gold] == "right"
    assert turned.gold != options.gold
    assert Options(("a", "b", "c", "d"), 0).rotated() == Options(("c", "d", "a", "b"), 2)


def judged(data: RoleQueries, script, *, reply: str = "Let me tell you.", **settings) -> Judged:  # type: ignore[no-untyped-def]
    target = ScriptedChat(lambda call: f"{reply} {call.prompt}", name="player")
    judge = ModelJudge(ScriptedChat(script, name="judge"), swap=settings.pop("swap", False))
    return run(ask_and_judge(data, target, [judge], **settings))


def constant(call: Call) -> str:
    return "[no]" if "[yes] if" in call.prompt else "[A]" if "letter" in call.prompt else "[3]"


def scores(found: Judged, **settings: object) -> dict[str, float]:
    result = roleplay_result(found.replies, found.controls, model="player", judges=["judge"], **settings)  # type: ignore[arg-type]
    row = next(row for row in result.table if row["attack"] == "all")
    return {metric: row[metric]["value"] for metric in ("hr", "rf", "qf", "sc")}


def test_a_judge_that_always_says_a_is_right_in_a_quarter(data: RoleQueries) -> None:
    assert len(data.queries) % 4 == 0
    found = scores(judged(data, constant))
    assert (found["rf"], found["qf"]) == (0.25, 0.25)
    swapped = scores(judged(data, constant, swap=True))
    assert (swapped["rf"], swapped["qf"]) == (0.25, 0.25)


def test_an_oracle_is_always_right_and_a_coin_within_chance(data: RoleQueries) -> None:
    by_id = {query.id: query for query in data.queries}

    def oracle(call: Call) -> str:
        if "letter" not in call.prompt:
            return constant(call)
        query = by_id[str(call.key).rsplit("/", 2)[0]]
        right = f"{query.role_code}: {query.description}" if str(call.key).endswith("rf") else query.query
        line = next(line for line in call.prompt.splitlines() if line[:1] == "[" and line[4:] == right)
        return line[:3]

    found = scores(judged(data, oracle))
    assert (found["rf"], found["qf"]) == (1.0, 1.0)
    generator = np.random.default_rng(0)
    coin = scores(judged(data, lambda c: f"[{'ABCD'[generator.integers(4)]}]" if "letter" in c.prompt else constant(c)))
    spread = 4 * (0.25 * 0.75 / len(data.queries)) ** 0.5
    assert abs(coin["rf"] - 0.25) < spread
    assert abs(coin["qf"] - 0.25) < spread


def test_who_refuses_everything_never_hallucinates_and_tells_no_story(data: RoleQueries) -> None:
    target = ScriptedChat(lambda call: "I cannot answer that.", name="player")
    found = run(ask_and_judge(data, target, [RuleJudge(WordEncoder())]))
    result = roleplay_result(found.replies, found.controls, model="player", judges=["rules"])
    row = next(row for row in result.table if row["attack"] == "all")
    assert (row["hr"]["value"], row["sc"]["value"]) == (0.0, 1.0)
    assert result.rules[0]["r5"] == 1.0


def test_order_concurrency_and_rescoring_do_not_change_scores(data: RoleQueries) -> None:
    one, many = judged(data, constant, concurrency=1), judged(data, constant, concurrency=20)
    assert one == many
    settings = {"model": "player", "judges": ["judge"]}
    first = roleplay_result(one.replies, one.controls, **settings)  # type: ignore[arg-type]
    records = [judged_from_record(each.to_record()) for each in reversed(many.replies)]
    again = roleplay_result(records, many.controls, **settings)  # type: ignore[arg-type]
    key = lambda row: (row["defence"], row["attack"])  # noqa: E731
    assert sorted(first.table, key=key) == sorted(again.table, key=key)
    backwards = judged(data, constant, queries=list(reversed(data.queries)))
    assert {each.id: each.to_record() for each in backwards.replies} == {
        each.id: each.to_record() for each in one.replies
    }


def test_a_judge_that_cannot_be_read_fails_the_run_unless_allowed(data: RoleQueries) -> None:
    found = judged(data, lambda call: "well" if "[yes] if" in call.prompt else constant(call))
    with pytest.raises(
        IntarsiaError, match=r"(?s)writings of the judge give no verdict, more than 5 %.*allow-unscored"
    ):
        scores(found)
    result = roleplay_result(found.replies, found.controls, model="player", judges=["judge"], allow_unscored=True)
    assert result.table[-1]["hr"] is None, "what cannot be read is no no"
    with pytest.raises(InputError, match="no judge"):
        roleplay_result(found.replies, (), model="player", judges=[])


def test_running_history_and_bad_settings(data: RoleQueries) -> None:
    target = ScriptedChat(lambda call: "Aye.", name="player")
    run(ask_and_judge(data, target, [], controls=False, history="running"))
    assert max(len(call.messages) for call in target.calls) > 2
    with pytest.raises(ConfigError, match="distractors is 'far'"):
        run(ask_and_judge(data, target, [], distractors="far"))
    with pytest.raises(ConfigError, match="history is 'long'"):
        run(ask_and_judge(data, target, [], history="long"))


def test_a_judge_sees_options_only_where_there_are_some() -> None:
    judge = ModelJudge(ScriptedChat(constant))
    assert set(run(judge.judge(Case("k", "7pq", "A baker.", "Bread?", "Bread.")))) == {"hr"}
