import pytest

from intarsia.compress.units.token_strings import (
    TokenStyle,
    encode_bytes,
    find_style,
    read_token,
    shape_of,
    write_token,
)

BYTES, SENTENCEPIECE, WORDPIECE, WORDS = TokenStyle


@pytest.mark.parametrize(
    ("style", "token", "core", "starts", "shape"),
    [
        (BYTES, "ĠDog", "dog", True, "Title"),
        (BYTES, "dogs", "dogs", False, "lower"),
        (BYTES, "ĠNASA", "nasa", True, "UPPER"),
        (BYTES, "McD", "mcd", False, "mixed"),
        (BYTES, "Ġ", "", True, "lower"),
        (BYTES, "ĠĠ", " ", True, "lower"),
        (BYTES, encode_bytes(" Été".encode()), "été", True, "Title"),
        (BYTES, "Ã", "<0xC3>", False, "lower"),
        (BYTES, "12", "12", False, "lower"),
        (SENTENCEPIECE, "▁A", "a", True, "Title"),
        (SENTENCEPIECE, "ing", "ing", False, "lower"),
        (SENTENCEPIECE, "<0x0A>", "<0x0A>", False, "lower"),
        (WORDPIECE, "##ing", "ing", False, "lower"),
        (WORDPIECE, "##", "##", True, "lower"),
        (WORDS, "iPhone", "iphone", True, "mixed"),
    ],
)
def test_a_token_is_read(style, token, core, starts, shape):
    read = read_token(token, style)
    assert (read.core, read.starts_word, read.shape) == (core, starts, shape)


@pytest.mark.parametrize("style", list(TokenStyle))
@pytest.mark.parametrize("starts", [True, False])
def test_writing_a_word_is_the_inverse_of_reading_it(style, starts):
    if style is WORDS and not starts:
        return
    read = read_token(write_token("Naïve", style, starts_word=starts), style)
    assert (read.core, read.starts_word, read.shape) == ("naïve", starts, "Title")
    assert read.surface == write_token("naïve", style, starts_word=starts)


@pytest.mark.parametrize(
    ("tokens", "style"),
    [
        (["a", "Ġdog", "Ġ"], BYTES),
        (["▁dog", "s", "<0x0A>"], SENTENCEPIECE),
        (["dog", "##s", "##ing"], WORDPIECE),
        (["dog", "cats"], WORDS),
    ],
)
def test_the_style_of_a_vocabulary_is_found(tokens, style):
    assert find_style(tokens) is style


def test_only_three_letters_or_more_are_words():
    assert [read_token(token, BYTES).is_word for token in ("Ġdog", "Ġdo", "don't", "12a", "Ã")] == [True] + [False] * 4


def test_one_capital_is_a_title_and_signs_do_not_count():
    assert [shape_of(text) for text in ("A", "AB", "A1", "(Ab", "!?")] == ["Title", "UPPER", "Title", "Title", "lower"]
