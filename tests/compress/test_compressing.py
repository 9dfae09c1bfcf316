"""Compressing a model in memory and saving it: what is measured, and what is refused."""

import copy
import json
import re
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from intarsia.compress.compressing import (
    check_rows,
    compress,
    compress_model,
    embedding_of,
    save_compressed,
    wrap_embedding,
)
from intarsia.compress.evaluating import matrix_quality
from intarsia.compress.ratio import UnreachableRatioError
from intarsia.compress.registry import METHODS, find_method
from intarsia.compress.rivals import SVDEmbedding
from intarsia.compress.see.methods import SEESettings, half_rank
from intarsia.compress.units import LexiconMismatchWarning
from intarsia.errors import ConfigError, DataError, InputError, ModelError, RunExistsError, UnknownNameError
from intarsia.files import read_json
from intarsia.models import CausalLM


@pytest.fixture
def settings(lexicon):
    return SEESettings(lexicon=lexicon, steps=30, merges=20, min_usage=4, terms=6)


def test_the_original_is_left_as_it_was(original):
    before = {name: tensor.clone() for name, tensor in original.model.state_dict().items()}
    made = compress_model(original, "svd", 3.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.model.state_dict().items())
    assert type(original.model.get_input_embeddings()) is torch.nn.Embedding
    # Layers are shared, not copied, but what is trained is told apart.
    layer = next(name for name, _ in original.model.named_parameters() if "q_proj" in name)
    assert made.model.base.get_parameter(layer).data_ptr() == original.model.get_parameter(layer).data_ptr()
    made.model.requires_grad_(False)
    assert original.model.get_parameter(layer).requires_grad


@pytest.mark.parametrize("method", sorted(METHODS))
def test_statistics_are_those_of_the_embedding(original, settings, method):
    chosen = METHODS[method]
    ratio = None if chosen.fixed_ratio else 2.0
    made = compress_model(original, method, ratio, settings=settings if chosen.fitted else None)
    found, embedding = made.model.config.statistics, made.model.compressed
    matrix = original.model.get_input_embeddings().weight.detach()
    quality = matrix_quality(matrix, embedding.to_dense())
    assert found["centred_error"] == pytest.approx(quality.centred_error)
    assert found["cosine"] == pytest.approx(quality.cosine)
    assert found["bytes"] == embedding.stored_bytes().weights
    assert found["dense_parameters"] == matrix.numel()
    rest = sum(p.numel() for p in original.model.parameters()) - matrix.numel()
    assert found["dense_model_bytes"] == 4 * (matrix.numel() + rest)
    assert found["model_bytes"] == found["bytes"] + 4 * rest
    assert ("units" in found) == (method in ("see", "hybrid", "morphte"))
    if "units" in found:
        assert found["units"] == embedding.units.statistics().to_dict()
    if chosen.trains:
        count = sum(parameter.numel() for parameter in embedding.parameters())
        assert found["parameters"] == count
        assert found["parameter_ratio"] == pytest.approx(matrix.numel() / count)
        assert found["parameter_ratio"] >= 2.0
    else:
        assert found["byte_ratio"] == pytest.approx(matrix.numel() * 4 / found["bytes"])


def test_bytes_on_disk_are_those_reported(original, settings, tmp_path):
    for method in ("svd", "see", "hashed", "int3"):
        chosen = METHODS[method]
        made = compress_model(
            original, method, None if chosen.fixed_ratio else 2.0, settings=settings if chosen.fitted else None
        )
        folder = save_compressed(made, tmp_path / method)
        size = (folder / "model.safetensors").stat().st_size
        reported = made.model.config.statistics["model_bytes"]
        # Names and shapes of tensors stand in front.
        assert reported < size < reported + 8000


def test_fits_are_the_same_for_the_same_seed(original, settings):
    first = compress_model(original, "see", 2.0, settings=settings, seed=3).model.compressed
    again = compress_model(original, "see", 2.0, settings=settings, seed=3).model.compressed
    other = compress_model(original, "see", 2.0, settings=settings, seed=4).model.compressed
    assert torch.equal(first.to_dense(), again.to_dense())
    assert first.table().digest() == again.table().digest() != other.table().digest()


def test_longer_fits_come_nearer(original, settings):
    errors = []
    for steps in (1, 200):
        chosen = SEESettings(**{**vars(settings), "steps": steps})
        made = compress_model(original, "see", 2.0, settings=chosen)
        errors.append(made.model.config.statistics["centred_error"])
    assert errors[1] < errors[0]


