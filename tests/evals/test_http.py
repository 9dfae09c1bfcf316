"""Models over HTTP: a server that misbehaves, and Intarsia's own."""

import asyncio
import random
import sys
from pathlib import Path

import pytest
from misbehaving_server import TROUBLES, MisbehavingServer

from intarsia.errors import ConfigError, MissingExtraError
from intarsia.evals import (
    ModelCallError,
    ModelUnusableError,
    OpenAICompatibleChat,
    Reply,
    Usage,
    ask_all,
    assistant,
    chat_model,
    run,
    spent,
    system,
    user,
)

pytest.importorskip("openai", reason="the openai client is not installed")

ITEMS = [f"question {number}" for number in range(40)]
# Long for a machine that is busy: an answer that comes later would be asked for again.
SILENCE_SECONDS = 3.0


def some_troubles(text: str) -> list[str]:
    """None to three troubles, the same for equal texts."""
    draw = random.Random(text)
    return draw.sample(TROUBLES, draw.randrange(4))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.evals.retrying.FIRST_WAIT", 0.001)


def ask(address: str, items: list[str], *, concurrency: int, record: Path | None = None, tries: int = 8) -> list[str]:
    model = chat_model(
        f"{address}#some-model", concurrency=concurrency, record=record, tries=tries, timeout=SILENCE_SECONDS
    )
    question = {item: [system("Shout."), user(item)] for item in items}
    outcomes = run(ask_all(lambda item: model.chat(question[item], key=item), items, concurrency=concurrency))
    assert all(outcome.ok for outcome in outcomes), [outcome.error for outcome in outcomes if not outcome.ok]
    return [outcome.value.text for outcome in outcomes]


# A server with troubles


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("concurrency", [1, 20])
def test_nothing_is_lost_and_nothing_is_asked_after_its_answer(tmp_path: Path, concurrency: int) -> None:
    record = tmp_path / "replies.jsonl"
    # One after the other, silences take their time.
    items = ITEMS if concurrency > 1 else ITEMS[:8]
    assert set().union(*map(some_troubles, items)) == set(TROUBLES)
    with MisbehavingServer(some_troubles) as server:
        replies = ask(server.url, items, concurrency=concurrency, record=record)
        assert replies == [item.upper() for item in items]
        assert server.answered == dict.fromkeys(items, 1)
        assert len(server.requests) == sum(1 + len(some_troubles(item)) for item in items)
        assert len(record.read_text().splitlines()) == len(items)
        # A second run with the recording asks nothing.
        before = len(server.requests)
        assert ask(server.url, items, concurrency=concurrency, record=record) == replies
        assert len(server.requests) == before


@pytest.mark.usefixtures("quick")
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    def troubles(text: str) -> list[str]:
        return [trouble for trouble in some_troubles(text) if trouble != "silence"]

    record = tmp_path / "replies.jsonl"
    with MisbehavingServer(troubles) as server:
        model = chat_model(f"{server.url}#some-model", concurrency=4, record=record)

        async def interrupted() -> None:
            task = asyncio.current_task()
            assert task is not None
            asking = ask_all(
                lambda item: model.chat([system("Shout."), user(item)], key=item),
                ITEMS,
                concurrency=4,
                on_result=lambda outcome: task.cancel() if outcome.value.text.endswith("15") else None,
            )
            await asking

        with pytest.raises(asyncio.CancelledError):
            run(interrupted())
        kept = record.read_text().splitlines()
        assert 10 < len(kept) < 40
        answered = dict(server.answered)
        replies = ask(server.url, ITEMS, concurrency=4, record=record)
        assert replies == [item.upper() for item in ITEMS]
        assert record.read_text().splitlines()[: len(kept)] == kept
        again = [item for item in ITEMS if server.answered[item] > 1]
        # Only answers that were on their way when the run was stopped are asked for again.
        assert len(again) == sum(answered.values()) - len(kept) <= 4


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("busy", "the server answered 429: slow down"),
        ("broken", "the server answered 500: out of memory"),
        ("silence", "no answer within 0.2 s"),
        ("dropped", "the connection failed"),
        ("cut", "the connection failed"),
        ("garbled", "the server's reply is not JSON"),
        ("empty", "the server's reply has no choices"),
    ],
)
def test_troubles_that_pass_are_told_apart(trouble: str, message: str) -> None:
    with MisbehavingServer(lambda text: [trouble]) as server:
        model = OpenAICompatibleChat(server.url, "some-model", timeout=0.2 if trouble == "silence" else 30)
        with pytest.raises(ModelCallError) as error:
            run(model.chat([user("hello")], key="item-1"))
        assert message in str(error.value)
        assert f"{server.url}, some-model, call item-1" in str(error.value)
        assert error.value.retryable
        assert not isinstance(error.value, ModelUnusableError)
        assert error.value.wait_seconds == (0.01 if trouble == "busy" else None)
        assert len(server.requests) == 1, "one place tries again"
        assert run(model.chat([user("hello")])) == Reply("HELLO", Usage(3, 2))


