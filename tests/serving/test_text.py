"""Text as it comes: characters of several tokens, spaces between words, stop texts."""

import itertools
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from intarsia.models import CausalLM
from intarsia.serving.detokenizer import Detokenizer
from intarsia.serving.stop_text import StopText

TEXTS = ["Hello, world!", "naïve café", "日本語 🙂🙃 mixed", "👩‍👩‍👧 family", "", " two  spaces ", "a\ufffdb"]


@pytest.fixture(scope="module")
def words() -> Any:
    """A tokenizer whose tokens are words with a mark for the space before them, as sentencepiece makes them."""
    vocabulary = {"<s>": 0, "▁one": 1, "▁two": 2, "three": 3}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<s>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_join_to_the_text(loaded: CausalLM, text: str) -> None:
    ids = loaded.tokenizer(text, add_special_tokens=False).input_ids
    detokenizer = Detokenizer(loaded.tokenizer)
    pieces = [detokenizer.push(token) for token in ids]
    assert "".join(pieces) + detokenizer.flush() == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces), "a character came in parts"


def test_any_tokens_join_to_what_they_decode_to(loaded: CausalLM) -> None:
    import torch

    for seed in range(20):
        ids = torch.randint(0, len(loaded.tokenizer), (60,), generator=torch.Generator().manual_seed(seed)).tolist()
        detokenizer = Detokenizer(loaded.tokenizer)
        text = "".join(map(detokenizer.push, ids)) + detokenizer.flush()
        assert text == loaded.tokenizer.decode(ids, skip_special_tokens=True)


def test_spaces_between_words_are_kept(words: Any) -> None:
    detokenizer = Detokenizer(words)
    assert [detokenizer.push(token) for token in (1, 2, 3, 0, 1)] == ["one", " two", "three", "", " one"]


def test_a_continuation_keeps_the_space_before_its_first_word(words: Any) -> None:
    assert Detokenizer(words, [1, 2]).push(1) == " one"


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", ["three", "two"], "one "),
        ("aaab", ["aab"], "a"),
        ("ababac", ["abac"], "ab"),
        ("no stop here", ["there"], "no stop here"),
        ("ends with a part: sto", ["stop"], "ends with a part: sto"),
        ("stop at once", ["stop"], ""),
        ("nested END", ["ENDING", "END"], "nested "),
        ("x", [], "x"),
    ],
)
def test_stop_text_is_found_however_the_text_is_cut(text: str, stops: list[str], expected: str) -> None:
    for cuts in itertools.combinations(range(1, len(text)), 2) if len(text) > 2 else [()]:
        matcher, given = StopText(stops), ""
        for start, end in itertools.pairwise((0, *cuts, len(text))):
            given += matcher.push(text[start:end])
            assert expected.startswith(given), "a part of the stop text was given out"
            if matcher.found:
                break
        assert given + matcher.flush() == expected
        assert matcher.found == (expected != text)


def test_text_that_cannot_begin_a_stop_is_not_held_back() -> None:
    matcher = StopText(["\n\n"])
    assert matcher.push("word") == "word"
    assert matcher.push("line\n") == "line"
    assert matcher.push("next") == "\nnext"
