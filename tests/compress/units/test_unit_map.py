"""Units of whole vocabularies: what shares a unit with what, hashes, files, statistics, and bad input."""

import json
from dataclasses import replace

import pytest
import torch

from intarsia.compress.units import (
    LexiconMismatchWarning,
    TokenStyle,
    UnitConfig,
    UnitMap,
    longest_match_segmenter,
    merge_segmenter,
)
from intarsia.compress.units.token_terms import kind_of
from intarsia.errors import ConfigError, DataError, InputError, ModelError

from .lexicons import BYTE_LEVEL, LEXICON, MERGES


def units_of(tokens=BYTE_LEVEL, lexicon=LEXICON, config=None, **options):
    segmenter = merge_segmenter(MERGES, TokenStyle.BYTE_LEVEL)
    return UnitMap.from_vocabulary(tokens, lexicon, config, segmenter=segmenter, **options)


def terms(unit_map, token, tokens=BYTE_LEVEL):
    id = tokens.index(token)
    rows = unit_map.units[id][unit_map.mask[id]].tolist()
    return [tuple(unit_map.names[number] for number in row) for row in rows]


def of_kind(unit_map, token, *kinds):
    return {name for term in terms(unit_map, token) for name in term if kind_of(name) in kinds}


def test_a_token_has_a_term_of_its_shape_one_of_its_pieces_and_one_for_each_sense():
    assert terms(units_of(), "Ġdogs") == [
        ("shape:start lower", "piece:dog", "piece:s"),
        ("piece:dog", "piece:s", "pad:3"),
        ("piece:dog", "sememe:animal", "sememe:breed"),
        ("piece:dog", "sememe:follow", "class:verb.motion"),
    ]
    assert terms(units_of(), "Ġvoid")[-1] == ("piece:v", "class:noun.state", "pad:sememe 2")


def test_forms_of_a_word_share_sememes_and_differ_in_shape_or_pieces():
    unit_map = units_of()
    for word, form in (("Ġdog", "ĠDog"), ("Ġdog", "ĠDOG"), ("Ġdog", "Ġdogs"), ("Ġdog", "dog"), ("Ġwalk", "Ġwalking")):
        assert of_kind(unit_map, word, "sememe") == of_kind(unit_map, form, "sememe") != set()
        assert of_kind(unit_map, word, "shape", "piece") != of_kind(unit_map, form, "shape", "piece")
    assert of_kind(unit_map, "Ġgeese", "sememe") == {"sememe:bird"}


def test_what_is_no_word_has_shape_and_pieces_only():
    unit_map = units_of()
    assert terms(unit_map, ",") == [("shape:inside lower", "piece:,", "pad:2"), ("piece:,", "pad:2", "pad:3")]
    assert terms(unit_map, "Ã")[1] == ("piece:<0xC3>", "pad:2", "pad:3")
    assert terms(unit_map, "Ã©")[1] == ("piece:<0xC3>", "piece:<0xA9>", "pad:3")
    assert terms(unit_map, "Ġ")[0] == ("shape:start lower", "piece:", "pad:2")


def test_parts_can_be_chosen():
    for parts, count in ((("pieces",), 1), (("shape", "pieces"), 2), (("shape", "pieces", "senses"), 4)):
        assert len(terms(units_of(config=UnitConfig(parts=parts)), "Ġdog")) == count
    assert len(terms(units_of(config=UnitConfig(senses=1)), "Ġdog")) == 3
    assert {len(term) for term in terms(units_of(config=UnitConfig(order=4)), "Ġdog")} == {4}


def test_no_two_tokens_have_the_same_terms_unless_they_are_listed():
    assert units_of().statistics().collisions == []
    first_pieces = UnitConfig(order=2, parts=("pieces",))
    twins = units_of(["Ġdog", "dog", "cat", "ĠDog", "DOG", "Ġ"], config=first_pieces).statistics()
    assert twins.collisions == [[0, 1, 3, 4]]
    assert twins.colliding_tokens == 4


def test_special_and_frequent_tokens_keep_rows_of_their_own():
    unit_map = units_of(["<s>", *BYTE_LEVEL, "</s>"], special=[0, 16], config=UnitConfig(exact_tokens=2))
    assert unit_map.exact.tolist() == [0, 1, 2, 16]
    table = unit_map.term_table(100)
    assert table.exact.tolist() == [0, 1, 2, 16]
    assert not table.mask[[0, 1, 2, 16]].any()
    assert table.mask[3:16].all()


def test_rows_that_no_token_has_share_a_term():
    unit_map = units_of([*BYTE_LEVEL, None, None])
    assert [unit_map.names[number] for number in unit_map.units[-1, 0]] == ["reserved", "pad:2", "pad:3"]
    assert unit_map.statistics().collisions == [], "they are no tokens"
    assert unit_map.tokenizer_hash == units_of().tokenizer_hash