@pytest.mark.parametrize(
    ("status", "kind", "fix"),
    [
        (400, ModelCallError, "change what the message names"),
        (401, ModelUnusableError, "INTARSIA_API_KEY"),
        (403, ModelUnusableError, "another key"),
        (404, ModelUnusableError, "ends in /v1"),
        (422, ModelCallError, "change what the message names"),
    ],
)
def test_refusals_are_not_tried_again(status: int, kind: type[ModelCallError], fix: str) -> None:
    with MisbehavingServer(lambda text: [str(status)] * 3) as server:
        model = chat_model(f"{server.url}#some-model")
        with pytest.raises(ModelCallError) as error:
            run(model.chat([user("hello")]))
        assert type(error.value) is kind
        assert not error.value.retryable
        assert f"the server answered {status}: refused with {status}" in str(error.value)
        assert fix in str(error.value.fix)
        assert len(server.requests) == 1


def test_server_that_is_not_there() -> None:
    model = OpenAICompatibleChat("http://127.0.0.1:9/v1", "some-model")
    with pytest.raises(ModelCallError, match=r"the connection failed: .*\n.*127\.0\.0\.1:9.*\n.*server runs") as error:
        run(model.chat([user("hello")]))
    assert error.value.retryable


def test_request_has_all_of_a_call_and_no_more() -> None:
    with MisbehavingServer() as server:
        model = OpenAICompatibleChat(server.url + "/", "some-model")
        turns = [system("Shout."), user("hello"), assistant("HELLO"), user("again")]
        run(model.chat(turns, temperature=0.5, max_tokens=7, seed=11, key="k"))
        run(model.chat(turns[:2]))
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        plain = {"model": "some-model", "messages": messages[:2], "temperature": 0.0, "max_tokens": 1024}
        assert server.requests == [
            plain | {"messages": messages, "temperature": 0.5, "max_tokens": 7, "seed": 11},
            plain,
        ]


def test_keys_of_others_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-another")
    with MisbehavingServer() as server:
        run(OpenAICompatibleChat(server.url, "m").chat([user("hello")]))
        assert server.authorization == "Bearer none"
        monkeypatch.setenv("INTARSIA_API_KEY", "ours")
        run(OpenAICompatibleChat(server.url, "m").chat([user("hello")]))
        assert server.authorization == "Bearer ours"
        run(OpenAICompatibleChat(server.url, "m", api_key="given").chat([user("hello")]))
        assert server.authorization == "Bearer given"


def test_one_model_serves_several_event_loops() -> None:
    with MisbehavingServer() as server:
        model = OpenAICompatibleChat(server.url, "m")
        for _ in range(2):
            assert asyncio.run(model.chat([user("hello")])).text == "HELLO"
        assert run(model.chat([user("hello")])).text == "HELLO"


def test_budget_is_kept_over_http(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        model = chat_model(f"{server.url}#m", max_calls=5, record=tmp_path / "replies.jsonl", concurrency=3)
        with pytest.raises(Exception, match="more than the 5 calls"):
            run(ask_all(lambda item: model.chat([user(item)]), ITEMS, concurrency=3))
        assert sum(server.answered.values()) == spent(model).calls == 5
        assert spent(model).usage == Usage(15, 10)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:8000/v1", "m"), "base_url is 'localhost:8000/v1', but it must be an address such as http://"),
        (("http://localhost:8000/v1", ""), "model is '', but it must be the name of a model"),
    ],
)
def test_what_is_no_address_or_name_is_refused(arguments: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAICompatibleChat(*arguments)


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_timeout_is_refused(timeout: float) -> None:
    with pytest.raises(ConfigError, match="timeout is"):
        OpenAICompatibleChat("http://127.0.0.1:9/v1", "m", timeout=timeout)


def test_missing_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"openai is not installed\n.*intarsia\[eval\]"):
        OpenAICompatibleChat("http://127.0.0.1:9/v1", "m")


# Intarsia's own server


def test_intarsias_own_server_answers_as_the_model_in_this_process(tiny_llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the packages for serving are not installed")
    from intarsia.evals import LocalChat
    from intarsia.models import load_causal_lm
    from intarsia.serving import ModelServer, ServingConfig

    loaded = load_causal_lm(tiny_llama, device="cpu")
    local = LocalChat(load_causal_lm(tiny_llama, device="cpu"))

    async def answers(model: object, concurrency: int) -> list[Reply]:
        def call(number: int) -> object:
            return model.chat(
                [system("Be brief."), user("a" * (1 + 7 * number))], max_tokens=8, temperature=number % 2, seed=number
            )

        outcomes = await ask_all(call, range(12), concurrency=concurrency)
        assert all(outcome.ok for outcome in outcomes), outcomes
        return [outcome.value for outcome in outcomes]

    record = tmp_path / "replies.jsonl"
    with ModelServer(loaded, ServingConfig(port=0, name="tiny")) as server:
        address = f"{server.url}/v1#tiny"
        one_by_one = run(answers(chat_model(address), 1))
        at_once = run(answers(chat_model(address, concurrency=20, record=record), 20))
        with pytest.raises(ModelUnusableError, match="there is no model 'other'"):
            run(chat_model(f"{server.url}/v1#other").chat([user("hello")]))
        with pytest.raises(ModelCallError, match="context is 512"):
            run(chat_model(address).chat([user("a" * 600)]))
    assert at_once == one_by_one == run(answers(local, 20))
    # The server is gone; its answers are not.
    assert run(answers(chat_model(address, record=record, tries=1), 20)) == one_by_one
