"""The solver against closed forms, brute force and the identities of logit arithmetic; random logits, no models."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from intarsia.errors import ConfigError, InputError
from intarsia.fusion import AlphaResult, SolverConfig, fuse_logits, solve_alpha
from intarsia.fusion.solvers import Goal
from intarsia.fusion.solvers.bracket import crossing
from intarsia.fusion.targets import choose_target, measure_shifts
from intarsia.fusion.tilting import cumulants, tilt

SEARCHING = ("grid", "refine", "bracket", "newton", "joint")
ONE_AT_A_TIME = ("grid", "refine", "bracket", "newton")
TARGETS = ("centroid", "max")
# Spread of the large model's logits, of the shift, and of the difference between the large and the small model.
DIFFICULTIES = {"easy": (2.0, 0.5, 1.0), "mid": (3.0, 1.0, 1.5), "hard": (4.0, 2.0, 2.0), "extreme": (6.0, 4.0, 4.0)}


def logits(
    rows: int,
    vocabulary: int,
    experts: int = 1,
    *,
    difficulty: str = "mid",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    spread, shift, difference = DIFFICULTIES[difficulty]
    generator = torch.Generator().manual_seed(seed)

    def normal(scale: float) -> Tensor:
        return torch.randn(rows, vocabulary, dtype=dtype, generator=generator) * scale

    large = normal(spread)
    small = large + normal(difference / 2)
    return large, small, [small + normal(shift) for _ in range(experts)]


def kl(one: Tensor, other: Tensor) -> Tensor:
    """KL between softmaxes, written as its definition; tokens of probability 0 in `one` count nothing."""
    p, q = one.double().log_softmax(-1), other.double().log_softmax(-1)
    return torch.where(p.isneginf(), 0.0, p.exp() * (p - q)).sum(-1)


def tilted(large: Tensor, small: Tensor, experts: list[Tensor], alpha: Tensor) -> Tensor:
    return large + sum(alpha[..., t, None] * (expert - small) for t, expert in enumerate(experts))


def loss_of(large: Tensor, small: Tensor, experts: list[Tensor], alpha: Tensor, target: str = "centroid") -> Tensor:
    """The paper's loss, or that of the expert that moved farthest, by brute force."""
    moved = tilted(large, small, experts, alpha)
    forward, backward = kl(moved, large), kl(large, moved)
    a = torch.stack([kl(expert, small) for expert in experts], -1)
    b = torch.stack([kl(small, expert) for expert in experts], -1)
    each = (forward[..., None] - a) ** 2 + (backward[..., None] - b) ** 2
    if target == "centroid":
        return each.sum(-1)
    return each.gather(-1, (a + b).argmax(-1, keepdim=True))[..., 0]


# Identity 1: no shift, no change


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", SEARCHING)
def test_without_a_shift_alpha_and_loss_are_zero(solver: str, target: str) -> None:
    large, small, _ = logits(5, 17)
    fused = fuse_logits(large, small, [small, small], SolverConfig(solver=solver, target=target))
    assert torch.equal(fused.result.alpha, torch.zeros(5, 2, dtype=torch.float64))
    assert torch.equal(fused.result.loss, torch.zeros(5, dtype=torch.float64))
    assert torch.equal(fused.logits, large)
    assert not fused.result.at_bound.any()
    assert not fused.result.saturated.any()


def test_alpha_zero_is_the_large_model() -> None:
    large, small, experts = logits(5, 17, 2)
    fused = fuse_logits(large, small, experts, SolverConfig(solver="static", alpha=0.0))
    torch.testing.assert_close(fused.logits.softmax(-1), large.softmax(-1), rtol=0, atol=1e-15)
    assert float(fused.result.forward.max()) == 0
    assert float(fused.result.backward.max()) == 0


def test_static_alpha_is_logit_arithmetic() -> None:
    large, small, experts = logits(5, 17, 2)
    for given in (1.0, (0.3, 1.7)):
        fused = fuse_logits(large, small, experts, SolverConfig(solver="static", alpha=given))
        alpha = torch.tensor(given, dtype=torch.float64).expand(5, 2)
        expected = tilted(large, small, experts, alpha)
        torch.testing.assert_close(fused.logits.log_softmax(-1), expected.log_softmax(-1), rtol=0, atol=1e-12)
        assert torch.equal(fused.result.alpha, alpha)
        torch.testing.assert_close(fused.result.forward, kl(expected, large), rtol=1e-10, atol=0)
        torch.testing.assert_close(fused.result.backward, kl(large, expected), rtol=1e-10, atol=0)
        torch.testing.assert_close(fused.result.loss, loss_of(large, small, experts, alpha), rtol=1e-9, atol=0)


# Identity 2: a small base that equals the large model


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", ["bracket", "refine", "newton"])
def test_if_small_and_large_are_equal_alpha_is_one(solver: str, target: str) -> None:
    _, small, experts = logits(50, 101)
    large = small + 3.7
    fused = fuse_logits(large, small, experts, SolverConfig(solver=solver, target=target, tolerance=1e-10))
    assert float((fused.result.alpha - 1).abs().max()) < 1e-8
    assert float(fused.result.loss.max()) < 1e-14
    torch.testing.assert_close(fused.logits.softmax(-1), experts[0].softmax(-1), rtol=0, atol=1e-8)