def test_rare_pieces_are_cut_to_a_beginning_that_others_use():
    tokens = ["Ġdog", "Ġdogs", "Ġdoggish", "Ġdoggy"]
    whole, cut = (units_of(tokens, config=UnitConfig(min_usage=least)) for least in (1, 2))
    assert terms(whole, "Ġdoggish", tokens)[1] == ("piece:dog", "piece:g", "piece:ish")
    assert terms(cut, "Ġdoggish", tokens)[1] == ("piece:dog", "piece:g", "piece:i")
    assert cut.statistics().units["piece"] == whole.statistics().units["piece"]


def test_statistics_count_what_is_there():
    found = units_of().statistics()
    assert (found.tokens, found.words, found.words_found) == (15, 9, 9)
    assert found.mean_senses == pytest.approx((5 * 2 + 2 * 2 + 1 + 1) / 9)
    assert found.units["shape"] == 4
    assert found.share_found == 1
    assert sum(found.usage.values()) == sum(found.units.values()) == len(units_of().names)
    assert found.usage[1] == found.one_user
    values = found.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert (values["share_found"], values["colliding_tokens"], values["usage"][0]) == (1, 0, [1, found.one_user])


def test_the_same_vocabulary_lexicon_and_settings_give_the_same_hash():
    assert units_of().hash == units_of().hash
    changed = [
        units_of([*BYTE_LEVEL[1:], BYTE_LEVEL[0]]),
        units_of(lexicon=None),
        units_of(config=UnitConfig(senses=1)),
    ]
    assert len({unit_map.hash for unit_map in [units_of(), *changed]}) == 4


def test_a_saved_map_is_the_same(tmp_path):
    unit_map = units_of(["<s>", *BYTE_LEVEL], special=[0])
    unit_map.save(tmp_path)
    again = UnitMap.load(tmp_path)
    assert again.hash == unit_map.hash
    assert again.record() == unit_map.record()
    assert again.names == unit_map.names
    assert again.statistics() == unit_map.statistics()
    for name in ("units", "mask", "exact"):
        assert torch.equal(getattr(again, name), getattr(unit_map, name))
    assert again.term_table(200, seed=3).digest() == unit_map.term_table(200, seed=3).digest()
    again.check_record(unit_map.record())


def test_the_longest_known_piece_is_taken():
    segmenter = longest_match_segmenter(["dog", "walk", "##s", "##ing", "##er", "##ers"], TokenStyle.WORDPIECE)
    tokens = ["walk", "walkers", "##ers", "dogx"]
    config = UnitConfig(min_usage=1)
    unit_map = UnitMap.from_vocabulary(tokens, None, config, segmenter=segmenter, style=TokenStyle.WORDPIECE)
    assert [terms(unit_map, token, tokens)[1] for token in tokens] == [
        ("piece:walk", "pad:2", "pad:3"),
        ("piece:walk", "piece:ers", "pad:3"),
        ("piece:ers", "pad:2", "pad:3"),
        ("piece:dog", "piece:x", "pad:3"),
    ]


def fast_tokenizer(kind):
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    if kind == "bpe":
        vocab = {token: id for id, token in enumerate(["<s>", "Ġ", "d", "o", "g", "s", "og", "Ġd", "Ġdog", "Ġdogs"])}
        merges = [("o", "g"), ("Ġ", "d"), ("Ġd", "og"), ("Ġdog", "s")]
        backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        backend.decoder = decoders.ByteLevel()
    elif kind == "wordpiece":
        tokens = ["<s>", "[unused1]", "dog", "##s", "d", "dogs", "##o", "##g"]
        backend = Tokenizer(models.WordPiece(vocab={token: id for id, token in enumerate(tokens)}, unk_token="<s>"))
    else:
        pieces = [("<s>", 0.0), ("▁dogs", -5.0), ("▁dog", -2.0), ("s", -1.0), ("▁", -3.0), ("dogs", -4.0)]
        backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")


@pytest.mark.parametrize(
    ("kind", "token", "pieces"),
    [("bpe", "Ġdogs", ["dog", "s"]), ("wordpiece", "dogs", ["dog", "s"]), ("unigram", "▁dogs", ["dog", "s"])],
)
def test_tokenizers_of_all_kinds_are_split_by_their_most_frequent_pieces(kind, token, pieces):
    tokenizer = fast_tokenizer(kind)
    unit_map = UnitMap.from_tokenizer(tokenizer, LEXICON, UnitConfig(merges=3))
    names = [unit_map.names[number] for number in unit_map.units[tokenizer.convert_tokens_to_ids(token), 1]]
    assert names == [*(f"piece:{piece}" for piece in pieces), "pad:3"]
    assert unit_map.exact.tolist() == [0]
    assert of_sememes(unit_map, tokenizer.convert_tokens_to_ids(token)) == {
        "sememe:animal",
        "sememe:breed",
        "sememe:follow",
    }
    padded = UnitMap.from_tokenizer(tokenizer, LEXICON, UnitConfig(merges=3), rows=16)
    assert len(padded) == 16
    assert padded.tokenizer_hash == unit_map.tokenizer_hash


