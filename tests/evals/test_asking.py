"""Asking about many items."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from intarsia.engine import Outcome
from intarsia.errors import ConfigError
from intarsia.evals import BudgetExceededError, ModelCallError, ModelUnusableError, ask_all, ask_each, run


async def double(number: int) -> int:
    # The later ones are done first.
    await asyncio.sleep(0.01 / (1 + number))
    return 2 * number


@pytest.mark.parametrize("concurrency", [1, 3, 20])
def test_outcomes_are_in_the_order_of_the_items_however_many_run_at_once(concurrency: int) -> None:
    outcomes = run(ask_all(double, range(10), concurrency=concurrency))
    assert outcomes == [Outcome(str(number), 2 * number) for number in range(10)]


def test_each_comes_as_soon_as_it_is_done() -> None:
    async def ask() -> list[int]:
        turns = [asyncio.Event() for _ in range(4)]
        turns[3].set()
        places = []
        async for place, _ in ask_each(lambda number: turns[number].wait(), range(4), concurrency=4):
            places.append(place)
            # Nobody else lets the next one finish.
            turns[place - 1].set()
        return places

    assert run(ask()) == [3, 2, 1, 0]


def test_no_more_run_at_once_than_allowed_and_none_is_taken_early() -> None:
    taken = now = most = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(20):
            taken += 1
            yield number

    async def watch(number: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        assert taken <= number + 4 + 1
        await asyncio.sleep(0)
        now -= 1

    outcomes = run(ask_all(watch, items(), concurrency=4))
    assert all(outcome.ok for outcome in outcomes)
    assert len(outcomes) == 20
    assert most == 4


def test_a_failure_stays_with_its_item() -> None:
    async def fn(number: int) -> int:
        if number == 1:
            raise ModelCallError("the reply is garbled", where="item 1")
        if number == 2:
            raise ValueError("no label")
        return number

    seen: list[Outcome] = []
    outcomes = run(ask_all(fn, range(4), key=lambda number: f"item-{number}", on_result=seen.append))
    assert [outcome.ok for outcome in outcomes] == [True, False, False, True]
    assert sorted(seen, key=lambda outcome: outcome.key) == outcomes
    assert outcomes[1] == Outcome("item-1", error="ModelCallError: the reply is garbled\n  where: item 1")
    assert outcomes[2].error == "ValueError: no label"
    assert 'raise ValueError("no label")' in str(outcomes[2].traceback)


@pytest.mark.parametrize("error", [BudgetExceededError("m", 3), ModelUnusableError("no such model")])
def test_what_concerns_all_items_ends_the_run_after_what_is_under_way(error: Exception) -> None:
    begun: list[int] = []
    finished: list[str] = []

    async def fn(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise error
        await asyncio.sleep(0.005)

    with pytest.raises(type(error)):
        run(ask_all(fn, range(100), concurrency=3, on_result=lambda outcome: finished.append(outcome.key)))
    # Those beside the failing one are paid for: they are finished, and none is begun after them.
    assert sorted(map(int, finished)) == [number for number in begun if number != 3]
    assert len(begun) < 10


def test_consumer_that_stops_leaves_nothing_running() -> None:
    ended: list[int] = []

    async def fn(number: int) -> None:
        try:
            await asyncio.sleep(0 if number == 0 else 60)
        finally:
            ended.append(number)

    async def ask() -> None:
        answers = ask_each(fn, range(10), concurrency=3)
        async for _ in answers:
            break
        await answers.aclose()
        assert sorted(ended) == [0, 1, 2]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(ask())


def test_on_result_that_raises_ends_the_run_cleanly() -> None:
    ended = 0

    async def fn(number: int) -> None:
        nonlocal ended
        try:
            await asyncio.sleep(0 if number == 0 else 60)
        finally:
            ended += 1

    def on_result(outcome: Outcome) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(ask_all(fn, range(5), concurrency=5, on_result=on_result))
    assert ended == 5


def test_ctrl_c_cancels_and_waits_for_tidying_up() -> None:
    ended: list[int] = []

    async def fn(number: int) -> None:
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    with pytest.raises(KeyboardInterrupt):
        run(ask_all(fn, range(10), concurrency=3))
    assert sorted(ended) == [0, 1, 2]
    assert run(double(4)) == 8, "the loop goes on"


def test_run_works_where_a_loop_is_running_as_in_a_notebook() -> None:
    async def cell() -> int:
        return run(double(2))

    assert asyncio.run(cell()) == 4


def test_run_inside_run_is_refused_instead_of_waiting_for_ever() -> None:
    async def inner() -> int:
        return run(double(2))

    with pytest.raises(RuntimeError, match="use await"):
        run(inner())


def test_run_from_several_threads() -> None:
    results: list[int] = []
    threads = [threading.Thread(target=lambda n=n: results.append(run(double(n)))) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 2, 4, 6, 8]


def test_no_concurrency_is_refused() -> None:
    with pytest.raises(ConfigError, match="concurrency is 0"):
        run(ask_all(double, range(3), concurrency=0))


def test_no_items_no_outcomes() -> None:
    assert run(ask_all(double, [])) == []
