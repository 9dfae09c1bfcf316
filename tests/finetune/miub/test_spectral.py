import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.finetune.miub import spectrum, update_singular_values


def matrices(seed, outputs, inputs, rank):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, inputs, generator=generator), torch.randn(outputs, rank, generator=generator)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20), st.integers(1, 24), st.floats(0.01, 8))
def test_equals_the_dense_svd(seed, outputs, inputs, rank, scaling):
    a, b = matrices(seed, outputs, inputs, rank)
    dense = torch.linalg.svdvals(scaling * b.double() @ a.double())
    values = update_singular_values(a, b, scaling)
    count = min(len(dense), len(values))
    assert torch.allclose(values[:count], dense[:count], atol=1e-9 * float(dense[0]))
    facts = spectrum(a, b, scaling)
    energy = dense.square()
    share = dense / dense.sum()
    assert facts.stable_rank == pytest.approx(float(energy.sum() / energy[0]), rel=1e-5)
    assert facts.effective_rank == pytest.approx(float(torch.special.entr(share).sum().exp()), rel=1e-5)
    assert facts.k90 == 1 + int((energy.cumsum(0) < 0.9 * energy.sum()).sum())
    assert 0 < facts.utilization <= 1 + 1e-12
    assert facts.utilization == pytest.approx(facts.stable_rank / rank)


def test_known_spectrum():
    a, b = torch.eye(4, 6), torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0]))
    facts = spectrum(a, b, 2.0)
    assert facts.stable_rank == pytest.approx(28 / 9)
    assert facts.k90 == 3
    shares = [0.3, 0.3, 0.3, 0.1]
    assert facts.effective_rank == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))
    assert spectrum(a, b, -0.5).stable_rank == pytest.approx(28 / 9)


def test_zero_update():
    a, _ = matrices(0, 5, 5, 2)
    assert spectrum(a, torch.zeros(5, 2), 1.0) == (0.0, 0.0, 0.0, 0.0)
