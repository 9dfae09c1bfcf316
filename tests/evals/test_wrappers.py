"""Trying again, keeping to a number of calls at once and in all."""

import asyncio

import pytest

from intarsia.errors import ConfigError
from intarsia.evals import (
    BudgetedChat,
    BudgetExceededError,
    Call,
    LimitedChat,
    ModelCallError,
    Reply,
    RetryingChat,
    ScriptedChat,
    Spent,
    Usage,
    chat_model,
    run,
    spent,
    user,
)

QUESTION = [user("Why?")]


class Failing:
    """Fails so many times, then answers."""

    def __init__(self, failures: int, *, retryable: bool = True, wait: float | None = None) -> None:
        self._failures = failures
        self._retryable = retryable
        self._wait = wait

    def __call__(self, call: Call) -> str:
        self._failures -= 1
        if self._failures >= 0:
            raise ModelCallError("busy", where="here", retryable=self._retryable, wait_seconds=self._wait)
        return "because"


class Sleeps(list[float]):
    """Notes how long it was to sleep."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


# Retrying


def test_asks_again_until_there_is_an_answer() -> None:
    model, sleeps = ScriptedChat(Failing(3)), Sleeps()
    reply = run(RetryingChat(model, 4, sleep=sleeps).chat(QUESTION, temperature=0.5, max_tokens=7, seed=1, key="k"))
    assert reply.text == "because"
    assert model.calls == [Call((user("Why?"),), 0.5, 7, 1, "k")] * 4


def test_waits_double_with_a_random_part_that_a_seed_repeats() -> None:
    first, again, other = Sleeps(), Sleeps(), Sleeps()
    for sleeps, seed in ((first, 0), (again, 0), (other, 1)):
        run(RetryingChat(ScriptedChat(Failing(9)), 10, seed=seed, sleep=sleeps).chat(QUESTION))
    for wait, plain in zip(first, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert plain <= wait <= 1.5 * plain
    assert first == again
    assert first != other


def test_waits_as_long_as_the_model_asks_for() -> None:
    sleeps = Sleeps()
    run(RetryingChat(ScriptedChat(Failing(1, wait=7.0)), sleep=sleeps).chat(QUESTION))
    assert 7.0 <= sleeps[0] <= 10.5


@pytest.mark.parametrize("failing", [Failing(9, retryable=False), Failing(9, wait=3600.0)])
def test_does_not_ask_again_where_that_cannot_help(failing: Failing) -> None:
    model, sleeps = ScriptedChat(failing), Sleeps()
    with pytest.raises(ModelCallError, match="busy"):
        run(RetryingChat(model, sleep=sleeps).chat(QUESTION))
    assert len(model.calls) == 1
    assert not sleeps


def test_last_failure_says_how_often_it_was_tried() -> None:
    model = ScriptedChat(Failing(9))
    with pytest.raises(ModelCallError, match=r"no answer after 3 tries: busy\n +where: here\n +fix: .*concurrency"):
        run(RetryingChat(model, 3, sleep=Sleeps()).chat(QUESTION))
    assert len(model.calls) == 3


# Limiting


@pytest.mark.parametrize("limit", [1, 3])
def test_only_so_many_calls_at_once(limit: int) -> None:
    now = most = 0

    async def script(call: Call) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return call.prompt

    async def ask() -> list[Reply]:
        return await asyncio.gather(*(model.chat([user(str(number))]) for number in range(9)))

    model = LimitedChat(ScriptedChat(script), limit)
    # Also in a second event loop.
    for replies in (run(ask()), asyncio.run(ask())):
        assert [reply.text for reply in replies] == [str(number) for number in range(9)]
        assert most == limit


# Budget


def test_counts_calls_and_tokens() -> None:
    model = BudgetedChat(ScriptedChat(lambda call: Reply("yes", Usage(5, 2))))
    for _ in range(3):
        run(model.chat(QUESTION))
    assert model.spent == spent(model) == Spent(3, Usage(15, 6))


def test_calls_beyond_the_budget_are_not_made() -> None:
    async def slow(call: Call) -> str:
        await asyncio.sleep(0)
        return "yes"

    inner = ScriptedChat(slow, name="some-model")
    model = BudgetedChat(inner, 2)

    async def ask() -> list[Reply | BaseException]:
        return await asyncio.gather(*(model.chat(QUESTION) for _ in range(5)), return_exceptions=True)

    replies = run(ask())
    assert [isinstance(reply, Reply) for reply in replies] == [True, True, False, False, False]
    assert len(inner.calls) == 2
    assert isinstance(replies[-1], BudgetExceededError)
    message = str(replies[-1])
    assert "more than the 2 calls" in message
    assert "some-model" in message
    assert "max_calls" in message
    assert replies[-1].exit_code == 2


def test_of_a_wrapped_model_the_budget_is_found(tmp_path: object) -> None:
    model = chat_model(ScriptedChat(lambda call: Reply("yes", Usage(5, 2))), record=tmp_path / "replies.jsonl")
    run(model.chat(QUESTION))
    run(model.chat(QUESTION))
    assert spent(model) == Spent(1, Usage(5, 2)), "a recorded answer costs nothing"
    assert spent(ScriptedChat(lambda call: "yes")) == Spent()


def test_one_call_tried_twice_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.evals.retrying.FIRST_WAIT", 0.0)
    model = chat_model(ScriptedChat(Failing(1)), max_calls=1)
    assert run(model.chat(QUESTION)).text == "because"
    assert spent(model).calls == 1


@pytest.mark.parametrize(("setting", "value"), [("concurrency", 0), ("max_calls", -1), ("tries", 0)])
def test_impossible_settings_are_named(setting: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is {value}, but it must be at least"):
        chat_model(ScriptedChat(lambda call: "yes"), **{setting: value})