def of_sememes(unit_map, id):
    used = unit_map.units[id][unit_map.mask[id]].flatten().tolist()
    return {unit_map.names[number] for number in used if kind_of(unit_map.names[number]) == "sememe"}


def test_another_tokenizer_or_a_damaged_file_is_refused(tmp_path):
    tokenizer = fast_tokenizer("bpe")
    unit_map = UnitMap.from_tokenizer(tokenizer, LEXICON)
    unit_map.save(tmp_path)
    assert UnitMap.load(tmp_path, tokenizer).hash == unit_map.hash
    with pytest.raises(ModelError, match="the tokenizer is not the one"):
        UnitMap.load(tmp_path, fast_tokenizer("wordpiece"))
    with pytest.raises(ModelError, match="the lexicon differs"):
        UnitMap.from_tokenizer(tokenizer).check_record(unit_map.record())
    record = json.loads((tmp_path / "units.json").read_text())
    (tmp_path / "units.json").write_text(json.dumps({**record, "names": record["names"][::-1]}))
    with pytest.raises(InputError, match="damaged"):
        UnitMap.load(tmp_path)
    (tmp_path / "units.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="no unit map can be read"):
        UnitMap.load(tmp_path)


def test_vocabulary_and_rows_must_agree():
    with pytest.raises(ModelError, match="has 10 tokens, but the embedding has 9 rows"):
        UnitMap.from_tokenizer(fast_tokenizer("bpe"), LEXICON, rows=9)


def test_a_slow_tokenizer_is_refused():
    class Slow:
        all_special_ids = ()

        def get_vocab(self):
            return {"a": 0}

        def get_added_vocab(self):
            return {}

    with pytest.raises(ModelError, match="Slow is no fast tokenizer"):
        UnitMap.from_tokenizer(Slow())


def test_bad_vocabularies_and_settings_are_refused():
    with pytest.raises(DataError, match="tokens 0 and 2 have the same string 'a'"):
        units_of(["a", "b", "a"])
    with pytest.raises(DataError, match="has no token"):
        units_of([None])
    with pytest.raises(ConfigError, match="exact_tokens is 99"):
        units_of(config=UnitConfig(exact_tokens=99))
    for wrong in ({"order": 1}, {"senses": -1}, {"merges": -1}, {"min_usage": 0}, {"exact_tokens": -1}, {"parts": ()}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            UnitConfig(**wrong)
    with pytest.raises(ConfigError, match="not every token has senses"):
        UnitConfig(parts=("senses",))
    with pytest.raises(ConfigError, match="some of shape, pieces, senses"):
        UnitConfig(parts=("form",))


def test_too_few_copies_name_the_fewest():
    unit_map = units_of()
    with pytest.raises(InputError, match=f"give at least {unit_map.min_copies},.*lower `merges`"):
        unit_map.term_table(unit_map.min_copies - 1)
    assert unit_map.term_table(unit_map.min_copies).num_rows == unit_map.min_copies


def test_a_lexicon_of_another_language_is_noticed():
    words = [f"Ġ{''.join(chr(97 + int(digit)) for digit in f'{number:03d}')}" for number in range(300)]
    with pytest.warns(LexiconMismatchWarning, match=r"only 0% of the vocabulary's 300 words"):
        units_of(words)


@pytest.mark.slow
def test_the_units_of_smollm2_are_those_measured_before():
    from pathlib import Path

    from intarsia.compress.units import Lexicon
    from intarsia.models import load_tokenizer

    folder = Path(__file__).parents[4] / "shared" / "data" / "sememe-lexicon"
    try:
        tokenizer = load_tokenizer("asset:smollm2-135m-instruct")
    except ModelError as error:
        pytest.skip(error.what)
    if not folder.is_dir():
        pytest.skip("the reference lexicon is not on this machine")
    unit_map = UnitMap.from_tokenizer(tokenizer, Lexicon.read(folder), UnitConfig(min_usage=1))
    found = unit_map.statistics()
    assert found.tokens == 49152
    assert found.words == pytest.approx(44946, abs=50)
    assert found.words_found == pytest.approx(29959, abs=50)
    assert found.mean_senses == pytest.approx(2.7, abs=0.05)
    assert found.units["sememe"] + found.units["class"] == 1376
    assert found.units["piece"] == pytest.approx(6886, rel=0.01)
    assert found.colliding_tokens <= 4
    assert replace(unit_map).hash == unit_map.hash


def test_whole_words_are_split_as_a_tokenizer_would_after_a_space():
    from intarsia.compress.units.pieces import word_segmenter

    segmenter = word_segmenter(fast_tokenizer("bpe"), 3)
    unit_map = UnitMap.from_vocabulary(["Dogs", "dog"], LEXICON, segmenter=segmenter)
    assert unit_map.style is TokenStyle.WORDS
    assert terms(unit_map, "Dogs", ["Dogs", "dog"])[1] == ("piece:dog", "piece:s", "pad:3")
