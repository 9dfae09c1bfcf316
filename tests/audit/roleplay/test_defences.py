"""Defences: what they ask, how often, and Narrator Mode as a chat model and as a middleware."""

import asyncio
from typing import Any

import pytest

from intarsia.audit.roleplay import (
    DEFENCES,
    Defender,
    NarratorChat,
    Role,
    RoleQueries,
    Turn,
    WordEncoder,
    ask_and_judge,
    count_calls,
)
from intarsia.audit.roleplay.defences import DefenceConfig
from intarsia.audit.roleplay.narration import Draft, NarratorConfig, Scene, read_draft, read_verdict
from intarsia.audit.roleplay.prompts import Card, role_prompt
from intarsia.audit.roleplay.rolefact import (
    calibrate_confidence,
    development_characters,
    nearest_sentences,
    read_facts,
    read_support,
)
from intarsia.errors import ConfigError, DataError, InputError, UnknownNameError
from intarsia.evals import ScriptedChat, run, system, user
from intarsia.evals.call import Call
from intarsia.serving.narrator import NarratorMiddleware

CARD = Card("7pq", "A baker of Babylon who counts in sixties.")
ROLE = Role("baker", "Enlil the Baker", "A baker of Babylon who counts in sixties.")


def narrated(verdict: str) -> Any:
    def script(call: Call) -> str:
        if "Write an outline" in call.prompt:
            return "THE OUTLINE"
        if "check the character's reply" in call.prompt:
            return f"<verdict>{verdict}</verdict><reply>mended</reply>"
        if "Split the text" in call.prompt:
            return "- Bread rises."
        if "Claims" in call.prompt:
            return "1: supported"
        return "<plot>Dawn.</plot>\n<reply>Bread.</reply>"

    return script


def test_narrator_with_all_parts_off_asks_what_plain_asks() -> None:
    off = NarratorConfig(outline=False, plot=False, verify=False)
    scene = Scene(CARD, off)
    assert scene.messages([user("Who are you?")]) == [system(role_prompt(CARD)), user("Who are you?")]
    narrated_off, plain = ScriptedChat(narrated("pass")), ScriptedChat(narrated("pass"))
    run(NarratorChat(narrated_off, Role("b", CARD.name, CARD.description), off).chat([user("Who are you?")]))
    run(Defender(plain, "plain").answer(Turn(CARD, "Who are you?", "k")))
    assert [call.messages for call in narrated_off.calls] == [call.messages for call in plain.calls]


@pytest.mark.parametrize("defence", sorted(DEFENCES))
@pytest.mark.parametrize("verdict", ["pass", "revise"])
def test_counted_calls_are_those_of_the_formulas(defence: str, verdict: str, data: RoleQueries) -> None:
    model = ScriptedChat(narrated(verdict))
    run(ask_and_judge(data, model, [], defences=[defence], controls=False))
    expected = count_calls(defence, 4, len(data.queries))
    assert len(model.calls) == (expected.most if verdict == "revise" or defence == "rolefact" else expected.least)
    if defence == "narrator":
        q = len(data.queries)
        assert len(model.calls) == 4 + q * (2 if verdict == "pass" else 4)


def test_outline_is_asked_once_however_many_turns_come_together() -> None:
    async def slow(call: Call) -> str:
        await asyncio.sleep(0.001)
        return narrated("pass")(call)

    model = ScriptedChat(slow)
    defender = Defender(model, "narrator")

    async def all_turns() -> None:
        await asyncio.gather(*(defender.answer(Turn(CARD, f"question {i}", str(i))) for i in range(8)))

    run(all_turns())
    assert sum("Write an outline" in call.prompt for call in model.calls) == 1


def test_drafts_are_read_as_documented() -> None:
    assert read_draft("<plot>P</plot><reply>a</reply> <reply>b</reply>") == Draft("P", "b", True)
    assert read_draft("Scene. Response: hello").reply == "hello"
    assert not read_draft("Scene. Response: hello").is_formatted
    assert read_draft("just words").reply == "just words"
    assert read_draft("<plot>P</plot><reply>cut off").reply == "cut off"
    assert read_verdict("<verdict>revise</verdict><reply>x</reply>") == (False, "x")
    assert read_verdict("fine") == (None, "")


def test_rolefact_keeps_supported_facts_only() -> None:
    assert read_facts("- One.\n2) Two.\nnone") == ["One.", "Two."]
    assert read_facts("- none") == []
    assert read_support("1: supported\n2: 40\n9: 80", 3) == [100, 40, 0]
    sentences = "He bakes. Rome is far. He counts in sixties."
    assert nearest_sentences("Who counts in twelves?", sentences, WordEncoder(), 1) == ["He counts in sixties."]


