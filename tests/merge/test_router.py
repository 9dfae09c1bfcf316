"""The router: training, routing rules, pooling."""

import pytest
import torch
from torch import Tensor

from intarsia.errors import ConfigError, DataError, InputError
from intarsia.merge.config import RouterConfig
from intarsia.merge.router import Router, mixture_weights, pool_states, prompt_mask, train_router


def clusters(rows: int = 60, width: int = 16, classes: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(classes, width, generator=generator)
    return {f"task{i}": centres[i] + torch.randn(rows, width, generator=generator) for i in range(classes)}


def test_separable_clusters_are_told_apart_and_probabilities_sum_to_one() -> None:
    states = clusters()
    training = train_router(states)
    assert training.accuracy == 1.0
    assert training.accuracies == {"task0": 1.0, "task1": 1.0, "task2": 1.0}
    for index, rows in enumerate(states.values()):
        probabilities = training.router(rows).softmax(-1)
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(rows)))
        assert (probabilities.argmax(-1) == index).all()


def test_training_repeats_with_its_seed_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = train_router(clusters(20), seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    second, third = train_router(clusters(20), seed=1), train_router(clusters(20), seed=2)
    one, two, other = (training.router.state_dict()["layers.0.weight"] for training in (first, second, third))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_standardising_makes_the_scale_of_states_irrelevant() -> None:
    states = {name: rows * 1e4 + 1e5 for name, rows in clusters().items()}
    assert train_router(states).accuracy == 1.0


def test_the_kept_epoch_is_the_best_on_validation_rows_and_training_rows_do_not_select() -> None:
    # Labels are noise: training accuracy rises, validation accuracy cannot.
    generator = torch.Generator().manual_seed(0)
    states = {name: torch.randn(40, 8, generator=generator) for name in "ab"}
    training = train_router(states, RouterConfig(epochs=30, validation=0.5, dropout=0.0, learning_rate=1e-2))
    assert training.accuracy is not None
    assert 0.5 <= training.accuracy < 0.85
    assert 1 <= training.epoch <= 30


def test_one_expert_needs_no_training() -> None:
    training = train_router({"only": torch.randn(3, 4)})
    assert training.accuracy is None
    assert torch.equal(training.router(torch.randn(2, 4)).softmax(-1), torch.ones(2, 1))


def test_classes_of_one_text_train_without_validation() -> None:
    training = train_router({"a": torch.zeros(1, 4), "b": torch.ones(1, 4)}, RouterConfig(epochs=2))
    assert training.accuracy is None
    assert training.router(torch.zeros(3, 4)).isfinite().all()


def test_a_last_batch_of_one_row_is_left_out() -> None:
    # 17 training rows in batches of 2 leave one, which BatchNorm could not normalise.
    states = {"a": torch.randn(11, 4), "b": torch.randn(10, 4)}
    train_router(states, RouterConfig(epochs=1, batch_size=2))


def test_an_expert_without_texts_is_named() -> None:
    with pytest.raises(DataError, match="no router texts for expert 'b'"):
        train_router({"a": torch.ones(4, 2), "b": torch.ones(0, 2)})
    with pytest.raises(InputError, match="at least one expert"):
        train_router({})


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"dropout": 1.0}, {"validation": 0.0}, {"pool": "max"}])
def test_wrong_router_settings_are_named(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        RouterConfig(**setting)  # type: ignore[arg-type]


LOGITS = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 3.0, 0.0]])


def test_soft_hard_and_grouped_mixtures() -> None:
    soft = mixture_weights(LOGITS, "soft")
    torch.testing.assert_close(soft, LOGITS.softmax(-1))
    hard = mixture_weights(LOGITS, "hard")
    assert hard.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]
    grouped = mixture_weights(LOGITS, "grouped")
    torch.testing.assert_close(grouped[:2], soft[:2].mean(0).expand(2, 3))
    torch.testing.assert_close(grouped[2], soft[2])
    torch.testing.assert_close(grouped.sum(-1), torch.ones(3))


def test_unsure_rows_get_the_shared_model() -> None:
    confidence = LOGITS.softmax(-1).max(-1).values
    weights = mixture_weights(LOGITS, "hard", unknown_threshold=float(confidence[1]) + 1e-3)
    assert weights.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_pooling_ignores_padding_on_either_side() -> None:
    states = torch.randn(2, 5, 3)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    mean = pool_states(states, mask, "mean")
    torch.testing.assert_close(mean[0], states[0, 2:].mean(0))
    torch.testing.assert_close(mean[1], states[1, :3].mean(0))
    last = pool_states(states, mask, "last")
    assert torch.equal(last[0], states[0, 4])
    assert torch.equal(last[1], states[1, 2])


def test_without_a_mask_trailing_zeros_and_padding_are_no_part_of_the_prompt() -> None:
    ids = torch.tensor([[5, 0, 6, 7, 7], [5, 6, 0, 0, 0], [5, 9, 9, 9, 0], [0, 0, 0, 0, 0]])
    mask = prompt_mask(ids, None, None, pad_token_id=9)
    assert mask.int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    # What a harness appends to fill a batch changes nothing.
    padded = torch.cat([ids, torch.zeros(4, 3, dtype=torch.long)], dim=1)
    assert torch.equal(prompt_mask(padded, None, None, pad_token_id=9)[:, :5], mask)


def test_a_mask_that_is_not_of_padding_is_refused() -> None:
    with pytest.raises(InputError, match="4 dimensions"):
        prompt_mask(torch.ones(1, 3), None, torch.ones(1, 1, 3, 3), None)  # type: ignore[arg-type]


def test_router_is_the_network_of_the_paper() -> None:
    names = [type(layer).__name__ for layer in Router(8, 3).layers]
    block = ["Linear", "BatchNorm1d", "LeakyReLU", "Dropout"]
    assert names == [*block, *block, "Linear"]
    assert Router(8, 3).layers[0].out_features == 16  # type: ignore[union-attr]
