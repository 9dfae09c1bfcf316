"""Linear layers by oneDNN: the same function, gradients and names as torch's own."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from intarsia.models import linear as room
from intarsia.models.linear import OneDNNLinear, linear, use_onednn

pytestmark = pytest.mark.skipif(not room._AVAILABLE, reason="this build of PyTorch has no oneDNN")

INPUTS, OUTPUTS = 640, 512


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts products that oneDNN computes."""
    counted: list[int] = []
    multiply = room._multiply

    def counting(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        counted.append(len(x))
        return multiply(x, weight, bias)

    monkeypatch.setattr(room, "_multiply", counting)
    return counted


def layer(*, bias: bool = True, trained: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(INPUTS, OUTPUTS, bias=bias).requires_grad_(trained)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 5), (1, 1), (40,)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_product(shape: tuple[int, ...], bias: bool, calls: list[int]) -> None:
    plain = layer(bias=bias)
    x = torch.randn(*shape, INPUTS)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, plain.weight, plain.bias), plain(x), rtol=1e-4, atol=1e-5)
    assert len(calls) == 1


def test_inputs_may_be_strided() -> None:
    plain, x = layer(), torch.randn(6, 4, INPUTS)
    view = x.transpose(0, 1)[:, ::2]
    torch.testing.assert_close(linear(view, plain.weight, plain.bias), plain(view), rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_input_through_frozen_weights(calls: list[int]) -> None:
    plain = layer()
    x = torch.randn(2, 5, INPUTS, requires_grad=True)
    goal = torch.randn(2, 5, OUTPUTS)
    (wanted,) = torch.autograd.grad((plain(x) * goal).sum(), x)
    (got,) = torch.autograd.grad((linear(x, plain.weight, plain.bias) * goal).sum(), x)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert len(calls) == 2


def test_weights_that_train_get_their_gradients(calls: list[int]) -> None:
    plain = layer(trained=True)
    ours = copy.deepcopy(plain)
    use_onednn(ours_model := nn.Sequential(ours))
    x = torch.randn(7, INPUTS)
    plain(x).square().sum().backward()
    ours_model(x).square().sum().backward()
    assert plain.weight.grad is not None
    assert ours.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    assert not calls


def test_weights_put_in_for_a_call_get_theirs(calls: list[int]) -> None:
    model = nn.Sequential(layer())
    use_onednn(model)
    weight = torch.randn(OUTPUTS, INPUTS, requires_grad=True)
    functional_call(model, {"0.weight": weight}, (torch.randn(3, INPUTS),)).sum().backward()
    assert weight.grad is not None
    assert not calls


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (torch.randn(2, 8), torch.randn(4, 8)),
        (torch.randn(2, INPUTS, dtype=torch.float64), torch.randn(OUTPUTS, INPUTS, dtype=torch.float64)),
        (torch.randn(0, INPUTS), torch.randn(OUTPUTS, INPUTS)),
    ],
    ids=["small", "float64", "no rows"],
)
def test_the_rest_is_torchs_own(x: torch.Tensor, weight: torch.Tensor, calls: list[int]) -> None:
    assert torch.equal(linear(x, weight, None), nn.functional.linear(x, weight))
    assert not calls


def test_autocast_is_left_to_torch(calls: list[int]) -> None:
    plain = layer()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(torch.randn(2, INPUTS), plain.weight, plain.bias).dtype == torch.bfloat16
    assert not calls


def test_a_changed_weight_counts_at_once() -> None:
    model = nn.Sequential(layer())
    use_onednn(model)
    x = torch.randn(2, INPUTS)
    model(x)
    model[0].weight.data.mul_(2.0)
    torch.testing.assert_close(model(x), nn.functional.linear(x, model[0].weight, model[0].bias), rtol=1e-4, atol=1e-5)


def test_a_model_keeps_names_and_special_layers() -> None:
    class Special(nn.Linear):
        pass

    model = nn.Sequential(layer(), Special(4, 4))
    names = list(model.state_dict())
    use_onednn(model)
    assert list(model.state_dict()) == names
    assert [type(module) for module in model] == [OneDNNLinear, Special]
