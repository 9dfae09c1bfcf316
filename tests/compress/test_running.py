"""The whole job: fit, train, measure, say what it is worth, save; and going on where it stopped."""

import warnings
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from intarsia.compress.adding_tokens import NewWord
from intarsia.compress.compressing import save_compressed
from intarsia.compress.new_words import add_words_to_model
from intarsia.compress.ratio import UnreachableRatioError
from intarsia.compress.registry import METHODS
from intarsia.compress.running import RECORD, RESULT, held_out_part, run_compression
from intarsia.compress.see.methods import SEESettings
from intarsia.compress.stages_config import StagesConfig
from intarsia.compress.texts import token_counts
from intarsia.errors import ConfigError, DataError, InputError, RunExistsError, UnknownNameError
from intarsia.files import read_json
from intarsia.models import load_causal_lm
from intarsia.models.model_card import read_model_card

STAGES = StagesConfig(state_steps=2, distil_steps=2, batch_size=2, length=16)


@pytest.fixture
def settings(lexicon):
    return SEESettings(lexicon=lexicon, steps=5, merges=20, min_usage=4, terms=6)


def test_everything_is_in_the_folder(word_llama, text, tmp_path):
    done = run_compression(
        word_llama,
        tmp_path / "model",
        "svd",
        3.0,
        texts=text,
        held_out=text[:4],
        stages=STAGES,
        held_out_rows=2,
        record={"command": "intarsia compress"},
    )
    assert [row.method for row in done.rows] == ["original", "int4", "svd"]
    assert done.rows[-1].trained
    assert done.rows[-1].fitted_perplexity != done.rows[-1].perplexity
    assert len(done.curve) == 5
    assert done.verdict
    assert read_json(tmp_path / "model" / RECORD) == {"command": "intarsia compress"}
    written = read_json(tmp_path / "model" / RESULT)
    assert written == {name: value for name, value in done.to_dict().items() if name != "output"}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.config.statistics["centred_error"] == done.rows[-1].centred_error, "measured after training"
    card = (tmp_path / "model" / "README.md").read_text()
    assert read_model_card(tmp_path / "model")["library_name"] == "transformers"
    assert f"{written['statistics']['byte_ratio']:.1f} times less" in card
    assert "import intarsia" in card
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing else is left"


def test_a_fit_no_better_than_one_row_for_all_is_told(word_llama, settings, tmp_path):
    options = {"settings": replace(settings, steps=1)}
    worse = run_compression(word_llama, tmp_path / "worse", "see", 4.0, **options)
    assert worse.statistics["centred_error"] >= 1
    assert "no better than the same row for every token" in worse.verdict
    better = run_compression(word_llama, tmp_path / "better", "svd", 2.0)
    assert "no better" not in better.verdict


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_makes_a_model_that_loads(word_llama, method, settings, tmp_path):
    chosen = METHODS[method]
    ratio = None if chosen.fixed_ratio else 2.0
    done = run_compression(word_llama, tmp_path / "model", method, ratio, settings=settings if chosen.fitted else None)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").config.method == method
    assert "times smaller" in done.verdict
    assert ("give --held-out" in done.verdict) == (method != "int4")


def test_a_fit_that_was_made_is_not_made_again(word_llama, text, settings, tmp_path):
    arguments = {"settings": settings, "texts": text, "stages": STAGES}
    seen = []

    class Stop(Exception):
        pass

    class Stage:
        def __init__(self, title, total):
            self.title = title
            seen.append([title, 0])

        def __enter__(self):
            if self.title.startswith("train") and len(seen) < 5:
                raise Stop
            return self.advance

        def __exit__(self, *error):
            return None

        def advance(self, count):
            seen[-1][1] += count

    with pytest.raises(Stop):
        run_compression(word_llama, tmp_path / "model", "see", 2.0, stage=Stage, **arguments)
    assert not (tmp_path / "model").exists()
    assert seen[1:3] == [["compress by see", 5], ["states of the original", 4]]
    seen += [["second", 0]]
    done = run_compression(word_llama, tmp_path / "model", "see", 2.0, stage=Stage, **arguments)
    assert seen[-4:-1] == [["compress by see", 0], ["states of the original", 0], ["train 4 steps", 4]]
    # The same as without the stop.
    whole = run_compression(word_llama, tmp_path / "whole", "see", 2.0, **arguments)
    models = [AutoModelForCausalLM.from_pretrained(result.output) for result in (done, whole)]
    assert torch.equal(models[0].compressed.to_dense(), models[1].compressed.to_dense())