def test_a_hybrid_without_products_is_low_rank(original, settings):
    svd = compress_model(original, "svd", 3.0).model.compressed
    chosen = SEESettings(**{**vars(settings), "steps": 1, "learning_rate": 1e-9, "lowrank": svd.rank})
    hybrid = compress_model(original, "hybrid", 1.5, settings=chosen).model.compressed
    with torch.no_grad():
        hybrid.see.weight.zero_()
    ordinary = torch.ones(len(svd.to_dense()), dtype=torch.bool)
    ordinary[hybrid.exact_ids.long()] = False
    matrix = original.model.get_input_embeddings().weight.detach()[ordinary]
    values = torch.linalg.svdvals(matrix - matrix.mean(0))
    error = (hybrid.to_dense()[ordinary] - matrix).square().sum()
    assert float(error) == pytest.approx(float(values[svd.rank :].square().sum()), rel=1e-3)
    exact = hybrid.exact_ids.long()
    assert torch.equal(hybrid.to_dense()[exact], original.model.get_input_embeddings().weight[exact])


def test_half_the_budget_of_a_hybrid_is_low_rank(original, settings):
    made = compress_model(original, "hybrid", 3.0, settings=settings).model.compressed
    vocab, dim = made.num_embeddings, made.embedding_dim
    assert made.see.token_factors.shape[1] == int(vocab * dim / 3 / 2 / (vocab + dim))
    with pytest.raises(UnreachableRatioError, match=r"20 leaves less than rank 1 for a hybrid's half[^§]*1\.85"):
        half_rank(50, 4, 20.0)
    assert half_rank(50, 4, 1.85) == 1


def test_files_beside_the_model_and_existing_folders(original, tmp_path):
    made = compress_model(original, "int4")
    folder = save_compressed(made, tmp_path / "model", files={"run.json": {"seed": 1}})
    assert read_json(folder / "run.json") == {"seed": 1}
    with pytest.raises(RunExistsError, match="already holds a model"):
        save_compressed(made, folder)
    save_compressed(made, folder, overwrite=True)
    assert not (folder / "run.json").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunExistsError):
        save_compressed(made, tmp_path / "file")


def test_loading_by_name(word_llama):
    made = compress(word_llama, "svd", 3.0, device="cpu")
    assert made.model.config.method == "svd"
    assert len(made.tokenizer) == made.model.compressed.num_embeddings


def test_a_table_of_morphemes_splits_its_words(original, settings, tmp_path):
    (tmp_path / "morphemes.tsv").write_text("walks\twalk s\n")
    made = [
        compress_model(original, "see", 1.5, settings=replace(settings, morphemes=table, min_usage=1, steps=1))
        for table in (None, str(tmp_path / "morphemes.tsv"))
    ]
    without, with_table = ([name for name in one.model.compressed.names if name.startswith("piece:")] for one in made)
    assert "piece:walk" not in without
    assert "piece:walk" in with_table
    with pytest.raises(DataError, match="file not found"):
        compress_model(original, "see", 1.5, settings=replace(settings, morphemes="none.tsv"))


def test_padding_that_is_zero_stays_zero(original):
    embedding = original.model.get_input_embeddings()
    embedding.padding_idx = 7
    assert compress_model(original, "svd", 3.0).model.compressed.padding_idx is None, "its row was trained"
    with torch.no_grad():
        embedding.weight[7] = 0
    made = compress_model(original, "svd", 3.0).model.compressed
    assert made.padding_idx == 7
    assert not made.to_dense()[7].any()


# Bad input


def test_unknown_methods_and_ratios(original, word_llama):
    with pytest.raises(UnknownNameError, match=r"unknown compression method 'sdv'.*\n.*did you mean 'svd'"):
        compress_model(original, "sdv")
    for ratio in (1.0, 0.2, float("nan")):
        with pytest.raises(ConfigError, match=r"ratio is .*above 1"):
            compress(word_llama, "svd", ratio)
    with pytest.raises(ConfigError, match=r"ratio is 10, but it must be left out for int4, which always gives 7\.1"):
        compress(word_llama, "int4", 10)
    assert find_method("int4").ratio(7.1) is None


