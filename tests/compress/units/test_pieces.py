import pytest

from intarsia.compress.units import TokenStyle, merge_segmenter, read_morphemes, table_segmenter
from intarsia.compress.units.pieces import limit_pieces
from intarsia.compress.units.token_strings import read_token
from intarsia.errors import DataError


def segment(merges, token, style=TokenStyle.BYTE_LEVEL):
    return merge_segmenter(merges, style)(read_token(token, style))


def test_merges_apply_in_their_order_whatever_the_case():
    merges = [("l", "o"), ("Ġ", "lo"), ("lo", "w"), ("Ġlo", "w")]
    assert segment(merges, "ĠLower") == ["low", "e", "r"]
    assert segment(merges, "lower") == ["low", "e", "r"]
    assert segment(merges[:1], "Ġlower") == ["lo", "w", "e", "r"]
    assert segment([], "Ġ") == []
    assert segment([("▁", "l")], "▁lo", TokenStyle.SENTENCEPIECE) == ["l", "o"]


def test_bytes_that_are_text_are_written_as_text():
    assert segment([("Ã", "©")], "ĠÃ©t") == ["é", "t"]
    assert segment([], "Ã©") == ["<0xC3>", "<0xA9>"]
    assert segment([], "<0x0A>", TokenStyle.SENTENCEPIECE) == ["<0x0A>"]


def test_pieces_beyond_the_limit_are_joined():
    assert limit_pieces(["a", "b", "c", "d"], 3) == ["a", "b", "cd"]
    assert limit_pieces(["a", "b"], 3) == ["a", "b"]


def test_a_table_of_morphemes_comes_first(tmp_path):
    path = tmp_path / "morphemes.tsv"
    path.write_text("bpe_token\tmorphemes\nunhappy\tun happy\nWalk@@\twalk@@\n,@@\t, @@\n")
    table = read_morphemes(path)
    assert table == {"unhappy": ("un", "happy"), "walk": ("walk",), ",": (",",)}
    segmenter = table_segmenter(table, otherwise=merge_segmenter([], TokenStyle.WORDS))
    assert segmenter(read_token("Unhappy", TokenStyle.WORDS)) == ("un", "happy")
    assert segmenter(read_token("dog", TokenStyle.WORDS)) == ["d", "o", "g"]


def test_a_malformed_table_is_refused_by_line(tmp_path):
    path = tmp_path / "morphemes.tsv"
    path.write_text("a\ta\nb\n")
    with pytest.raises(DataError, match=r"a word and its morphemes\n.*line 2\b"):
        read_morphemes(path)
