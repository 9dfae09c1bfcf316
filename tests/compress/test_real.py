"""Real weights: SmolLM2-135M-Instruct compressed, its perplexity as the reference has it, loaded again and asked."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from intarsia import models
from intarsia.compress import StagesConfig, compare, compress_model, save_compressed, text_quality, train_stages
from intarsia.compress.texts import read_texts, token_rows
from intarsia.models.answering import answer_prompts

ASSET = "asset:smollm2-135m-instruct"
TEXT = Path(__file__).parents[3] / "shared" / "data" / "wikitext2-clean"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def original():
    known = {model.name: model for model in models.list_models()}
    if not known[ASSET.removeprefix("asset:")].ready:
        pytest.skip(f"{ASSET} is not installed")
    return models.load_causal_lm(ASSET, device="cpu")


@pytest.fixture(scope="module")
def rows(original):
    if not TEXT.is_dir():
        pytest.skip("the shared data set wikitext2-clean is absent")
    return token_rows(original.tokenizer, read_texts(TEXT / "dev.txt.gz"), 128, limit=4)


def test_perplexities_without_training(original, rows):
    found = compare(original, ["int4", "svd"], [2, 10], rows)
    by_name = {(row.method, row.ratio): row.perplexity for row in found.rows}
    assert by_name["original", None] == pytest.approx(34.9, abs=0.1)
    assert by_name["int4", None] == pytest.approx(39.5, abs=0.2)
    assert by_name["svd", 2.0] == pytest.approx(3790, rel=0.02)
    assert by_name["svd", 10.0] == pytest.approx(3630, rel=0.02)
    assert found.verdict.startswith("int4 is the best buy: 15.9 MB for the embedding, 7.1 times less")


def test_a_compressed_model_is_loaded_and_answers(original, tmp_path):
    folder = save_compressed(compress_model(original, "int4"), tmp_path / "int4")
    assert (folder / "model.safetensors").stat().st_size < 0.83 * 4 * sum(
        parameter.numel() for parameter in original.model.parameters()
    )
    plain = AutoModelForCausalLM.from_pretrained(folder)
    answer = answer_prompts(models.CausalLM(plain, original.tokenizer), ["What is the capital of France?"])[0]
    assert "Paris" in answer


def test_two_steps_of_distillation_help(original, rows, tmp_path):
    student = compress_model(original, "svd", 10).model
    before = text_quality(student, rows[:2]).cross_entropy
    config = StagesConfig(state_steps=0, distil_steps=4, batch_size=2, length=64, matched_layers=1)
    texts = read_texts(TEXT / "train.txt.gz")
    train_stages(student, original, texts, config, work=tmp_path)
    assert text_quality(student, rows[:2]).cross_entropy < before
    assert torch.isfinite(student.compressed.to_dense()).all()
