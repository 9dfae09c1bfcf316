"""Compiled passes over the vocabulary against their definitions in float64."""

import numpy as np
import pytest
import torch

from intarsia.fusion import kernels
from intarsia.fusion.kernels import Floats

# Neither is a multiple of a vector or of a piece of the vocabulary.
WIDTHS = (1, 7, 2048, 5001)


def normal(*shape: int, scale: float = 1.0, seed: int = 0) -> Floats:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


@pytest.mark.parametrize("width", WIDTHS)
def test_powers_of_e(width: int) -> None:
    values = np.linspace(-80, 3, width, dtype=np.float32)
    weights = np.empty_like(values)
    kernels.exponentiate(values, np.float32(3), np.empty(width, np.int32), weights)
    np.testing.assert_allclose(weights, np.exp((values - np.float32(3)).astype(np.float64)), rtol=3e-7)


def test_what_is_too_small_for_float32_is_as_good_as_nothing() -> None:
    values = np.array([-np.inf, -1e30, -500, 0], np.float32)
    weights = np.empty_like(values)
    kernels.exponentiate(values, np.float32(0), np.empty(4, np.int32), weights)
    assert weights[3] == 1
    assert float(weights[:3].max()) < 1e-37


@pytest.mark.parametrize("width", WIDTHS)
def test_the_largest(width: int) -> None:
    for offset in (-100, 0, 100):
        values = normal(width, scale=10) + np.float32(offset)
        assert kernels.largest_of(values) == values.max()
    assert kernels.largest_of(np.array([-np.inf, -np.inf], np.float32)) == -np.inf
    assert kernels.largest_of(np.array([-np.inf, -1e-40, -3.0], np.float32)) == np.float32(-1e-40)


@pytest.mark.parametrize("width", [7, 5001])
@pytest.mark.parametrize("rising", [False, True])
def test_moments_of_tilted_rows(width: int, rising: bool) -> None:
    base, shift = normal(5, width, scale=3), normal(5, 2, width, seed=1)
    if rising:
        # Every piece of the vocabulary outweighs those before it, and all of float32's range is passed.
        base += np.linspace(0, 300, width, dtype=np.float32)
    base[:, 2], shift[:, :, 2] = -np.inf, 0
    rows, alpha = np.array([4, 1, 1]), np.array([[0.3, 1.0], [0.0, 2.0], [1.4, 0.7]], np.float32)
    found = kernels.tilted_moments(base, shift, rows, alpha)
    assert found.shape == (3, 2, 5)
    exact = shift[rows].astype(np.float64)
    logits = torch.from_numpy(base[rows].astype(np.float64)[:, None] + alpha[..., None] * exact)
    np.testing.assert_allclose(found[..., 0], logits.logsumexp(-1), rtol=1e-6)
    weights = logits.softmax(-1).numpy()
    for order in range(1, 5):
        np.testing.assert_allclose(found[..., order], (weights * exact**order).sum(-1), rtol=2e-5, atol=2e-5)


def test_shifts_of_two_experts() -> None:
    large, small, tuned = normal(3, 5001, scale=4) + 20, normal(3, 5001, seed=1), normal(3, 2, 5001, seed=2)
    shift = np.empty_like(tuned)
    found = kernels.log_shifts(large, small, tuned, shift)
    p, q, q_t = (torch.from_numpy(values).double().log_softmax(-1) for values in (large, small, tuned))
    ratio = q_t - q[:, None]
    means = [(weights.exp() * ratio).sum(-1) for weights in (q_t, q[:, None], p[:, None])]
    centred = ratio - means[2][..., None]
    np.testing.assert_allclose(shift, centred, atol=5e-6)
    np.testing.assert_allclose(found[:, 0, 0], torch.from_numpy(large).double().logsumexp(-1), rtol=1e-6)
    np.testing.assert_allclose(found[..., 1], means[0], rtol=1e-5)
    np.testing.assert_allclose(found[..., 2], means[1], rtol=1e-5)
    np.testing.assert_allclose(found[..., 3], (q[:, None].exp() * ratio**2).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(found[..., 4], (p[:, None].exp() * centred**2).sum(-1), rtol=1e-5)
