"""Layers that mix residuals row by row: the factored product equals merged weights."""

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from intarsia.errors import ModelError
from intarsia.merge.layers import (
    Request,
    TwinEmbedding,
    TwinFactorLinear,
    TwinLinear,
    adapt_matrix,
    adapt_vectors,
    serving,
    store_factors,
    store_residuals,
)
from intarsia.merge.residuals import LoraFactors, lora_factor_split, truncate

EXPERTS, RANK = 3, 2
WEIGHTS = torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.6, 0.4, 0.0]], dtype=torch.float64)


def fill(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if name.startswith("residual_"):
            nn.init.normal_(parameter)


def linear(bias: bool = True, inputs: int = 6, outputs: int = 5) -> TwinLinear:
    torch.manual_seed(0)
    module = nn.Linear(inputs, outputs, bias=bias).double()
    adapt_matrix(module, "layer", EXPERTS, RANK, bias=bias, factors=False)
    fill(module)
    assert isinstance(module, TwinLinear)
    return module


def by_row(x: Tensor, forward: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return torch.stack([forward(x[i], WEIGHTS[i]) for i in range(len(x))])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [2, 40])
def test_factored_rows_equal_merged_weights(bias: bool, tokens: int) -> None:
    # 40 tokens a row are more than in * out / (in + out): there merging is what the layer does.
    module, x = linear(bias), torch.randn(4, tokens, 6, dtype=torch.float64)
    request = Request(WEIGHTS)
    with serving(request):
        y = module(x)
    assert module._merging_is_cheaper(x, request) == (tokens == 40)
    expected = by_row(x, lambda row, w: nn.functional.linear(row, *module.merged(w)))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-13)


def test_both_ways_of_computing_agree_when_rows_share_mixtures() -> None:
    module, weights = linear(), WEIGHTS[[0, 1, 1, 0]]
    x = torch.randn(4, 3, 6, dtype=torch.float64)
    with serving(Request(weights)):
        factored = module(x)
        grouped = module._by_groups(x, Request(weights))
        alone = module._by_groups(x[:1], Request(weights[:1]))
    torch.testing.assert_close(factored, grouped, rtol=0, atol=1e-13)
    torch.testing.assert_close(factored[:1], alone, rtol=0, atol=1e-13)


def test_weights_zero_and_no_request_are_the_shared_layer_bit_for_bit() -> None:
    module, x = linear(bias=False), torch.randn(4, 2, 6, dtype=torch.float64)
    shared = nn.functional.linear(x, module.weight)
    assert torch.equal(module(x), shared)
    with serving(Request()):
        assert torch.equal(module(x), shared)
    module.rank = 0
    with serving(Request(WEIGHTS)):
        assert torch.equal(module(x), shared)


def test_rows_may_be_permuted_flattened_and_without_positions() -> None:
    module, x = linear(), torch.randn(4, 3, 6, dtype=torch.float64)
    order = [2, 0, 3, 1]
    with serving(Request(WEIGHTS)):
        y = module(x)
        torch.testing.assert_close(module(x.reshape(12, 6)).view(4, 3, 5), y)
        torch.testing.assert_close(module(x[:, 0]), y[:, 0])
    with serving(Request(WEIGHTS[order])):
        torch.testing.assert_close(module(x[order]), y[order])


def test_states_that_do_not_divide_into_rows_are_refused() -> None:
    with serving(Request(WEIGHTS)), pytest.raises(ModelError, match="mixture of 4 rows was given for 6 token states"):
        linear()(torch.randn(6, 6, dtype=torch.float64))