def test_tokens_that_occur_in_the_text_come_nearer_where_they_are_weighted(word_llama, text, settings, tmp_path):
    errors = {}
    for weighting in ("uniform", "sqrt"):
        chosen = replace(settings, steps=60, weighting=weighting)
        done = run_compression(word_llama, tmp_path / weighting, "see", 2.0, settings=chosen, texts=text)
        model = AutoModelForCausalLM.from_pretrained(done.output)
        original = load_causal_lm(word_llama, device="cpu")
        used = token_counts(original.tokenizer, text, len(original.tokenizer)) > 0
        difference = model.compressed.to_dense() - original.model.get_input_embeddings().weight.detach()
        errors[weighting] = [float(difference[chosen].norm()) for chosen in (used, ~used)]
    assert errors["sqrt"][0] < 0.9 * errors["uniform"][0]
    assert errors["sqrt"][1] > errors["uniform"][1]


def test_text_is_held_out_at_its_end():
    texts = [str(number) for number in range(100)]
    train, probe = held_out_part(texts)
    assert train + probe == texts
    assert len(probe) == 5
    assert held_out_part(["a", "b"]) == (["a"], ["b"])
    with pytest.raises(DataError, match="one text cannot be split"):
        held_out_part(["a"])


def test_bad_input_writes_nothing(word_llama, text, tmp_path):
    output = tmp_path / "model"
    with pytest.raises(UnknownNameError, match="unknown compression method"):
        run_compression(word_llama, output, "sdv")
    with pytest.raises(ConfigError, match="above 1"):
        run_compression(word_llama, output, "svd", 0.5)
    with pytest.raises(UnreachableRatioError, match="leaves less than rank 1"):
        run_compression(word_llama, output, "svd", 1000.0)
    with pytest.raises(DataError, match="there is no text to train on"):
        run_compression(word_llama, output, "svd", 3.0, stages=STAGES)
    with pytest.raises(DataError, match=r"there is no text to count tokens in.*\n.*uniform weighting"):
        run_compression(word_llama, output, "hashed", 3.0, settings=SEESettings(weighting="sqrt"))
    with pytest.raises(DataError, match="less than one row"):
        run_compression(word_llama, output, "svd", 3.0, texts=["the"], stages=STAGES)
    assert not output.exists()
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    with pytest.raises(RunExistsError, match="already holds a model or other files"):
        run_compression(word_llama, output, "svd", 3.0)
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_layers_of_gpt2_learn_by_lora(original, text, tmp_path):
    sizes = {"n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 64}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(original.tokenizer), bos_token_id=1, eos_token_id=2, **sizes))
    model.save_pretrained(tmp_path / "gpt2")
    original.tokenizer.save_pretrained(tmp_path / "gpt2")
    stages = replace(STAGES, lora_rank=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*fan_in_fan_out.*")
        run_compression(tmp_path / "gpt2", tmp_path / "model", "svd", 2.0, texts=text, stages=stages)
    trained = load_causal_lm(tmp_path / "model").model.state_dict()
    before = model.state_dict()["transformer.h.0.attn.c_attn.weight"]
    assert not torch.equal(trained["base.transformer.h.0.attn.c_attn.weight"], before)
    long, none = replace(STAGES, length=65), replace(STAGES, length=65, state_steps=0, distil_steps=0)
    for options in ({"texts": text, "stages": long}, {"held_out": text, "stages": none}):
        with pytest.raises(InputError, match=r"rows of 65 tokens are longer than what the model reads, 64"):
            run_compression(tmp_path / "gpt2", tmp_path / "other", "svd", 2.0, **options)


def test_the_card_of_a_model_with_a_new_word_is_of_the_original(word_llama, tmp_path):
    run_compression(word_llama, tmp_path / "model", "svd", 3.0)
    loaded = load_causal_lm(tmp_path / "model")
    add_words_to_model(loaded, [NewWord(word="doggoose", senses=())])
    save_compressed(loaded, tmp_path / "grown", source=tmp_path / "model")
    card = (tmp_path / "grown" / "README.md").read_text()
    assert f"`{word_llama}`" in card
    before, grown = (read_json(tmp_path / name / "config.json") for name in ("model", "grown"))
    assert grown["statistics"]["bytes"] == before["statistics"]["bytes"] + 4 * 24
    assert grown["statistics"]["dense_parameters"] == before["statistics"]["dense_parameters"] + 24
    assert grown["statistics"]["centred_error"] == before["statistics"]["centred_error"]
