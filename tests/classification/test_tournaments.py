"""Who wins among candidates with known strengths, with errors and with a favoured place."""

import asyncio
import random
from math import comb, exp, log

import pytest

from intarsia.classification.confidence import candidate_scores
from intarsia.classification.duels import Verdict, log_odds, settle
from intarsia.classification.results import Duel
from intarsia.classification.tournaments import TOURNAMENTS
from intarsia.evals import Reply

CANDIDATES = ["a", "b", "c", "d", "e"]


def hold(tournament, candidates, wins):
    """Runs a tournament whose duels are decided by a function."""

    async def compare(first, second):
        winner = wins(first, second)
        return Duel(first, second, winner, 2 / 3 if winner == first else 1 / 3)

    # Nothing waits, so the first step is the last; an event loop for each of thousands of tournaments takes seconds.
    try:
        TOURNAMENTS[tournament](candidates, compare).send(None)
    except StopIteration as end:
        return end.value


@pytest.mark.parametrize("tournament", TOURNAMENTS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_the_strongest_wins_whatever_its_rank(tournament, count):
    candidates = list("abcdefgh")[:count]
    for best in candidates:
        strength = {label: (label == best, label) for label in candidates}
        decision = hold(tournament, candidates, lambda first, second, s=strength: max(first, second, key=s.get))
        assert decision.winner == best
        duels = {"king": count - 1, "single_elimination": count - 1, "round_robin": count * (count - 1) // 2}
        assert len(decision.duels) == duels[tournament]
        scores = candidate_scores(candidates, decision)
        assert sum(scores.values()) == pytest.approx(1)
        assert max(scores, key=scores.get) == best
        assert list(scores) == candidates


@pytest.mark.parametrize("tournament", TOURNAMENTS)
def test_the_higher_ranked_label_comes_first_in_every_duel(tournament):
    chance = random.Random(0)
    for _ in range(20):
        decision = hold(tournament, CANDIDATES, lambda first, second: chance.choice((first, second)))
        assert all(duel.first < duel.second for duel in decision.duels)


def share_of_wins(tournament, gold, error, rounds=4000):
    chance = random.Random(f"{tournament}{gold}{error}")

    def wins(first, second):
        if gold not in (first, second):
            return chance.choice((first, second))
        other = second if first == gold else first
        return other if chance.random() < error else gold

    return sum(hold(tournament, CANDIDATES, wins).winner == gold for _ in range(rounds)) / rounds


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_king_wins_with_the_closed_form(rank):
    k, error = len(CANDIDATES), 0.2
    expected = (1 - error) ** (k - 1 if rank == 1 else k - rank + 1)
    assert share_of_wins("king", CANDIDATES[rank - 1], error) == pytest.approx(expected, abs=0.025)


def test_round_robin_wins_at_least_with_a_clear_majority():
    # With all k - 1 duels won nobody else can have as many; the binomial bounds what fewer wins add.
    k, error = len(CANDIDATES), 0.2
    clear = (1 - error) ** (k - 1)
    at_least_half = sum(comb(k - 1, wins) * (1 - error) ** wins * error ** (k - 1 - wins) for wins in range(2, k))
    assert clear < share_of_wins("round_robin", "c", error) < at_least_half


def test_a_random_model_makes_everyone_king_equally_often():
    chance = random.Random(1)
    k = len(CANDIDATES)
    ranks = [2 ** -(k - 1), *(2 ** -(k - rank + 1) for rank in range(2, k + 1))]
    assert sum(ranks) == pytest.approx(1)
    rounds = 8000
    winners = [
        hold("king", CANDIDATES, lambda first, second: chance.choice((first, second))).winner for _ in range(rounds)
    ]
    for label, expected in zip(CANDIDATES, ranks, strict=True):
        assert winners.count(label) / rounds == pytest.approx(expected, abs=0.02)


def test_copeland_ties_go_to_margins_then_to_rank():
    async def cycle(first, second):
        chances = {("a", "b"): 0.6, ("b", "c"): 0.9, ("a", "c"): 0.3}
        chance = chances[first, second]
        return Duel(first, second, first if chance > 0.5 else second, chance)

    assert asyncio.run(TOURNAMENTS["round_robin"](["a", "b", "c"], cycle)).winner == "b"
    decision = hold("round_robin", ["a", "b", "c"], lambda x, y: {"ab": "a", "bc": "b", "ac": "c"}[x + y])
    assert decision.winner == "a"


def logit(p):
    return log(p / (1 - p))


@pytest.mark.parametrize("first", [-1.3, 0.2, 2.0])
@pytest.mark.parametrize("second", [-0.4, 1.1])
@pytest.mark.parametrize("bias", [0.0, 0.7, 3.0])
def test_mean_log_odds_of_both_orders_are_free_of_the_favoured_place(first, second, bias):
    def answer(shown, other, names):
        chance = 1 / (1 + exp(-(shown - other + bias)))
        label, chance = (names[0], chance) if chance >= 0.5 else (names[1], 1 - chance)
        return Verdict(label, log_odds(Reply(f"LABEL: {label}", logprobs=(log(chance),))))

    duel = settle("x", "y", [answer(first, second, "xy"), answer(second, first, "yx")])
    assert duel.winner == ("x" if first >= second else "y")
    assert logit(duel.chance) == pytest.approx(first - second)


@pytest.mark.parametrize("edge", [0.1, 0.8, 2.0])
@pytest.mark.parametrize("bias", [0.0, 0.5, 3.0])
def test_voting_is_never_worse_than_one_order_on_average(edge, bias):
    chance = random.Random(2)

    def says(shown_first):
        return chance.random() < 1 / (1 + exp(-(edge + (bias if shown_first else -bias))))

    rounds = 6000
    voted = single = 0.0
    for _ in range(rounds):
        better_first, better_second = says(True), says(False)
        single += (better_first + better_second) / 2
        votes = [Verdict("x" if won else "y", None) for won in (better_first, better_second)]
        # A draw goes to the higher rank, which is the better label's half of the time.
        voted += (settle("x", "y", votes).winner == "x") / 2 + (settle("y", "x", votes).winner == "x") / 2
    assert voted >= single - 1e-9


def test_draws_and_silence_go_to_the_higher_ranked_label():
    assert settle("x", "y", [Verdict("x", None), Verdict("y", None)]) == Duel("x", "y", "x", 0.5, 0)
    assert settle("x", "y", [Verdict(None, None)]) == Duel("x", "y", "x", 0.5, 1)
    assert settle("x", "y", [Verdict("y", None), Verdict(None, None)]).winner == "y"
    assert settle("x", "y", [Verdict("y", None)]).chance == pytest.approx(1 / 3)
    # One answer without log-probabilities: votes decide.
    assert settle("x", "y", [Verdict("x", 5.0), Verdict("y", None)]).chance == 0.5


def test_log_odds_are_taken_of_bare_answers_only():
    assert log_odds(Reply("LABEL: x")) is None
    assert log_odds(Reply("Because of this.\nLABEL: x", logprobs=(-5.0, -0.1))) is None
    assert log_odds(Reply("LABEL: x", logprobs=(log(0.9),))) == pytest.approx(logit(0.9))
    assert log_odds(Reply("LABEL: x", logprobs=(log(0.3),))) == 0
    assert log_odds(Reply("LABEL: x", logprobs=(0.0,))) == 20
