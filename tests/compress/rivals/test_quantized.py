"""Few bits: what is packed comes back, and every number is as near as its step allows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.compress.registry import METHODS, embedding_settings, empty_embedding
from intarsia.compress.rivals import QuantizedEmbedding
from intarsia.compress.rivals.quantized import GROUP, pack, unpack
from intarsia.errors import ConfigError, ModelError


@settings(deadline=None)
@given(st.sampled_from([3, 4, 8]), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31))
def test_what_is_packed_comes_back(bits, rows, eights, seed):
    codes = torch.randint(0, 2**bits, (rows, 8 * eights), generator=torch.Generator().manual_seed(seed))
    packed = pack(codes.to(torch.uint8), bits)
    assert packed.shape == (rows, eights * bits)
    assert torch.equal(unpack(packed, bits).long(), codes)


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("dim", [32, 40, 96])
def test_every_number_is_within_half_a_step(bits, dim):
    matrix = torch.randn(50, dim, generator=torch.Generator().manual_seed(bits))
    made = QuantizedEmbedding.from_matrix(matrix, bits=bits)
    steps = torch.nn.functional.pad(matrix, (0, -dim % GROUP)).reshape(50, -1, GROUP).abs().amax(-1)
    steps = (steps / (2 ** (bits - 1) - 1)).repeat_interleave(GROUP, 1)[:, :dim]
    # A scale in float16 is off by up to one part in 2048, the largest code times.
    assert ((made.to_dense() - matrix).abs() <= steps * (0.5 + 2 ** (bits - 1) / 2048) + 1e-7).all()
    ids = torch.tensor([3, 49, 3])
    assert torch.equal(made(ids), made.to_dense()[ids])


@pytest.mark.parametrize("size", [1e-3, 1e-4, 1e-6, 1e-9])
def test_matrices_of_tiny_numbers_are_rounded_as_well_as_float16_scales_allow(size):
    matrix = size * torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    made = QuantizedEmbedding.from_matrix(matrix, bits=4).to_dense()
    # The smallest number of float16 is 6e-8: a scale is off by half of that at most, 7 times.
    steps = matrix.reshape(50, -1, GROUP).abs().amax(-1).repeat_interleave(GROUP, 1) / 7
    assert ((made - matrix).abs() <= steps * (0.5 + 7 / 2048) + 7 * 3e-8).all()


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_bytes_are_what_is_saved(bits):
    made = QuantizedEmbedding.from_matrix(torch.randn(10, 64), bits=bits)
    saved = sum(tensor.numel() * tensor.element_size() for tensor in made.state_dict().values())
    assert made.stored_bytes().weights == saved == 10 * 2 * (4 * bits + 2)
    assert 4 * 640 / saved == pytest.approx(METHODS[f"int{bits}"].fixed_ratio)
    assert made.parameter_count() == 0


def test_zero_rows_stay_zero_and_settings_make_the_same():
    matrix = torch.randn(6, 33)
    matrix[2] = 0
    made = QuantizedEmbedding.from_matrix(matrix, bits=4, padding_idx=4)
    assert not made.to_dense()[2].any()
    assert not made.to_dense()[4].any()
    empty = empty_embedding(embedding_settings(made))
    empty.load_state_dict(made.state_dict())
    assert torch.equal(empty.to_dense(), made.to_dense())


def test_casting_a_model_leaves_codes_and_scales_alone():
    made = QuantizedEmbedding.from_matrix(torch.randn(6, 32), bits=4)
    before = made.to_dense()
    assert torch.equal(made.to(torch.bfloat16).to_dense(), before)


def test_logits_are_products_with_the_rows():
    made = QuantizedEmbedding.from_matrix(torch.randn(70, 32), bits=3)
    hidden = torch.randn(2, 32)
    assert torch.allclose(made.logits(hidden, chunk=16), hidden @ made.to_dense().T, atol=1e-5)


def test_bad_input():
    with pytest.raises(ConfigError, match="bits is 5, but it must be 3 or 4 or 8"):
        QuantizedEmbedding(4, 32, 5)
    matrix = torch.zeros(4, 32)
    matrix[0, 0] = float("nan")
    with pytest.raises(ModelError, match="NaN"):
        QuantizedEmbedding.from_matrix(matrix, bits=4)