def test_if_small_and_large_are_equal_the_grid_finds_one() -> None:
    _, small, experts = logits(50, 101)
    result = solve_alpha(small, small, experts)
    torch.testing.assert_close(result.alpha, torch.ones_like(result.alpha))
    assert float(result.loss.max()) < 1e-20


def test_if_small_and_large_are_equal_joint_stays_within_its_ridge() -> None:
    _, small, experts = logits(20, 101)
    result = solve_alpha(small, small, experts, SolverConfig(solver="joint", ridge=0.0, tolerance=1e-10))
    assert float((result.alpha - 1).abs().max()) < 1e-8


# Identity 3: constants and the order of tokens


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", [*SEARCHING, "static"])
def test_constants_and_permutations_change_nothing(solver: str, target: str) -> None:
    large, small, experts = logits(20, 33, 3)
    config = SolverConfig(solver=solver, target=target, tolerance=1e-8)
    plain = fuse_logits(large, small, experts, config)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(1))
    constants = torch.randn(5, 20, 1, dtype=torch.float64) * 10
    moved = fuse_logits(
        large[:, order] + constants[0],
        small[:, order] + constants[1],
        [expert[:, order] + constants[2 + t] for t, expert in enumerate(experts)],
        config,
    )
    torch.testing.assert_close(moved.result.alpha, plain.result.alpha, rtol=0, atol=1e-6)
    torch.testing.assert_close(moved.result.loss, plain.result.loss, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(moved.logits.softmax(-1), plain.logits.softmax(-1)[:, order], rtol=0, atol=1e-6)


# Identity 4: the exponential family


def test_divergences_and_their_derivatives_are_those_of_the_definition() -> None:
    large, small, experts = logits(40, 7, 2, difficulty="hard")
    family = measure_shifts(large, small, experts).family
    for value in (0.03, 0.4, 1.0, 1.9):
        alpha = torch.full((40, 2), value, dtype=torch.float64)
        here = tilt(family, alpha, orders=4)
        for t, expert in enumerate(experts):
            moved = large + value * (expert - small)
            torch.testing.assert_close(here.forward[:, t], kl(moved, large), rtol=1e-10, atol=1e-14)
            torch.testing.assert_close(here.backward[:, t], kl(large, moved), rtol=1e-10, atol=1e-14)
        # Shifts are centred, so that m0 = 0 and d1 + d2 = alpha (m - m0) = alpha m.
        torch.testing.assert_close(here.forward + here.backward, alpha * here.mean, rtol=1e-12, atol=1e-14)
        h = 1e-5
        up, down = tilt(family, alpha + h, orders=4), tilt(family, alpha - h, orders=4)
        central = (up.forward - down.forward) / (2 * h), (up.backward - down.backward) / (2 * h)
        torch.testing.assert_close(alpha * here.variance, central[0], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(here.mean, central[1], rtol=1e-6, atol=1e-7)
        # Cumulants are the derivatives of A, hence of one another.
        mean, variance, third, fourth = cumulants(*here.moments.unbind(-1))
        more, less = cumulants(*up.moments.unbind(-1)), cumulants(*down.moments.unbind(-1))
        torch.testing.assert_close(mean, here.mean)
        torch.testing.assert_close(third, (more[1] - less[1]) / (2 * h), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(fourth, (more[2] - less[2]) / (2 * h), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(variance, (more[0] - less[0]) / (2 * h), rtol=1e-6, atol=1e-7)


def test_divergences_in_float32_are_exact_to_a_few_millionths_of_a_nat() -> None:
    large, small, experts = logits(40, 1000)
    for scale in (1.0, 0.1, 1e-2):
        tuned = small + scale * (experts[0] - small)
        result = solve_alpha(large.float(), small.float(), [tuned.float()], SolverConfig(solver="newton"))
        torch.testing.assert_close(result.target_forward[:, 0].double(), kl(tuned, small), rtol=1e-5, atol=3e-6)
        torch.testing.assert_close(result.target_backward[:, 0].double(), kl(small, tuned), rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", [*SEARCHING, "static"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_result_describes_the_fused_distribution(solver: str, target: str, count: int) -> None:
    large, small, experts = logits(60, 29, count, difficulty="hard")
    config = SolverConfig(solver=solver, target=target, tolerance=1e-7, alpha=0.7)
    fused = fuse_logits(large, small, experts, config)
    result = fused.result
    assert torch.equal(solve_alpha(large, small, experts, config).alpha, result.alpha)
    expected = tilted(large, small, experts, result.alpha)
    torch.testing.assert_close(fused.logits.log_softmax(-1), expected.log_softmax(-1), rtol=0, atol=1e-10)
    torch.testing.assert_close(result.forward, kl(expected, large), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(result.backward, kl(large, expected), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(result.loss, loss_of(large, small, experts, result.alpha, target), rtol=1e-5, atol=1e-8)
    for t, expert in enumerate(experts):
        torch.testing.assert_close(result.target_forward[:, t], kl(expert, small), rtol=1e-10, atol=0)
        torch.testing.assert_close(result.target_backward[:, t], kl(small, expert), rtol=1e-10, atol=0)
    assert torch.equal(result.expert, result.alpha.argmax(-1))
    if solver in ONE_AT_A_TIME:
        assert int((result.alpha > 0).sum(-1).max()) == 1


# Identity 5: small shifts


@pytest.mark.parametrize("solver", ["refine", "bracket", "newton", "joint"])
def test_small_shifts_have_a_closed_form(solver: str) -> None:
    large, small, experts = logits(100, 64)
    tiny = [small + 1e-3 * (experts[0] - small)]
    config = SolverConfig(solver=solver, tolerance=1e-6, high=8.0, ridge=0.0)
    alpha = solve_alpha(large, small, tiny, config).alpha[:, 0]
    shift = experts[0] - small

    def variance(weights: Tensor) -> Tensor:
        p = weights.softmax(-1)
        return (p * shift**2).sum(-1) - (p * shift).sum(-1) ** 2

    expected = (variance(small) / variance(large)).sqrt()
    assert float(expected.max()) < 8
    torch.testing.assert_close(alpha, expected, rtol=0.02, atol=0)


def test_a_more_certain_large_model_is_shifted_more() -> None:
    large, small, experts = logits(100, 64, difficulty="easy")
    experts = [small + 0.1 * (experts[0] - small)]
    config = SolverConfig(solver="bracket", high=20.0)
    less, more = solve_alpha(large, small, experts, config), solve_alpha(1.5 * large, small, experts, config)
    assert float((more.alpha > less.alpha).double().mean()) > 0.8


# Identity 6: two tokens


@pytest.mark.parametrize("solver", ["refine", "bracket", "newton"])
def test_two_tokens_agree_with_a_fine_scan(solver: str) -> None:
    large, small, experts = logits(12, 2, seed=3)
    result = solve_alpha(large, small, experts, SolverConfig(solver=solver, tolerance=1e-7))
    scan = torch.linspace(0, 2, 1_000_001, dtype=torch.float64)
    for row in range(12):
        shift = (experts[0] - small)[row, 0] - (experts[0] - small)[row, 1]
        log_odds = large[row, 0] - large[row, 1]
        p, moved = log_odds.sigmoid(), (log_odds + scan * shift).sigmoid()
        forward = moved * (moved / p).log() + (1 - moved) * ((1 - moved) / (1 - p)).log()
        backward = p * (p / moved).log() + (1 - p) * ((1 - p) / (1 - moved)).log()
        loss = (forward - result.target_forward[row]) ** 2 + (backward - result.target_backward[row]) ** 2
        assert float(result.loss[row]) <= float(loss.min()) * (1 + 1e-6) + 1e-12


# Identity 7: where the minimum lies, and which solver is how good


def test_the_minimum_lies_between_the_two_crossings() -> None:
    large, small, experts = logits(300, 64)
    shifts = measure_shifts(large, small, experts)
    goal = Goal(*choose_target(shifts, "centroid")[:2])
    bounds = torch.zeros(300, 1, dtype=torch.float64), torch.full((300, 1), 4.0, dtype=torch.float64)
    first = crossing(shifts, goal, "forward", *bounds, 1e-8)
    second = crossing(shifts, goal, "backward", *bounds, 1e-8)
    exist = (torch.maximum(first, second) < 3.99)[:, 0]
    assert int(exist.sum()) > 150
    at_first = tilt(shifts.family, first)
    torch.testing.assert_close(at_first.forward[exist], goal.forward[exist], rtol=1e-5, atol=1e-8)
    scan = torch.linspace(0, 4, 801, dtype=torch.float64)
    losses = torch.stack([goal.miss(*tilt(shifts.family, value.expand(300, 1))[:2])[:, 0] for value in scan])
    best = scan[losses.argmin(0)]
    low, high = torch.minimum(first, second)[:, 0], torch.maximum(first, second)[:, 0]
    assert bool(((best >= low - 0.005) & (best <= high + 0.005))[exist].all())
    for solver in ("bracket", "newton", "refine"):
        alpha = solve_alpha(large, small, experts, SolverConfig(solver=solver, high=4.0)).alpha[:, 0]
        assert bool(((alpha >= low - 1e-3) & (alpha <= high + 1e-3))[exist].all()), solver


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_refine_is_never_worse_than_the_grid(difficulty: str, dtype: torch.dtype) -> None:
    inputs = logits(200, 128, 2, difficulty=difficulty, dtype=dtype)
    coarse, fine = solve_alpha(*inputs), solve_alpha(*inputs, SolverConfig(solver="refine"))
    assert bool((fine.loss <= coarse.loss * (1 + 1e-6)).all())
    assert float(fine.loss.mean()) < float(coarse.loss.mean())


def test_bracket_is_as_good_as_a_dense_grid() -> None:
    for difficulty in ("easy", "mid", "hard"):
        inputs = logits(100, 64, difficulty=difficulty)
        dense = solve_alpha(*inputs, SolverConfig(step=2 / 4000)).loss
        found = solve_alpha(*inputs, SolverConfig(solver="bracket")).loss
        assert bool((found <= dense + 1e-4 * (1 + dense)).all()), difficulty


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_newton_is_never_worse_than_the_grid(difficulty: str, dtype: torch.dtype) -> None:
    inputs = logits(2000, 512, difficulty=difficulty, dtype=dtype)
    coarse, found = solve_alpha(*inputs), solve_alpha(*inputs, SolverConfig(solver="newton"))
    exact = inputs[0].double(), inputs[1].double(), [inputs[2][0].double()]
    # By brute force: neither solver's own word is taken for it.
    losses = [loss_of(*exact, result.alpha.double()) for result in (coarse, found)]
    goal = (found.target_forward**2 + found.target_backward**2)[:, 0].double()
    # In float32 a divergence is known to a millionth, and alpha to the tolerance.
    rounding = 1e-9 if dtype == torch.float64 else 1e-8
    assert int((losses[1] > losses[0] * (1 + 1e-5) + rounding * (1 + goal)).sum()) == 0
    # What the solver says it reached comes from its expansion.
    torch.testing.assert_close(found.loss.double(), losses[1], rtol=0.1, atol=1e-4)
    assert float(((found.loss - losses[1]).abs() / (losses[1] + 1e-4 * (1 + goal))).median()) < 1e-4


@pytest.mark.parametrize("count", [2, 4])
def test_newton_is_never_worse_than_the_grid_for_several_experts(count: int) -> None:
    for target in TARGETS:
        inputs = logits(300, 256, count, difficulty="hard", dtype=torch.float32)
        coarse = solve_alpha(*inputs, SolverConfig(target=target))
        found = solve_alpha(*inputs, SolverConfig(solver="newton", target=target))
        assert bool((found.loss <= coarse.loss * (1 + 1e-5) + 1e-6).all())


def test_newton_looks_at_the_vocabulary_little_more_than_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    module = importlib.import_module("intarsia.fusion.solvers.newton")
    looks = 0
    real = module.look

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal looks
        looks += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "look", counted)
    large, small, experts = logits(60, 512, dtype=torch.float32)
    for row in range(60):
        solve_alpha(large[row], small[row], [experts[0][row]], SolverConfig(solver="newton"))
    assert looks / 60 <= 1.35


def test_newton_reaches_the_minimum_from_a_start_that_is_far_off() -> None:
    # One token has nearly all of the large model's mass, and the shift is on others: the expansion at the start says
    # little about where the minimum is.
    large = torch.zeros(1, 50, dtype=torch.float64)
    large[0, 0] = 12.0
    small = torch.zeros(1, 50, dtype=torch.float64)
    expert = small.clone()
    expert[0, 1] = 8.0
    for high in (2.0, 6.0):
        dense = solve_alpha(large, small, [expert], SolverConfig(high=high, step=high / 4000))
        found = solve_alpha(large, small, [expert], SolverConfig(solver="newton", high=high))
        assert float(found.loss[0]) <= float(dense.loss[0]) * (1 + 1e-4)


# Identity 8: saturation


@pytest.mark.parametrize("solver", [*SEARCHING, "static"])
def test_a_target_out_of_reach_is_flagged(solver: str) -> None:
    # The large model already believes token 0, where the expert goes: KL(P_alpha || P) cannot exceed -log P(0).
    large = torch.tensor([[5.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    small = torch.tensor([[-4.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    expert = torch.tensor([[4.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    limit = -large[0].log_softmax(-1)[0]
    result = solve_alpha(large, small, [expert], SolverConfig(solver=solver))
    assert float(result.target_forward[0, 0]) > float(limit) > float(result.target_forward[1, 0]) / 100
    assert result.saturated.tolist() == [True, False]
    assert bool(((result.alpha >= 0) & (result.alpha <= 2)).all())
    assert bool(result.loss.isfinite().all())


def test_a_bound_that_is_met_is_flagged() -> None:
    _, small, experts = logits(30, 64)
    # Twice as certain as the small model: more than alpha = 1 is wanted.
    for solver in SEARCHING:
        low = solve_alpha(small, small, experts, SolverConfig(solver=solver, high=0.5, tolerance=1e-6, ridge=0.0))
        assert bool(low.at_bound.all()), solver
        free = solve_alpha(small, small, experts, SolverConfig(solver=solver, high=1.5))
        assert not bool(free.at_bound.any()), solver


def test_a_lowest_alpha_above_zero_is_a_bound_of_the_active_expert_only() -> None:
    _, small, experts = logits(30, 64)
    quiet = small + 0.01 * (experts[0] - small)
    for solver in ONE_AT_A_TIME:
        result = solve_alpha(small, small, [experts[0], quiet], SolverConfig(solver=solver, low=0.1, target="max"))
        assert not bool(result.at_bound.any()), solver
        above = solve_alpha(small, small, experts, SolverConfig(solver=solver, low=1.2, high=3.0))
        assert bool(above.at_bound.all()), solver
        torch.testing.assert_close(above.alpha, torch.full_like(above.alpha, 1.2))


# Identities 9, 10, 11: several experts


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", ONE_AT_A_TIME)
def test_identical_experts_are_one_expert(solver: str, target: str) -> None:
    for dtype in (torch.float64, torch.float32):
        large, small, (expert,) = logits(50, 64, dtype=dtype)
        config = SolverConfig(solver=solver, target=target)
        one, three = solve_alpha(large, small, [expert], config), solve_alpha(large, small, [expert] * 3, config)
        torch.testing.assert_close(three.alpha[:, 0], one.alpha[:, 0], rtol=0, atol=1e-4)
        assert float(three.alpha[:, 1:].abs().max()) == 0
        assert int(three.expert.max()) == 0
        factor = 3 if target == "centroid" else 1
        torch.testing.assert_close(three.loss, factor * one.loss, rtol=1e-3, atol=1e-6)


def test_the_papers_sum_over_experts_asks_for_the_mean_of_their_pairs() -> None:
    large, small, experts = logits(30, 64, 4, difficulty="hard")
    shifts = measure_shifts(large, small, experts)
    forward, backward, factor, constant = choose_target(shifts, "centroid")
    for value in (0.0, 0.7, 2.0):
        alpha = torch.zeros(30, 4, dtype=torch.float64)
        alpha[:, 2] = value
        moved = tilted(large, small, experts, alpha)
        distance = (kl(moved, large) - forward[:, 0]) ** 2 + (kl(large, moved) - backward[:, 0]) ** 2
        torch.testing.assert_close(
            factor * distance + constant, loss_of(large, small, experts, alpha), rtol=1e-9, atol=0
        )


def test_joint_mostly_finds_the_best_of_all_pairs_of_alphas() -> None:
    large, small, experts = logits(12, 16, 2)
    result = solve_alpha(large, small, experts, SolverConfig(solver="joint", ridge=0.0, tolerance=1e-6))
    axis = torch.linspace(0, 2, 101, dtype=torch.float64)
    pairs = torch.cartesian_prod(axis, axis)
    met = 0
    for row in range(12):
        scan = [tensor[row].expand(len(pairs), -1) for tensor in (large, small, *experts)]
        least = loss_of(scan[0], scan[1], scan[2:], pairs).min()
        met += float(result.loss[row]) <= float(least) * 1.01 + 1e-9
    # The loss has local minima where one expert is left out, and descent starts with one expert.
    assert met >= 9


def test_joint_meets_the_mean_exactly_where_that_is_possible() -> None:
    _, small, experts = logits(60, 64, difficulty="easy")
    # With one expert three times, and the small base as the large model, every alpha of sum 1 meets the pair.
    result = solve_alpha(small, small, experts[:1] * 3, SolverConfig(solver="joint", ridge=1e-12, tolerance=1e-8))
    assert float(result.loss.max()) < 1e-9


def test_joint_is_never_worse_than_the_best_single_expert() -> None:
    for difficulty in DIFFICULTIES:
        inputs = logits(100, 64, 3, difficulty=difficulty)
        single = solve_alpha(*inputs, SolverConfig(solver="newton"))
        together = solve_alpha(*inputs, SolverConfig(solver="joint", ridge=0.0))
        assert bool((together.loss <= single.loss * (1 + 1e-4) + 1e-8).all()), difficulty


def test_the_ridge_makes_joint_alphas_smaller() -> None:
    inputs = logits(60, 64, 4, difficulty="easy")
    weak = solve_alpha(*inputs, SolverConfig(solver="joint", ridge=1e-6)).alpha
    strong = solve_alpha(*inputs, SolverConfig(solver="joint", ridge=0.1)).alpha
    assert float((strong**2).sum()) < float((weak**2).sum())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", SEARCHING)
def test_an_expert_that_is_its_base_is_never_active(solver: str, target: str) -> None:
    large, small, experts = logits(50, 64, 2)
    result = solve_alpha(large, small, [small, *experts], SolverConfig(solver=solver, target=target))
    assert float(result.alpha[:, 0].abs().max()) == 0
    assert float(result.alpha.sum(-1).min()) > 0


def test_target_max_is_the_pair_of_the_expert_that_moved_farthest() -> None:
    large, small, (loud,) = logits(40, 64, difficulty="hard")
    quiet = small + 0.05 * (loud - small)
    alone = solve_alpha(large, small, [loud], SolverConfig(solver="refine"))
    both = solve_alpha(large, small, [quiet, loud], SolverConfig(solver="refine", target="max", tolerance=1e-4))
    torch.testing.assert_close(both.alpha[:, 1], alone.alpha[:, 0], rtol=0, atol=1e-3)
    centred = solve_alpha(large, small, [quiet, loud], SolverConfig(solver="refine"))
    assert bool((centred.alpha[:, 1] < both.alpha[:, 1]).all())


# Masks


@pytest.mark.parametrize("mask", [float("-inf"), torch.finfo(torch.float32).min])
@pytest.mark.parametrize("solver", [*SEARCHING, "static"])
def test_masked_tokens_take_no_part(solver: str, mask: float) -> None:
    large, small, experts = logits(20, 40, 2, dtype=torch.float32)
    config = SolverConfig(solver=solver, tolerance=1e-6)
    kept = fuse_logits(large[:, :30], small[:, :30], [expert[:, :30] for expert in experts], config)
    for masked_in in ((0,), (1,), (2,), (3,), (0, 1, 2, 3), (1, 3)):
        models = [tensor.clone() for tensor in (large, small, *experts)]
        for index in masked_in:
            models[index][:, 30:] = mask
        masked = fuse_logits(models[0], models[1], models[2:], config)
        torch.testing.assert_close(masked.result.alpha, kept.result.alpha, rtol=0, atol=2e-3)
        torch.testing.assert_close(
            masked.logits[:, :30].log_softmax(-1), kept.logits.log_softmax(-1), rtol=0, atol=1e-2
        )
        # The large model's own logit, up to the constant that all tokens of a row get.
        shift = (masked.logits - models[0])[:, :30] - (kept.logits - large[:, :30])
        assert float((shift - shift.mean(-1, keepdim=True)).abs().max()) < 1e-2
        torch.testing.assert_close(masked.logits[:, 30:], models[0][:, 30:])


def test_masks_that_differ_between_rows_and_models() -> None:
    large, small, experts = logits(2, 10, 1)
    small[0, 3] = float("-inf")
    experts[0][1, 5] = float("-inf")
    fused = fuse_logits(large, small, experts, SolverConfig(solver="bracket"))
    for row, token in ((0, 3), (1, 5)):
        kept = [index for index in range(10) if index != token]
        alone = fuse_logits(large[row, kept], small[row, kept], [experts[0][row, kept]], SolverConfig(solver="bracket"))
        torch.testing.assert_close(fused.result.alpha[row], alone.result.alpha, rtol=0, atol=1e-4)
        assert float(fused.logits[row, token]) == float(large[row, token])


def test_rows_without_a_common_token_are_refused() -> None:
    large, small, experts = logits(3, 4, 1)
    large[2, :2] = float("-inf")
    small[2, 2:] = float("-inf")
    with pytest.raises(InputError, match=r"row 2 .* every token is masked") as error:
        solve_alpha(large, small, experts)
    assert error.value.fix


def test_divergences_are_cut_at_fifty_nats() -> None:
    large, small, _ = logits(2, 4)
    small = torch.zeros_like(small)
    expert = small.clone()
    expert[1, 0] -= 1e4
    result = solve_alpha(large, small, [expert])
    assert result.clipped.tolist() == [False, True]
    assert float(result.target_backward[1, 0]) == 50
    assert bool(result.loss.isfinite().all())


# Types and bad numbers


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    large, small, experts = (value for value in logits(20, 64, 2))
    half = [tensor.to(dtype) for tensor in (large, small, *experts)]
    config = SolverConfig(solver="newton")
    fused = fuse_logits(half[0], half[1], half[2:], config)
    assert fused.logits.dtype == torch.float32
    assert fused.result.alpha.dtype == torch.float32
    exact = fuse_logits(half[0].float(), half[1].float(), [tensor.float() for tensor in half[2:]], config)
    assert torch.equal(fused.logits, exact.logits)


def test_float64_stays_float64() -> None:
    assert solve_alpha(*logits(2, 5)).alpha.dtype == torch.float64


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("index", "name"), [(0, "the large model"), (1, "the small model"), (2, "expert 0"), (3, "expert 1")]
)
def test_nan_names_the_model_and_the_row(index: int, name: str, bad: float) -> None:
    models = [value.clone() for value in (lambda x: (x[0], x[1], *x[2]))(logits(7, 200_000 // 10, 2))]
    models[index][6, 3] = bad
    for prior in (None, torch.full((7, 2), 0.5)):
        with pytest.raises(InputError, match=rf"{name} gave logits that are NaN or infinite, first in row 6") as error:
            solve_alpha(models[0], models[1], models[2:], prior=prior)
        assert error.value.fix


# An approximation: the likeliest tokens only


@pytest.mark.parametrize("solver", ["grid", "newton"])
def test_the_likeliest_tokens_give_nearly_the_same_alpha(solver: str) -> None:
    large, small, experts = logits(50, 4000, 2, dtype=torch.float32, difficulty="hard")
    # Peaked, as language models are.
    large, small, experts = 1.5 * large, 1.5 * small, [1.5 * expert for expert in experts]
    exact = fuse_logits(large, small, experts, SolverConfig(solver=solver))
    for top_m, error in ((200, 0.1), (1500, 0.02)):
        some = fuse_logits(large, small, experts, SolverConfig(solver=solver, top_m=top_m))
        same = exact.result.expert == some.result.expert
        assert float(same.float().mean()) > 0.9
        assert float((exact.result.alpha - some.result.alpha)[same].abs().mean()) < error
        # All tokens are shifted, not the likeliest alone.
        expected = tilted(large, small, experts, some.result.alpha)
        torch.testing.assert_close(some.logits.log_softmax(-1), expected.log_softmax(-1), rtol=0, atol=1e-3)


def test_all_tokens_as_the_likeliest_change_nothing() -> None:
    inputs = logits(10, 50, 2)
    exact, some = fuse_logits(*inputs), fuse_logits(*inputs, SolverConfig(top_m=50))
    torch.testing.assert_close(some.result.alpha, exact.result.alpha)
    torch.testing.assert_close(some.logits.log_softmax(-1), exact.logits.log_softmax(-1))


def test_the_union_of_what_each_model_finds_likely_is_used() -> None:
    # Each model has its own favourite; with the large model's alone there would be nothing to compare.
    large = torch.zeros(1, 6, dtype=torch.float64)
    small, expert = large.clone(), large.clone()
    large[0, 0], small[0, 1], expert[0, 2] = 9.0, 9.0, 9.0
    union = [0, 1, 2]
    some = solve_alpha(large, small, [expert], SolverConfig(top_m=1))
    same = solve_alpha(large[:, union], small[:, union], [expert[:, union]])
    torch.testing.assert_close(some.alpha, same.alpha)
    torch.testing.assert_close(some.target_forward, same.target_forward)


@pytest.mark.parametrize("prior", [None, torch.tensor([0.25, 0.75], dtype=torch.float64)])
def test_masks_and_a_prior_go_with_the_likeliest_tokens(prior: Tensor | None) -> None:
    large, small, experts = logits(4, 300, 2, difficulty="hard")
    small[:, 5] = float("-inf")
    given = None if prior is None else prior.expand(4, 2)
    fused = fuse_logits(large, small, experts, SolverConfig(top_m=40), prior=given)
    keep = [index for index in range(300) if index != 5]
    expected = tilted(
        large[:, keep], small[:, keep], [expert[:, keep] for expert in experts], fused.result.alpha
    ).log_softmax(-1)
    torch.testing.assert_close(fused.logits[:, keep].log_softmax(-1), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(fused.logits[:, 5], large[:, 5])


# Weights of the experts given from outside


@pytest.mark.parametrize("solver", [*SEARCHING, "static"])
def test_a_prior_makes_one_expert_of_all(solver: str) -> None:
    large, small, experts = logits(20, 64, 3)
    prior = torch.rand(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1)
    combined = small + sum(prior[:, t, None] * (expert - small) for t, expert in enumerate(experts))
    config = SolverConfig(solver=solver)
    many = fuse_logits(large, small, experts, config, prior=prior)
    one = fuse_logits(large, small, [combined], config)
    torch.testing.assert_close(many.result.alpha, one.result.alpha * prior)
    torch.testing.assert_close(many.result.forward, one.result.forward)
    torch.testing.assert_close(many.result.loss, one.result.loss)
    torch.testing.assert_close(many.logits, one.logits)
    assert many.result.alpha.shape == many.result.target_forward.shape == (20, 3)
    assert torch.equal(many.result.expert, prior.argmax(-1))


def test_an_expert_of_weight_zero_has_no_influence() -> None:
    large, small, experts = logits(6, 64, 2)
    other = experts[1] * 5
    other[:, 3] = float("-inf")
    prior = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(6, 2)
    alone = fuse_logits(large, small, experts[:1])
    for second in (experts[1], other):
        both = fuse_logits(large, small, [experts[0], second], prior=prior)
        torch.testing.assert_close(both.logits, alone.logits)
        torch.testing.assert_close(both.result.alpha[:, :1], alone.result.alpha)
        assert float(both.result.alpha[:, 1].abs().max()) == 0


def test_a_mask_of_a_weighted_expert_is_kept() -> None:
    large, small, experts = logits(6, 20, 2)
    experts[1][:, 3] = float("-inf")
    small[:, 4] = float("-inf")
    fused = fuse_logits(large, small, experts, prior=torch.full((6, 2), 0.5))
    keep = [index for index in range(20) if index not in (3, 4)]
    rest = fuse_logits(
        large[:, keep], small[:, keep], [expert[:, keep] for expert in experts], prior=torch.full((6, 2), 0.5)
    )
    torch.testing.assert_close(fused.result.alpha, rest.result.alpha)
    torch.testing.assert_close(fused.logits[:, [3, 4]], large[:, [3, 4]])


# Shapes, blocks, memory


@pytest.mark.parametrize("solver", [*SEARCHING, "static"])
def test_many_rows_are_solved_as_one_by_one(solver: str) -> None:
    # Enough for several blocks of rows.
    large, small, experts = logits(40, 20_000, 2, dtype=torch.float32)
    config = SolverConfig(solver=solver)
    together = fuse_logits(large, small, experts, config)
    for row in (0, 7, 12, 13, 14, 39):
        alone = fuse_logits(large[row], small[row], [expert[row] for expert in experts], config)
        torch.testing.assert_close(together.result.alpha[row], alone.result.alpha, rtol=0, atol=1e-3)
        torch.testing.assert_close(together.logits[row], alone.logits, rtol=0, atol=1e-2)


def test_leading_dimensions_are_kept() -> None:
    large, small, experts = logits(6, 9, 2)
    flat = fuse_logits(large, small, experts)
    deep = fuse_logits(large.view(2, 3, 9), small.view(2, 3, 9), [expert.view(2, 3, 9) for expert in experts])
    assert deep.logits.shape == (2, 3, 9)
    for name, value in deep.result._asdict().items():
        assert torch.equal(value.flatten(0, 1), getattr(flat.result, name)), name
    prior = torch.full((2, 3, 2), 0.5)
    single = fuse_logits(large[0], small[0], [expert[0] for expert in experts], prior=prior[0, 0])
    assert single.logits.shape == (9,)
    assert single.result.alpha.shape == (2,)
    assert single.result.loss.shape == ()


def test_no_rows_give_no_results() -> None:
    large, small, experts = logits(0, 9, 2)
    for solver in SEARCHING:
        fused = fuse_logits(large, small, experts, SolverConfig(solver=solver))
        assert fused.logits.shape == (0, 9)
        assert fused.result.alpha.shape == (0, 2)
        assert fused.result.saturated.shape == (0,)


def test_inputs_are_left_as_they_were() -> None:
    for mask in (False, True):
        large, small, experts = logits(4, 30, 2)
        if mask:
            large[:, 3] = small[:, 4] = experts[1][:, 5] = float("-inf")
        before = [tensor.clone() for tensor in (large, small, *experts)]
        for config in (SolverConfig(), SolverConfig(solver="newton"), SolverConfig(top_m=5)):
            fuse_logits(large, small, experts, config, prior=torch.full((4, 2), 0.5))
            fuse_logits(large, small, experts, config)
        for old, new in zip(before, (large, small, *experts), strict=True):
            assert torch.equal(old, new)


class LargestTensor(TorchDispatchMode):
    """Watches how many numbers the largest tensor has that is made while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor):
                self.numbers = max(self.numbers, value.numel())
        return out


@pytest.mark.parametrize("solver", [*SEARCHING, "static"])
def test_memory_does_not_grow_with_the_grid(solver: str) -> None:
    rows, vocabulary, experts = 64, 8000, 2
    inputs = logits(rows, vocabulary, experts, dtype=torch.float32)
    with LargestTensor() as watch:
        fuse_logits(*inputs, SolverConfig(solver=solver, step=0.01))
    # Four powers of each expert's shift are the most that a solver may keep, and of one block of rows only; the
    # fused logits themselves are of all rows.
    assert watch.numbers <= max(rows * vocabulary, 4 * 2**19)


# Bad input


def test_no_expert() -> None:
    large, small, _ = logits(2, 5)
    with pytest.raises(InputError, match="no experts") as error:
        solve_alpha(large, small, [])
    assert error.value.fix


@pytest.mark.parametrize(("index", "name"), [(1, "the small model"), (2, "expert 0"), (3, "expert 1")])
def test_padded_vocabularies_are_to_be_cut(index: int, name: str) -> None:
    large, small, experts = logits(2, 5, 2)
    models = [large, small, *experts]
    models[index] = torch.cat([models[index], torch.zeros(2, 3, dtype=torch.float64)], -1)
    with pytest.raises(InputError, match=rf"{name} has 8 logits a token, but the large model has 5") as error:
        solve_alpha(models[0], models[1], models[2:])
    assert "cut" in str(error.value.fix)


def test_batches_of_different_sizes() -> None:
    large, small, experts = logits(4, 5)
    with pytest.raises(InputError, match=r"expert 0 .*\[3, 5\].*\[4, 5\]"):
        solve_alpha(large, small, [experts[0][:3]])


def test_a_static_alpha_for_another_number_of_experts() -> None:
    large, small, experts = logits(4, 5, 2)
    with pytest.raises(ConfigError, match=r"alpha is \[1.0, 2.0, 3.0\].*each of the 2 experts"):
        solve_alpha(large, small, experts, SolverConfig(solver="static", alpha=[1, 2, 3]))
    with pytest.raises(ConfigError, match=r"alpha is \[1.0, 2.0\].*one number"):
        # A prior makes one expert of all, which has one strength.
        solve_alpha(
            large,
            small,
            experts,
            SolverConfig(solver="static", alpha=[1, 2]),
            prior=torch.full((4, 2), 0.5),
        )


def test_more_likely_tokens_than_there_are() -> None:
    with pytest.raises(ConfigError, match=r"top_m is 6.*at most 5"):
        solve_alpha(*logits(4, 5), SolverConfig(top_m=6))


def test_a_prior_of_another_shape() -> None:
    large, small, experts = logits(4, 5, 2)
    with pytest.raises(InputError, match=r"prior has shape \[4, 3\].*weight per row and expert"):
        solve_alpha(large, small, experts, prior=torch.full((4, 3), 0.3))


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


def test_a_result_is_a_named_tuple_with_documented_fields() -> None:
    assert AlphaResult.__doc__ is not None
    for name in AlphaResult._fields:
        assert f"        {name}:" in AlphaResult.__doc__
    assert math.isclose(float(solve_alpha(*logits(1, 5)).loss), float(solve_alpha(*logits(1, 5)).loss))