def test_a_lower_rank_is_the_leading_terms() -> None:
    residuals = [truncate(torch.randn(5, 6, dtype=torch.float64), RANK) for _ in range(EXPERTS)]
    module, x = linear(bias=False), torch.randn(4, 2, 6, dtype=torch.float64)
    assert isinstance(module, TwinLinear)
    store_residuals(module, residuals)
    for rank in (0, 1, 2):
        module.rank = rank
        dense = [(r.u[:, :rank] * r.s[:rank]) @ r.vt[:rank] for r in residuals]
        expected = by_row(
            x, lambda row, w, dense=dense: row @ (module.weight + sum(a * d for a, d in zip(w, dense, strict=True))).mT
        )
        with serving(Request(WEIGHTS)):
            torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def test_factor_layers_mix_factors_one_by_one() -> None:
    updates = [LoraFactors(torch.randn(5, 2).double(), torch.randn(2, 6).double()) for _ in range(EXPERTS)]
    split = lora_factor_split(updates, 0.3, 1)
    module, x = nn.Linear(6, 5).double(), torch.randn(4, 3, 6, dtype=torch.float64)
    plain = copy.deepcopy(module)
    adapt_matrix(module, "layer", EXPERTS, 2, bias=False, factors=True)
    assert isinstance(module, TwinFactorLinear)
    store_factors(module, split)
    with serving(Request(WEIGHTS)):
        y = module(x)
    torch.testing.assert_close(y, by_row(x, lambda row, w: plain(row) + row @ split.merged(w).mT))
    torch.testing.assert_close(y, by_row(x, lambda row, w: nn.functional.linear(row, *module.merged(w))))
    torch.testing.assert_close(module(x), plain(x) + x @ (split.b_shared @ split.a_shared).mT)


def test_embedding_rows_equal_merged_weights() -> None:
    module = nn.Embedding(9, 6).double()
    adapt_matrix(module, "embedding", EXPERTS, RANK, bias=False, factors=False)
    fill(module)
    assert isinstance(module, TwinEmbedding)
    ids = torch.randint(9, (4, 3))
    with serving(Request(WEIGHTS)):
        y = module(ids)
        positions = module(torch.arange(3)[None])
    torch.testing.assert_close(y, by_row(ids, lambda row, w: module.merged(w)[row]))
    assert positions.shape == (4, 3, 6)
    torch.testing.assert_close(positions[0], module.merged(WEIGHTS[0])[:3])


def norms() -> list[nn.Module]:
    plain = nn.LayerNorm(6, bias=False)
    return [nn.LayerNorm(6).double(), plain.double(), nn.RMSNorm(6).double(), LlamaRMSNorm(6).double()]


@pytest.mark.parametrize("index", range(4))
def test_norm_rows_equal_merged_vectors(index: int) -> None:
    module = norms()[index]
    names = [name for name, _ in module.named_parameters()]
    plain = copy.deepcopy(module)
    adapt_vectors(module, EXPERTS, names)
    assert isinstance(module, type(plain))
    fill(module)
    x = torch.randn(4, 2, 3, 6, dtype=torch.float64)
    torch.testing.assert_close(module(x), plain(x))

    def merged(row: Tensor, weights: Tensor) -> Tensor:
        plain.load_state_dict(module.merged(weights))  # type: ignore[operator]
        return plain(row)

    with serving(Request(WEIGHTS)):
        torch.testing.assert_close(module(x), by_row(x, merged), rtol=0, atol=1e-12)


def test_threads_do_not_see_each_others_mixtures() -> None:
    module, x = linear(), torch.randn(1, 3, 6, dtype=torch.float64)
    expected = [nn.functional.linear(x, *module.merged(w)) for w in WEIGHTS]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(50):
            with serving(Request(WEIGHTS[index : index + 1])):
                if not torch.allclose(module(x), expected[index], atol=1e-12):
                    wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(WEIGHTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_gradients_reach_residuals_and_inputs() -> None:
    module, x = linear(), torch.randn(4, 2, 6, dtype=torch.float64, requires_grad=True)
    weights = WEIGHTS.clone().requires_grad_()

    def forward(x: Tensor, weights: Tensor, a: Tensor, b: Tensor) -> Tensor:
        with serving(Request(weights)):
            return torch.func.functional_call(module, {"residual_a": a, "residual_b": b}, (x,))

    assert torch.autograd.gradcheck(forward, (x, weights, module.residual_a, module.residual_b))


class QuantisedLinear(nn.Linear):
    """Stands for the layers of quantisation libraries, which derive from Linear."""


def test_layers_of_other_kinds_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match="module 'q_proj' is a QuantisedLinear; such a module cannot"):
        adapt_matrix(QuantisedLinear(3, 3), "q_proj", 2, 1, bias=False, factors=False)
