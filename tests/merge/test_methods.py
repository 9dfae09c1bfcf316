"""Identities of the static methods (the numbers are those of the literature's definitions, on tiny tensors)."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from intarsia.errors import ConfigError, DataError, InputError, ModelError, UnknownNameError
from intarsia.merge.checkpoints import FullExpert, StateDict
from intarsia.merge.methods import find_method, list_methods
from intarsia.merge.methods.adamerging import AdaMergingParams, adamerging_coefficients, mean_entropy, predict_with
from intarsia.merge.methods.dare import DareLinearParams, drop_and_rescale
from intarsia.merge.methods.fisher import fisher_diagonal
from intarsia.merge.methods.registry import Place
from intarsia.merge.methods.regmean import gram_matrices
from intarsia.merge.methods.ties import TiesParams, ties_statistics
from intarsia.merge.static import merge_state
from intarsia.merge.task_vectors import TaskVectorBlocks

State = dict[str, torch.Tensor]


def make_state(seed: int, dtype: torch.dtype = torch.float64) -> State:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"layer.weight": (5, 4), "layer.bias": (5,), "norm.weight": (4,), "scale": ()}
    return {key: torch.randn(shape, generator=generator, dtype=dtype) for key, shape in shapes.items()}


@pytest.fixture
def base() -> State:
    return make_state(0)


@pytest.fixture
def experts(base: State) -> dict[str, State]:
    return {
        name: {key: base[key] + 0.1 * value for key, value in make_state(seed).items()}
        for seed, name in enumerate("abc", 1)
    }


def assert_states_equal(one: State, other: State, atol: float = 1e-12) -> None:
    assert one.keys() == other.keys()
    for key in one:
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=atol, msg=lambda text, key=key: f"{key}: {text}")


def mean_state(states: dict[str, State]) -> State:
    keys = next(iter(states.values()))
    return {key: torch.stack([state[key] for state in states.values()]).mean(dim=0) for key in keys}


def test_every_method_names_its_paper_and_has_usable_defaults() -> None:
    assert {method.name for method in list_methods()} == {
        "adamerging",
        "average",
        "dare_linear",
        "dare_ties",
        "fisher",
        "linear",
        "regmean",
        "task_arithmetic",
        "ties",
    }
    for method in list_methods():
        assert "arXiv" in method.paper
        assert method.summary.endswith(".")
        method.make_params({})


def test_average_is_the_mean(base: State, experts: dict[str, State]) -> None:
    assert_states_equal(merge_state(base, experts, "average"), mean_state(experts))


def test_linear_weights_by_name_and_normalises(base: State, experts: dict[str, State]) -> None:
    merged = merge_state(base, experts, "linear", {"weights": {"a": 3.0, "b": 1.0, "c": 0.0}})
    expected = {key: 0.75 * experts["a"][key] + 0.25 * experts["b"][key] for key in base}
    assert_states_equal(merged, expected)


def test_task_arithmetic_at_one_over_t_is_the_average_and_at_zero_the_base(
    base: State, experts: dict[str, State]
) -> None:
    assert_states_equal(merge_state(base, experts, "task_arithmetic", {"weight": 1 / 3}), mean_state(experts))
    assert_states_equal(merge_state(base, experts, "task_arithmetic", {"weight": 0.0}), base, atol=0)


def test_residuals_of_the_average_sum_to_zero(base: State, experts: dict[str, State]) -> None:
    shared = merge_state(base, experts, "task_arithmetic", {"weight": 1 / 3})
    for key in base:
        residuals = sum(state[key] - shared[key] for state in experts.values())
        torch.testing.assert_close(residuals, torch.zeros_like(base[key]), rtol=0, atol=1e-12)


def test_an_unchanged_expert_still_has_a_residual(base: State, experts: dict[str, State]) -> None:
    shared = merge_state(base, {"a": base, "b": experts["b"]}, "task_arithmetic", {"weight": 0.3})
    for key in base:
        expected = -0.3 * (experts["b"][key] - base[key])
        torch.testing.assert_close(base[key] - shared[key], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["average", "linear", "task_arithmetic", "ties", "dare_linear", "dare_ties"])
def test_the_order_of_experts_does_not_matter(method: str, base: State, experts: dict[str, State]) -> None:
    merged = merge_state(base, experts, method)
    for order in itertools.permutations(experts):
        assert_states_equal(merge_state(base, {name: experts[name] for name in order}, method), merged, atol=0)


def test_ties_of_one_model_kept_whole_is_that_model(base: State, experts: dict[str, State]) -> None:
    merged = merge_state(base, {"a": experts["a"]}, "ties", {"density": 1.0, "weight": 1.0})
    assert_states_equal(merged, experts["a"])


@pytest.mark.parametrize("trim", ["global", "tensor"])
def test_ties_leaves_disjoint_task_vectors_unchanged(trim: str) -> None:
    base = {"w": torch.zeros(6, dtype=torch.float64)}
    first = torch.tensor([1.0, -2.0, 0.0, 0.0, 3.0, 0.0], dtype=torch.float64)
    second = torch.tensor([0.0, 0.0, -4.0, 5.0, 0.0, 6.0], dtype=torch.float64)
    merged = merge_state(base, {"a": {"w": first}, "b": {"w": second}}, "ties", {"density": 0.5, "trim": trim})
    assert torch.equal(merged["w"], first + second)


def test_ties_elects_the_sign_of_the_larger_sum_and_averages_those_that_agree() -> None:
    base = {"w": torch.zeros(3)}
    experts = {
        "a": {"w": torch.tensor([1.0, 1.0, 2.0])},
        "b": {"w": torch.tensor([2.0, -3.0, 0.0])},
        "c": {"w": torch.tensor([-2.0, -1.0, 4.0])},
    }
    merged = merge_state(base, experts, "ties", {"density": 1.0, "weight": 0.5})
    assert merged["w"].tolist() == pytest.approx([0.5 * 1.5, 0.5 * -2.0, 0.5 * 3.0])


@pytest.mark.parametrize("majority", [1.0, -1.0])
def test_ties_resolves_a_cancelled_sum_to_the_overall_majority_sign(majority: float) -> None:
    base = {"u": torch.zeros(1), "v": torch.zeros(3)}
    experts = {
        "a": {"u": torch.tensor([2.0]), "v": majority * torch.ones(3)},
        "b": {"u": torch.tensor([-2.0]), "v": majority * torch.ones(3)},
    }
    merged = merge_state(base, experts, "ties", {"density": 1.0})
    assert merged["u"].item() == 2.0 * majority


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [0.1, 0.3, 0.777, 1e-9])
def test_ties_threshold_is_the_exact_kth_magnitude_of_the_whole_model(dtype: torch.dtype, density: float) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = {"a": (700, 900), "b": (31,), "c": (3, 5, 7), "d": ()}
    base = {key: torch.zeros(shape, dtype=dtype) for key, shape in shapes.items()}
    expert = {key: torch.randn(shape, generator=generator, dtype=dtype) * 1e-3 for key, shape in shapes.items()}
    expert["b"][:] = expert["a"][0, 0]  # ties
    stream = stream_of(base, {"e": expert}, density=density)
    flat = torch.cat([value.flatten() for value in expert.values()]).abs()
    k = max(1, int(density * flat.numel()))
    expected = flat.kthvalue(flat.numel() - k + 1).values.item()
    assert ties_statistics(stream, TiesParams(density=density)).threshold("e", "a") == expected


def test_ties_threshold_per_tensor_is_that_tensors_own() -> None:
    generator = torch.Generator().manual_seed(1)
    base = {"a": torch.zeros(50, 40), "b": torch.zeros(30)}
    expert = {"a": torch.randn(50, 40, generator=generator), "b": 100 * torch.randn(30, generator=generator)}
    params = TiesParams(density=0.2, trim="tensor")
    statistics = ties_statistics(stream_of(base, {"e": expert}), params)
    for key, value in expert.items():
        expected = value.flatten().abs().topk(int(0.2 * value.numel())).values[-1].item()
        assert statistics.threshold("e", key) == expected


def test_ties_threshold_of_a_mostly_unchanged_model_keeps_what_changed() -> None:
    base = {"w": torch.zeros(100)}
    expert = {"w": torch.zeros(100)}
    expert["w"][:3] = torch.tensor([1.0, -2.0, 3.0])
    merged = merge_state(base, {"e": expert}, "ties", {"density": 0.5})
    assert torch.equal(merged["w"], expert["w"])


def stream_of(base: State, experts: dict[str, State], **params: float) -> TaskVectorBlocks:
    weights = StateDict(base)
    opened = {name: FullExpert(StateDict(state), weights) for name, state in experts.items()}
    return TaskVectorBlocks(weights, opened, find_method("ties"), TiesParams(**params), threads=2)


def test_dare_keeps_the_expectation_and_drops_the_given_share() -> None:
    vector = torch.randn(40, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = torch.stack(
        [
            drop_and_rescale({"e": vector}, place=Place("w", 0), params=DareLinearParams(drop=0.7, seed=seed))["e"]
            for seed in range(400)
        ]
    )
    kept = draws != 0
    assert kept.double().mean().item() == pytest.approx(0.3, abs=0.005)
    ratios = (draws / vector)[kept]
    assert ratios.min().item() == pytest.approx(1 / 0.3)
    assert ratios.max().item() == pytest.approx(1 / 0.3)
    # The deviation of a mean of 400 draws is sqrt(p / (1 - p) / 400) = 0.076 of the value.
    errors = (draws.mean(dim=0) - vector) / vector
    assert errors.mean().item() == pytest.approx(0, abs=0.01)
    assert errors.std().item() == pytest.approx(0.076, rel=0.1)


def test_dare_draws_differ_between_experts_tensors_and_seeds() -> None:
    vector = torch.ones(1000)
    params = DareLinearParams(drop=0.5)

    def mask(expert: str = "e", key: str = "w", row: int = 0, seed: int = 0) -> torch.Tensor:
        seeded = DareLinearParams(drop=params.drop, seed=seed)
        return drop_and_rescale({expert: vector}, place=Place(key, row), params=seeded)[expert]

    assert torch.equal(mask(), mask())
    for other in (mask(expert="f"), mask(key="v"), mask(row=7), mask(seed=1)):
        assert not torch.equal(mask(), other)


def test_dare_without_dropping_is_task_arithmetic_and_ties(base: State, experts: dict[str, State]) -> None:
    linear = merge_state(base, experts, "dare_linear", {"drop": 0.0, "weight": 0.4})
    assert_states_equal(linear, merge_state(base, experts, "task_arithmetic", {"weight": 0.4}))
    ties = merge_state(base, experts, "dare_ties", {"drop": 0.0, "weight": 0.4, "density": 0.5})
    assert_states_equal(ties, merge_state(base, experts, "ties", {"weight": 0.4, "density": 0.5}))


def test_dare_ties_trims_what_was_dropped_out_already(base: State) -> None:
    expert = {key: value + 1 for key, value in base.items()}
    merged = merge_state(base, {"a": expert}, "dare_ties", {"drop": 0.5, "density": 1.0, "weight": 1.0})
    changes = torch.cat([(merged[key] - base[key]).flatten() for key in base])
    assert set(changes.round(decimals=9).unique().tolist()) == {0.0, 2.0}


def test_fisher_with_equal_information_is_the_average(base: State, experts: dict[str, State]) -> None:
    information = {key: torch.rand_like(value) for key, value in base.items()}
    merged = merge_state(base, experts, "fisher", statistics=dict.fromkeys(experts, information))
    assert_states_equal(merged, mean_state(experts))


def test_fisher_weighs_by_information(base: State, experts: dict[str, State]) -> None:
    two = {name: experts[name] for name in "ab"}
    statistics = {
        "a": {key: torch.full_like(value, 3.0) for key, value in base.items()},
        "b": {key: torch.ones_like(value) for key, value in base.items()},
    }
    merged = merge_state(base, two, "fisher", statistics=statistics)
    assert_states_equal(merged, {key: (3 * two["a"][key] + two["b"][key]) / 4 for key in base})


def test_fisher_floor_averages_weights_nothing_depends_on(base: State, experts: dict[str, State]) -> None:
    zeros = {key: torch.zeros_like(value) for key, value in base.items()}
    merged = merge_state(base, experts, "fisher", statistics=dict.fromkeys(experts, zeros))
    assert_states_equal(merged, mean_state(experts))


class Classifier(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(4, 3, dtype=torch.float64)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None, **_: torch.Tensor) -> SimpleNamespace:
        logits = self.layer(x)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SimpleNamespace(logits=logits, loss=loss)


def test_fisher_diagonal_is_the_mean_squared_gradient_of_softmax_regression() -> None:
    model = Classifier(0)
    x = torch.randn(6, 4, dtype=torch.float64)
    labels = torch.randint(0, 3, (6,))
    found = fisher_diagonal(model, [{"x": x[:4], "labels": labels[:4]}, {"x": x[4:], "labels": labels[4:]}])
    # d(-log p_y)/dW = (p - onehot(y)) x^T, so the squares factor.
    errors = (model.layer(x).softmax(dim=-1) - nn.functional.one_hot(labels, 3)).detach()
    torch.testing.assert_close(found["layer.weight"], (errors**2).T @ x**2 / 6)
    torch.testing.assert_close(found["layer.bias"], (errors**2).mean(dim=0))


def test_regmean_with_equal_grams_is_the_average(base: State, experts: dict[str, State]) -> None:
    x = torch.randn(20, 4, dtype=torch.float64)
    statistics = {name: {"layer.weight": x.T @ x} for name in experts}
    assert_states_equal(merge_state(base, experts, "regmean", statistics=statistics), mean_state(experts), atol=1e-9)


def test_regmean_solves_the_least_squares_problem(base: State, experts: dict[str, State]) -> None:
    inputs = {name: torch.randn(30, 4, dtype=torch.float64) for name in experts}
    statistics = {name: {"layer.weight": x.T @ x} for name, x in inputs.items()}
    merged = merge_state(base, experts, "regmean", {"off_diagonal": 1.0}, statistics=statistics)
    x = torch.cat([inputs[name] for name in experts])
    y = torch.cat([inputs[name] @ experts[name]["layer.weight"].T for name in experts])
    expected = torch.linalg.lstsq(x, y).solution.T
    torch.testing.assert_close(merged["layer.weight"], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(merged["layer.bias"], mean_state(experts)["layer.bias"])


def test_regmean_averages_inputs_that_never_occur(base: State, experts: dict[str, State]) -> None:
    x = torch.randn(30, 4, dtype=torch.float64)
    x[:, 2] = 0
    statistics = {name: {"layer.weight": (i + 1) * x.T @ x} for i, name in enumerate(experts)}
    merged = merge_state(base, experts, "regmean", statistics=statistics)
    torch.testing.assert_close(merged["layer.weight"][:, 2], mean_state(experts)["layer.weight"][:, 2])


def test_gram_matrices_skip_padding() -> None:
    class Tokens(Classifier):
        def forward(self, x: torch.Tensor, **_: torch.Tensor) -> SimpleNamespace:
            return super().forward(x)

    x = torch.randn(2, 3, 4, dtype=torch.float64)
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    found = gram_matrices(Tokens(0), [{"x": x, "attention_mask": mask}])
    tokens = x[mask.bool()]
    torch.testing.assert_close(found["layer.weight"], tokens.T @ tokens / 2)


def test_adamerging_uses_its_coefficients_by_name(base: State, experts: dict[str, State]) -> None:
    coefficients = {name: {key: torch.tensor(0.1 * (i + 1)) for key in base} for i, name in enumerate(experts)}
    merged = merge_state(base, experts, "adamerging", statistics=coefficients)
    expected = {
        key: base[key] + sum(0.1 * (i + 1) * (experts[name][key] - base[key]) for i, name in enumerate(experts))
        for key in base
    }
    assert_states_equal(merged, expected, atol=1e-7)


@pytest.mark.parametrize("granularity", ["layer", "task"])
def test_adamerging_prefers_the_expert_that_is_sure(granularity: str) -> None:
    model = Classifier(0).requires_grad_(False)
    base = {"layer.weight": torch.zeros(3, 4).double(), "layer.bias": torch.tensor([0.5, 0, 0]).double()}
    sure = {"layer.weight": torch.zeros_like(base["layer.weight"]), "layer.bias": torch.tensor([4.0, 0, 0]).double()}
    unsure = {"layer.weight": torch.zeros_like(base["layer.weight"]), "layer.bias": torch.tensor([-4.0, 0, 0]).double()}
    batches = {"task": [{"x": torch.randn(8, 4, dtype=torch.float64)}]}
    config = AdaMergingParams(granularity=granularity, learning_rate=0.05, steps=60)
    found = adamerging_coefficients(predict_with(model), base, {"sure": sure, "unsure": unsure}, batches, config)
    assert found["sure"]["layer.bias"] > 0.9
    assert found["unsure"]["layer.bias"] < 0.05
    if granularity == "task":
        assert found["sure"]["layer.weight"] == found["sure"]["layer.bias"]
    else:
        assert found["sure"]["layer.weight"].item() == pytest.approx(0.3)  # no gradient: it changes nothing


def test_entropy_of_uniform_and_certain_predictions() -> None:
    assert mean_entropy(torch.zeros(2, 8)).item() == pytest.approx(torch.tensor(8.0).log().item())
    assert mean_entropy(torch.tensor([[1000.0, 0.0]])).item() == pytest.approx(0)


def test_settings_are_read_from_text() -> None:
    params = find_method("dare_ties").make_params({"density": "0.1", "seed": "3", "trim": "tensor"})
    assert (params.density, params.seed, params.trim) == (0.1, 3, "tensor")
    assert find_method("linear").make_params({"weights.a": "0.5"}).weights == {"a": 0.5}


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        ("ties", {"density": "much"}, "density is 'much', but it must be a number"),
        ("ties", {"density": 0.0}, "density is 0.0"),
        ("ties", {"density": 1.5}, "density is 1.5"),
        ("ties", {"density": float("nan")}, "density is nan"),
        ("ties", {"trim": "both"}, "trim is 'both', but it must be 'global' or 'tensor'"),
        ("task_arithmetic", {"weight": float("nan")}, "weight is nan"),
        ("dare_linear", {"drop": 1.0}, "drop is 1.0"),
        ("dare_linear", {"seed": "x"}, "seed is 'x', but it must be a whole number"),
        ("regmean", {"off_diagonal": 2}, "off_diagonal is 2"),
        ("fisher", {"floor": 0.0}, "floor is 0.0"),
        ("linear", {"weights": "1"}, "weights"),
        ("linear", {"weights": {"a": float("inf")}}, "weights.a is inf"),
    ],
)
def test_a_setting_out_of_range_is_named(method: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        find_method(method).make_params(values)
    assert message in str(error.value)


def test_unknown_names_suggest_near_ones(base: State, experts: dict[str, State]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ties'"):
        find_method("tiez")
    with pytest.raises(UnknownNameError, match="did you mean 'density'"):
        find_method("ties").make_params({"densty": 0.3})
    with pytest.raises(UnknownNameError, match="unknown expert 'aa'"):
        merge_state(base, experts, "linear", {"weights": {"aa": 1.0}})


def test_weights_that_sum_to_zero_are_refused(base: State, experts: dict[str, State]) -> None:
    with pytest.raises(ConfigError, match="weights"):
        merge_state(base, experts, "linear", {"weights": {"a": 1.0, "b": -1.0, "c": 0.0}})


def test_a_method_that_needs_data_says_whose(base: State, experts: dict[str, State]) -> None:
    with pytest.raises(InputError, match="'fisher' needs statistics of expert 'a'"):
        merge_state(base, experts, "fisher")
    partial = {name: {"layer.weight": torch.ones(5, 4)} for name in "ab"} | {"c": {}}
    with pytest.raises(ModelError, match=r"no statistics for tensor 'layer.weight'(.|\n)*expert 'c'"):
        merge_state(base, experts, "fisher", statistics=partial)
    with pytest.raises(ModelError, match="NaN"):
        merge_state(
            base, {"a": experts["a"]}, "fisher", statistics={"a": {"layer.weight": torch.full((5, 4), torch.nan)}}
        )
    with pytest.raises(ModelError, match="no coefficients"):
        merge_state(base, {"a": experts["a"]}, "adamerging", statistics={"a": {}})


def test_statistics_of_no_data_are_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        fisher_diagonal(Classifier(0), [])
    with pytest.raises(DataError, match="no rows"):
        gram_matrices(Classifier(0), [])
    with pytest.raises(DataError, match="'news' has no unlabelled data"):
        adamerging_coefficients(predict_with(Classifier(0)), {}, {"news": {}}, {"news": []})


def test_no_experts_are_refused(base: State) -> None:
    with pytest.raises(InputError, match="no expert"):
        merge_state(base, {}, "average")