def test_confidence_is_the_threshold_that_tells_true_facts_from_false_ones() -> None:
    assert calibrate_confidence([90, 80, 30, 20], [True, True, False, False]) == 80
    # Where confidence tells nothing, only supported facts stand.
    assert calibrate_confidence([50, 50, 50, 50], [True, True, False, False]) == 100
    with pytest.raises(ConfigError, match="true and false ones"):
        calibrate_confidence([50], [True])
    with pytest.raises(ConfigError, match="confidence is 120"):
        DefenceConfig(confidence=120)


def test_rolefact_asks_once_how_sure_its_model_must_be() -> None:
    claims = {claim: truth for each in development_characters() for claim, truth in each.claims.items()}
    assert len(development_characters()) == 8
    assert sum(claims.values()) == len(claims) / 2 == 32
    assert len({tuple(each.claims.values()) for each in development_characters()}) > 4, "the order says nothing"

    def sure(call: Call) -> str:
        if "Split the text" in call.prompt:
            return "- Bread rises.\n- Bread flies."
        if str(call.key).startswith("development/"):
            listed = [line.partition(". ")[2] for line in call.prompt.splitlines() if line[:1].isdigit()]
            return "\n".join(f"{n}: {64 if claims[claim] else 55}" for n, claim in enumerate(listed, start=1))
        if "Claims" in call.prompt:
            return "1: 64\n2: 63"
        return "Bread."

    model = ScriptedChat(sure)
    defender = Defender(model, "rolefact")

    async def both() -> list[Any]:
        return await asyncio.gather(*(defender.answer(Turn(CARD, f"Bread {i}?", str(i))) for i in range(2)))

    for answer in run(both()):
        assert answer.steps["confidence"] == 64
        assert answer.steps["kept"] == ["Bread rises."]
    assert sum(str(call.key).startswith("development/") for call in model.calls) == 8
    assert len(model.calls) == count_calls("rolefact", 1, 2).most == 16
    fixed = ScriptedChat(sure)
    answer = run(Defender(fixed, "rolefact", DefenceConfig(confidence=10)).answer(Turn(CARD, "Bread?", "k")))
    assert answer.steps["kept"] == ["Bread rises.", "Bread flies."]
    assert len(fixed.calls) == count_calls("rolefact", 1, 1, calibrates=False).most == 4


def test_narrator_chat_answers_streams_and_keeps_its_outline() -> None:
    model = ScriptedChat(narrated("revise"))
    baker = NarratorChat(model, ROLE, NarratorConfig(max_revisions=1))
    assert run(baker.chat([user("How is bread made?")])).text == "mended"

    async def kinds() -> list[str]:
        return [piece.kind async for piece in baker.stream([system("ignored"), user("And beer?")])]

    assert run(kinds())[0] == "plot"
    assert sum("Write an outline" in call.prompt for call in model.calls) == 1
    assert "ignored" not in str(model.calls)
    with pytest.raises(InputError, match="the last message is not the user's"):
        run(baker.chat([system("only")]))


def test_middleware_takes_a_card_and_gives_the_reply_alone() -> None:
    asked: list[Any] = []

    def ask(messages: Any) -> str:
        asked.append(messages)
        return narrated("pass")(Call((user(messages[-1]["content"]),)))

    middleware = NarratorMiddleware()
    chat = [{"role": "system", "content": "name: Enlil\ndescription: A baker."}, {"role": "user", "content": "Bread?"}]
    for _ in range(2):
        messages = middleware.rewrite_messages(chat, ask)
        assert "THE OUTLINE" in messages[0]["content"]
        assert middleware.rewrite_reply(messages, "<plot>x</plot><reply>Bread.</reply>", ask) == "Bread."
    assert sum("Write an outline" in str(each) for each in asked) == 1
    plain = [{"role": "user", "content": "Hello"}]
    assert middleware.rewrite_messages(plain, ask) is plain
    assert middleware.rewrite_reply(plain, "Hi", ask) == "Hi"
    with pytest.raises(DataError, match="no description"):
        middleware.rewrite_messages([{"role": "system", "content": "name: Enlil"}, *plain], ask)


def test_an_unknown_defence_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"(?s)'narator'.*narrator"):
        Defender(ScriptedChat(narrated("pass")), "narator")