def test_a_ratio_out_of_reach_says_what_is_possible(original, settings):
    with pytest.raises(UnreachableRatioError, match=r"ratio of 100 leaves less than rank 1 of low rank[^§]*most \d+"):
        compress_model(original, "svd", 100.0)
    for ratio in (8.0, 20.0):
        with pytest.raises(UnreachableRatioError) as error:
            compress_model(original, "hybrid", ratio, settings=settings)
        told = float(re.findall(r"a ratio of at most ([\d.]+)", str(error.value))[0])
        compress_model(original, "hybrid", told, settings=settings)
    with pytest.raises(InputError, match=r"a ratio of 50 leaves \d+ vectors for \d+ units") as error:
        compress_model(original, "see", 50.0, settings=settings)
    assert "ask for a ratio of at most" in str(error.value)


def test_a_matrix_that_is_not_all_numbers(original):
    with torch.no_grad():
        original.model.get_input_embeddings().weight[4, 2] = float("nan")
    with pytest.raises(ModelError, match="weights of the embedding matrix are NaN or infinite"):
        compress_model(original, "svd", 3.0)


def test_tokens_without_a_row(original):
    rows = original.model.get_input_embeddings().num_embeddings
    original.tokenizer.add_tokens(["blorb"])
    for method in ("svd", "int4"):
        with pytest.raises(ModelError, match=f"has token 'blorb' with id {rows}, but the embedding matrix has {rows}"):
            compress_model(original, method)
    # More rows than tokens are common.
    assert check_rows({"a": 0, "b": 1}, 8) == 2
    with pytest.raises(ModelError, match="no tokens"):
        check_rows({}, 8)


def test_rows_that_no_token_has(original, settings):
    original.model.resize_token_embeddings(len(original.tokenizer) + 8)
    for method in ("svd", "see", "int8"):
        chosen = METHODS[method]
        made = compress_model(
            original, method, None if chosen.fixed_ratio else 2.0, settings=settings if chosen.fitted else None
        )
        assert made.model.compressed.num_embeddings == len(original.tokenizer) + 8
        assert made.model.config.vocabulary == len(original.tokenizer)


def test_models_that_cannot_be_compressed(original):
    made = compress_model(original, "svd", 3.0)
    with pytest.raises(ModelError, match="compressed already"):
        compress_model(made, "svd", 3.0)
    adapted = get_peft_model(copy.deepcopy(original.model), LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(ModelError, match="merge it into the model first"):
        embedding_of(adapted)

    class Doubling(torch.nn.Embedding):
        def forward(self, ids):
            return 2 * super().forward(ids)

    odd = copy.deepcopy(original.model)
    doubling = Doubling(*odd.get_input_embeddings().weight.shape)
    odd.set_input_embeddings(doubling)
    with pytest.raises(ModelError, match=r"Doubling.* does more than look rows up"):
        embedding_of(odd)
    odd.set_input_embeddings(torch.nn.Linear(2, 2))
    with pytest.raises(ModelError, match="is a Linear, not a table of rows"):
        embedding_of(odd)


def test_an_embedding_of_too_few_tokens(original):
    with pytest.raises(ModelError, match="but the embedding matrix has 5 rows"):
        wrap_embedding(original, "svd", SVDEmbedding(5, 24, 2))


def test_a_lexicon_of_another_language_is_told(original, tmp_path, settings):
    foreign = tmp_path / "foreign.tsv"
    foreign.write_text("lemma\tpos\tsense\ttag_count\tlexname\tsememes\nzvxq\tn\t1\t1\tnoun.animal\tkfj\n")
    # Of fewer words than 200 the language is not judged. Added tokens are exact, so they are made ordinary ones.
    words = [f"w{first}{second}" for first in "abcdefghijklmnopqrstuvwxyz" for second in "abcdefghij"]
    backend = json.loads(original.tokenizer.backend_tokenizer.to_str())
    start = len(backend["model"]["vocab"])
    backend["model"]["vocab"] |= {word: start + place for place, word in enumerate(words)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(backend)))
    original.model.resize_token_embeddings(len(tokenizer))
    chosen = SEESettings(**{**vars(settings), "lexicon": str(foreign), "steps": 1})
    with pytest.warns(LexiconMismatchWarning, match="is it of another language"):
        compress_model(CausalLM(original.model, tokenizer), "see", 1.5, settings=chosen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"terms": 0}, "terms is 0"),
        ({"steps": -1}, "steps is -1"),
        ({"merges": -1}, "merges is -1"),
        ({"terms": 2.5}, "terms is 2.5"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"copies": "al"}, "copies is 'al'"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ConfigError, match=message):
        SEESettings(**change)
