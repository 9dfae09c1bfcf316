"""How the next token of each row is chosen."""

import pytest
import torch

from intarsia.errors import ModelError
from intarsia.serving.sampling import BatchSampler, SamplingSettings, keep_nucleus, sample_tokens, uniform

PROBABILITIES = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2])


def test_uniform_numbers_are_fixed_by_seed_choice_and_step():
    assert uniform(1, 0, 0) == uniform(1, 0, 0)
    numbers = {uniform(seed, choice, step) for seed in range(10) for choice in range(10) for step in range(10)}
    assert len(numbers) == 1000
    assert all(0 <= number < 1 for number in numbers)
    assert abs(sum(numbers) / 1000 - 0.5) < 0.03


def test_each_token_is_drawn_as_often_as_its_probability_says():
    # Inverting the distribution at evenly spaced numbers gives the probabilities exactly.
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    scores = PROBABILITIES.log().expand(1000, -1) + 7
    drawn = sample_tokens(scores, torch.ones(1000), torch.ones(1000), uniforms)
    assert drawn.bincount(minlength=5).tolist() == [100, 400, 50, 250, 200]


def test_temperature_sharpens():
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    scores = PROBABILITIES.log().expand(1000, -1)
    drawn = sample_tokens(scores, torch.full((1000,), 0.5), torch.ones(1000), uniforms)
    squares = PROBABILITIES**2 / (PROBABILITIES**2).sum()
    assert torch.allclose(drawn.bincount(minlength=5) / 1000, squares, atol=2e-3)
    assert (sample_tokens(scores, torch.full((1000,), 1e-30), torch.ones(1000), uniforms) == 1).all()


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.0, {1}), (0.4, {1}), (0.41, {1, 3}), (0.7, {1, 3, 4}), (0.99, {0, 1, 2, 3, 4})]
)
def test_nucleus_is_the_smallest_set_that_reaches_top_p(top_p, kept):
    nucleus = keep_nucleus(PROBABILITIES[None], torch.tensor([top_p]))[0]
    assert set(nucleus.nonzero().flatten().tolist()) == kept
    assert torch.equal(nucleus[nucleus > 0], PROBABILITIES[nucleus > 0])


def test_nucleus_of_a_flat_distribution_over_a_large_vocabulary():
    probabilities = torch.softmax(torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)) * 0.01, dim=-1)
    kept = keep_nucleus(probabilities, torch.tensor([0.1, 0.9]))
    assert kept.sum(dim=-1).tolist() == pytest.approx([0.1, 0.9], abs=1e-3)
    assert kept[1][kept[1] > 0].min() >= probabilities[1][kept[1] == 0].max()


def prompts(rows: int) -> torch.Tensor:
    return torch.zeros(rows, 3, dtype=torch.long)


def test_greedy_rows_keep_their_scores_beside_sampled_ones():
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    rows = [SamplingSettings(5, temperature=0), SamplingSettings(5, seed=1), SamplingSettings(5, temperature=0)]
    out = BatchSampler(rows, 3)(prompts(3), scores)
    assert torch.equal(out[[0, 2]], scores[[0, 2]])
    assert (out[1] > -torch.inf).sum() == 1


def test_a_seeded_row_draws_the_same_in_any_company_and_when_asked_again():
    scores = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    row = SamplingSettings(5, seed=11, top_p=0.9)
    alone = BatchSampler([row], 3)(prompts(1), scores[2:3])[0]
    others = [SamplingSettings(5, seed=seed, temperature=seed / 2) for seed in range(3)]
    sampler = BatchSampler([*others[:2], row, others[2]], 3)
    assert torch.equal(sampler(prompts(4), scores)[2], alone)
    assert torch.equal(sampler(prompts(4), scores)[2], alone)


def test_choices_of_one_seed_differ():
    scores = torch.zeros(8, 1000)
    rows = [SamplingSettings(5, seed=3, choice=choice) for choice in range(8)]
    assert len(set(BatchSampler(rows, 3)(prompts(8), scores).argmax(dim=-1).tolist())) > 4


def test_penalties_count_generated_tokens_only():
    scores = torch.zeros(2, 6)
    rows = [
        SamplingSettings(5, temperature=0, presence_penalty=0.5, frequency_penalty=0.25),
        SamplingSettings(5, temperature=0),
    ]
    ids = torch.tensor([[1, 1, 4, 4, 2], [1, 1, 4, 4, 2]])
    out = BatchSampler(rows, 2)(ids, scores)
    assert out[0].tolist() == [0, 0, -0.75, 0, -1.0, 0]
    assert out[1].tolist() == [0] * 6


def test_reported_probabilities_are_the_models_own():
    scores = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    rows = [SamplingSettings(5, temperature=0), SamplingSettings(5, temperature=0.3, top_p=0.5, logprobs=2)]
    sampler = BatchSampler(rows, 3)
    sampler(prompts(2), scores)
    assert sampler.logprobs(0, 3) is None
    reported = sampler.logprobs(1, 3)
    assert reported is not None
    assert torch.allclose(reported, scores[1].log_softmax(dim=-1))


def test_nan_scores_are_an_error():
    scores = torch.zeros(1, 5)
    scores[0, 2] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        BatchSampler([SamplingSettings(5)], 3)(prompts(1), scores)
