"""Words a model's vocabulary never had."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from intarsia.compress.added_rows import AddedRowsEmbedding
from intarsia.compress.adding_tokens import NewWord
from intarsia.compress.compressing import compress_model, save_compressed
from intarsia.compress.new_words import add_words_to_model
from intarsia.compress.see.methods import SEESettings
from intarsia.compress.units import Lexicon, Sense, UnitConfig
from intarsia.errors import InputError, ModelError, UnknownNameError
from intarsia.models import CausalLM

CONFIG = UnitConfig(merges=20, min_usage=4)


@pytest.fixture
def known(lexicon):
    return Lexicon.read(lexicon)


@pytest.fixture(params=["original", "svd", "int4", "see"])
def loaded(request, original, lexicon):
    if request.param == "original":
        return original
    settings = SEESettings(lexicon=lexicon, steps=12, merges=20, min_usage=4, terms=6)
    if request.param == "see":
        return compress_model(original, "see", 1.5, settings=settings)
    return compress_model(original, request.param, 2.0 if request.param == "svd" else None)


def matrix_of(model):
    return model.compressed.to_dense() if hasattr(model, "compressed") else model.get_input_embeddings().weight.detach()


def test_a_new_word_has_a_row_and_every_other_is_as_it_was(loaded, known, tmp_path):
    model, tokenizer = loaded
    before, size = matrix_of(model).clone(), len(tokenizer)
    new = NewWord(word="doggoose", senses=(("animal", "water"),))
    (added,) = add_words_to_model(loaded, [new], lexicon=known, config=CONFIG)
    assert (added.word, added.token_id) == ("doggoose", size)
    assert any("sememe:water" in term for term in added.terms)
    assert len(added.nearest) >= 3
    after = matrix_of(model)
    assert torch.equal(after[:-1], before)
    assert torch.isfinite(after[-1]).all()
    assert not torch.allclose(after[-1], before.mean(0), atol=1e-3), "it says more than the mean"
    ids = tokenizer("the doggoose runs", return_tensors="pt").input_ids
    assert (ids == size).sum() == 1
    assert tokenizer.decode(ids[0]) == "the doggoose runs"
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    assert logits.shape[-1] == size + 1
    folder = save_compressed(loaded, tmp_path / "model")
    again, words = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert torch.equal(matrix_of(again), after)
    assert words("the doggoose runs", return_tensors="pt").input_ids.tolist() == ids.tolist()
    with torch.no_grad():
        assert torch.allclose(again(input_ids=ids).logits, logits, atol=1e-5)
    # A second word joins the first.
    (second,) = add_words_to_model(CausalLM(again, words), [NewWord(word="catbird", senses=())], config=CONFIG)
    assert second.token_id == size + 1
    assert torch.equal(matrix_of(again)[:-1], after)


def test_a_definition_says_what_sememes_would(original, known):
    told = NewWord(word="doggoose", definitions=("an animal of the river",))
    given = NewWord(word="catgoose", senses=(("animal", "water"),))
    rows = add_words_to_model(original, [told, given], lexicon=known, config=CONFIG)
    of_words = [{name for term in row.terms for name in term if name.startswith("sememe:")} for row in rows]
    assert of_words[0] == of_words[1] == {"sememe:animal", "sememe:water"}
    # What is nearest are words, and each once.
    assert len(set(rows[0].nearest)) == len(rows[0].nearest)
    assert all(known.lookup(word) for word in rows[0].nearest)
    with pytest.raises(InputError, match="no lexicon to read definitions with"):
        add_words_to_model(original, [NewWord(word="ratgoose", definitions=("an animal",))], config=CONFIG)
    other = Lexicon({**known.senses, "quartz": (Sense(("mineral",)),)}, known.irregular)
    unseen = NewWord(word="ratgoose", definitions=("a mineral",))
    with pytest.raises(InputError, match="no token of the vocabulary has a sememe of the definition 'a mineral'"):
        add_words_to_model(original, [unseen], lexicon=other, config=CONFIG)


def test_the_row_is_what_its_units_add(original, known):
    """Rows that are exactly sums of what their units say are predicted exactly, up to the ridge."""
    from intarsia.compress.units import UnitMap
    from intarsia.compress.units.row_regression import unit_features

    units = UnitMap.from_tokenizer(original.tokenizer, known, CONFIG)
    vectors = torch.randn(len(units.names), 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = torch.from_numpy(unit_features(units) @ vectors.numpy())
        original.model.get_input_embeddings().weight.copy_(100 * rows)
    add_words_to_model(
        original, [NewWord(word="doggoose", senses=(("animal", "breed"),))], lexicon=known, config=CONFIG
    )
    rows = matrix_of(original.model)
    near = torch.nn.functional.cosine_similarity(rows - rows.mean(0), (rows - rows.mean(0))[-1:])
    dog = original.tokenizer.convert_tokens_to_ids("Ġdog")
    assert float(near[dog]) > float(near[:-1].median()) + 0.1


def test_a_sense_of_one_sememe_counts_where_the_vocabulary_has_only_senses_of_more(original, known):
    new = NewWord(word="doggoose", senses=(("water",),))
    (added,) = add_words_to_model(original, [new], lexicon=known, config=CONFIG)
    assert any("sememe:water" in term for term in added.terms)


def test_senses_come_from_a_lexicon(original, known):
    (added,) = add_words_to_model(original, [NewWord(word="walked")], lexicon=known, config=CONFIG)
    assert any("sememe:foot" in term for term in added.terms)
    (inside,) = add_words_to_model(
        original, [NewWord(word="geesewalk", starts_word=False, senses=())], lexicon=known, config=CONFIG
    )
    assert original.tokenizer("thegeesewalk").input_ids[-1] == inside.token_id


def test_ids_that_stood_for_nothing_are_used_first(original, tmp_path):
    tokens = len(original.tokenizer)
    original.model.resize_token_embeddings(tokens + 2)
    made = compress_model(original, "svd", 2.0)
    before = made.model.compressed.to_dense()
    words = [NewWord(word=word, senses=()) for word in ("doggoose", "catbird", "birdcat")]
    added = add_words_to_model(made, words, config=CONFIG)
    assert [word.token_id for word in added] == [tokens, tokens + 1, tokens + 2]
    embedding = made.model.compressed
    assert isinstance(embedding, AddedRowsEmbedding)
    assert embedding.replaced == (tokens, tokens + 1)
    assert torch.equal(embedding.to_dense()[:tokens], before[:tokens])
    ids = torch.tensor([tokens + 2, 5, tokens])
    assert torch.allclose(embedding(ids), embedding.to_dense()[ids])
    hidden = torch.randn(2, 24)
    assert torch.allclose(embedding.logits(hidden), hidden @ embedding.to_dense().T, atol=1e-4)
    folder = save_compressed(made, tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(again.compressed.to_dense(), embedding.to_dense())
    again.resize_token_embeddings(tokens + 5)
    assert torch.equal(again.compressed.to_dense()[: tokens + 3], embedding.to_dense())


@pytest.mark.parametrize("compressed", [False, True])
def test_a_head_of_its_own_learns_the_word_too(original, compressed):
    torch.manual_seed(1)
    config = LlamaConfig(**{**original.model.config.to_dict(), "tie_word_embeddings": False})
    loaded = CausalLM(LlamaForCausalLM(config).eval(), original.tokenizer)
    loaded = compress_model(loaded, "svd", 2.0) if compressed else loaded
    before = loaded.model.get_output_embeddings().weight.detach().clone()
    add_words_to_model(loaded, [NewWord(word="doggoose", senses=())], config=CONFIG)
    head = loaded.model.get_output_embeddings().weight
    assert torch.equal(head[:-1], before)
    assert len(head) == len(before) + 1
    assert not torch.allclose(head[-1], matrix_of(loaded.model)[-1], atol=1e-2), "predicted from the head's own rows"


def test_words_that_cannot_be_added(original, known):
    tokens = len(original.tokenizer)
    with pytest.raises(InputError, match="the tokenizer has 'dog' already"):
        add_words_to_model(original, [NewWord(word="dog", senses=())], config=CONFIG)
    with pytest.raises(UnknownNameError, match=r"unknown sememe 'anmal'.*\n.*senses of 'dogcat'.*\n.*'animal'"):
        add_words_to_model(original, [NewWord(word="dogcat", senses=(("anmal",),))], lexicon=known, config=CONFIG)
    with pytest.raises(
        InputError, match=r"'dog' is no sememe, though the lexicon has the word\n.*\n.*are animal, breed"
    ):
        add_words_to_model(original, [NewWord(word="dogcat", senses=(("dog",),))], lexicon=known, config=CONFIG)
    twice = [NewWord(word="dogcat", senses=())] * 2
    with pytest.raises(InputError, match="the tokenizer has 'dogcat' already"):
        add_words_to_model(original, twice, config=CONFIG)
    with pytest.raises(InputError, match="there is no word to add"):
        add_words_to_model(original, [], config=CONFIG)
    with pytest.raises(InputError, match="a sense of 'dogcat' has no sememe"):
        NewWord(word="dogcat", senses=((),))
    with pytest.raises(InputError, match="4 pieces are given, but a term has 3"):
        add_words_to_model(original, [NewWord(word="dogcat", senses=(), pieces=tuple("dogc"))], config=CONFIG)
    assert "dogcat" not in original.tokenizer.get_vocab()
    assert len(original.tokenizer) == original.model.get_input_embeddings().num_embeddings == tokens, (
        "nothing half done"
    )
    adapted = get_peft_model(original.model, LoraConfig(r=2, target_modules=["embed_tokens"]))
    with pytest.raises(ModelError, match="not a table of rows"):
        add_words_to_model(CausalLM(adapted, original.tokenizer), [NewWord(word="dogcat", senses=())], config=CONFIG)
