"""The errors of every closed form on a real embedding matrix: 49,152 x 576, SmolLM2-135M-Instruct."""

import pytest
import torch

from intarsia import models
from intarsia.compress.evaluating import matrix_quality
from intarsia.compress.registry import METHODS, Job

pytestmark = pytest.mark.slow

ASSET = "asset:smollm2-135m-instruct"

# Method, ratio, rank, raw relative error, centred error.
TABLE = [
    ("svd", 2, 284, 0.406, 0.55),
    ("svd", 3, 189, 0.496, 0.67),
    ("svd", 5, 113, 0.567, 0.76),
    ("svd", 10, 56, 0.621, 0.84),
    ("svd", 20, 28, 0.650, 0.87),
    ("svd", 30, 18, 0.661, 0.89),
    ("kronecker", 10, 263, 0.664, 0.89),
    ("tt", 5, 147, 0.637, 0.86),
    ("tt", 10, 103, 0.681, 0.92),
    ("tt", 20, 73, 0.703, 0.95),
    ("tt", 30, 59, 0.711, 0.96),
    ("int4", None, None, 0.126, 0.17),
    ("int3", None, None, 0.292, 0.39),
]


@pytest.fixture(scope="module")
def matrix():
    known = {model.name: model for model in models.list_models()}
    if not known[ASSET.removeprefix("asset:")].ready:
        pytest.skip(f"{ASSET} is not installed")
    return models.load_causal_lm(ASSET, device="cpu").model.get_input_embeddings().weight.detach()


@pytest.mark.parametrize(("method", "ratio", "rank", "raw", "centred"), TABLE)
def test_errors_on_a_real_matrix(matrix, method, ratio, rank, raw, centred):
    made = METHODS[method].build(Job(matrix, None, ratio))
    assert getattr(made, "rank", None) == rank
    found = matrix_quality(matrix, made.to_dense(), sample=1)
    assert found.relative_error == pytest.approx(raw, abs=0.005)
    assert found.centred_error == pytest.approx(centred, abs=0.0075)
    if ratio is not None:
        assert matrix.numel() / made.parameter_count() >= ratio


def test_the_mean_row_holds_near_half_the_energy(matrix):
    mean = matrix.mean(0).expand_as(matrix)
    found = matrix_quality(matrix, mean, sample=1)
    assert found.relative_error == pytest.approx(0.743, abs=0.005)
    assert found.centred_error == pytest.approx(1.0, abs=1e-3)
    assert float(mean.square().sum() / torch.sum(matrix**2)) == pytest.approx(0.448, abs=0.005)
