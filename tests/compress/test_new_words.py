"""Words a compressed model's vocabulary never had."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from intarsia.compress.adding_tokens import NewWord
from intarsia.compress.compressing import compress_model, save_compressed
from intarsia.compress.new_words import add_words_to_model
from intarsia.compress.see_methods import SEESettings
from intarsia.compress.units import Lexicon
from intarsia.errors import InputError, ModelError, UnknownNameError


@pytest.fixture(params=["see", "hybrid", "morphte"])
def compressed(request, original, lexicon):
    settings = SEESettings(lexicon=lexicon, steps=12, merges=20, min_usage=4, terms=6)
    return compress_model(original, request.param, 1.5, settings=settings)


@pytest.fixture
def see(original, lexicon):
    settings = SEESettings(lexicon=lexicon, steps=12, merges=20, min_usage=4, terms=6)
    return compress_model(original, "see", 1.5, settings=settings)


def test_a_new_word_has_a_row_and_every_other_is_as_it_was(compressed, tmp_path):
    model, tokenizer = compressed
    before, size = model.compressed.to_dense(), len(tokenizer)
    parameters = {name: p.clone() for name, p in model.compressed.see.named_parameters() if name == "weight"}
    has_senses = model.config.method != "morphte"
    new = NewWord(word="doggoose", senses=(("animal", "water"),) if has_senses else ())
    (added,) = add_words_to_model(compressed, [new])
    assert added.token_id == size
    assert added.word == "doggoose"
    if has_senses:
        assert any("sememe:water" in term for term in added.terms)
    assert len(added.nearest) >= 3
    after = model.compressed.to_dense()
    assert after.shape[0] == before.shape[0] + 1
    assert torch.equal(after[:-1], before)
    assert torch.isfinite(after[-1]).all()
    assert after[-1].any()
    assert torch.equal(model.compressed.see.weight, parameters["weight"]), "nothing was trained"
    ids = tokenizer("the doggoose runs", return_tensors="pt").input_ids
    assert (ids == size).sum() == 1
    assert tokenizer.decode(ids[0]) == "the doggoose runs"
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    assert logits.shape[-1] == size + 1
    folder = save_compressed(compressed, tmp_path / "model")
    again, words = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert torch.equal(again.compressed.to_dense(), after)
    assert words("the doggoose runs", return_tensors="pt").input_ids.tolist() == ids.tolist()
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, logits)
    # A second word joins the first.
    (second,) = add_words_to_model((again, words), [NewWord(word="catbird", senses=())])
    assert second.token_id == size + 1
    assert torch.equal(again.compressed.to_dense()[:-1], after)


def test_senses_come_from_a_lexicon(see, lexicon):
    known = Lexicon.read(lexicon)
    (added,) = add_words_to_model(see, [NewWord(word="walking")], lexicon=known)
    assert any("sememe:foot" in term for term in added.terms)
    (inside,) = add_words_to_model(see, [NewWord(word="geesewalk", starts_word=False, senses=())])
    assert see.tokenizer("thegeesewalk").input_ids[-1] == inside.token_id


def test_words_that_cannot_be_added(see, original):
    with pytest.raises(InputError, match="the tokenizer has 'dog' already"):
        add_words_to_model(see, [NewWord(word="dog", senses=())])
    with pytest.raises(UnknownNameError, match=r"unknown sememe 'anmal'.*\n.*senses of 'dogcat'.*\n.*'animal'"):
        add_words_to_model(see, [NewWord(word="dogcat", senses=(("anmal",),))])
    assert "dogcat" not in see.tokenizer.get_vocab()
    assert len(see.tokenizer) == see.model.compressed.num_embeddings, "nothing half done"
    svd = compress_model(original, "svd", 3.0)
    with pytest.raises(ModelError, match=r"knows what a new word is made of.*\n.*see, hybrid or morphte"):
        add_words_to_model(svd, [NewWord(word="dogcat", senses=())])
    with pytest.raises(ModelError, match="knows what a new word is made of"):
        add_words_to_model(original, [NewWord(word="dogcat", senses=())])
