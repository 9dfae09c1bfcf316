"""What a token's string says: whether it begins a word, how it is written, and its letters."""

from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import NamedTuple

_START_OF_BYTE_LEVEL = "Ġ"
_START_OF_SENTENCEPIECE = "▁"
_INSIDE_OF_WORDPIECE = "##"


class TokenStyle(StrEnum):
    """How a vocabulary writes its tokens.

    Attributes:
        BYTE_LEVEL: Bytes as printable characters, `Ġ` for the space before a word (GPT-2, Llama 3, SmolLM2).
        SENTENCEPIECE: `▁` for the space before a word, `<0x0A>` for bytes (T5, Llama 2, XLM-R).
        WORDPIECE: `##` before what does not begin a word (BERT).
        WORDS: Whole words.
    """

    BYTE_LEVEL = "byte-level"
    SENTENCEPIECE = "sentencepiece"
    WORDPIECE = "wordpiece"
    WORDS = "words"


class TokenString(NamedTuple):
    """A token's string, read.

    Attributes:
        core: Its characters in lower case, without the marker of a word's start; bytes that are no text stand as
            `<0xC3>`.
        starts_word: Whether it begins a word.
        shape: `lower`, `Title`, `UPPER` or `mixed`; without letters `lower`.
        surface: What `core` is in the vocabulary's own writing, with the marker.
    """

    core: str
    starts_word: bool
    shape: str
    surface: str

    @property
    def is_word(self) -> bool:
        """Whether it may stand in a lexicon: three letters or more and nothing else."""
        return len(self.core) >= 3 and self.core.isalpha()


SHAPES = ("lower", "Title", "UPPER", "mixed")


def find_style(tokens: Iterable[str]) -> TokenStyle:
    """Tells the style of a vocabulary from the markers in it."""
    found = {_START_OF_BYTE_LEVEL: 0, _START_OF_SENTENCEPIECE: 0, _INSIDE_OF_WORDPIECE: 0}
    for token in tokens:
        for marker in found:
            found[marker] += token.startswith(marker)
    marker = max(found, key=lambda name: found[name])
    if not found[marker]:
        return TokenStyle.WORDS
    return {
        _START_OF_BYTE_LEVEL: TokenStyle.BYTE_LEVEL,
        _START_OF_SENTENCEPIECE: TokenStyle.SENTENCEPIECE,
        _INSIDE_OF_WORDPIECE: TokenStyle.WORDPIECE,
    }[marker]


def read_token(token: str, style: TokenStyle) -> TokenString:
    """Reads one token's string."""
    match style:
        case TokenStyle.BYTE_LEVEL:
            return _read_byte_level(token)
        case TokenStyle.SENTENCEPIECE:
            starts = token.startswith(_START_OF_SENTENCEPIECE)
            text = token.removeprefix(_START_OF_SENTENCEPIECE)
            if _is_byte(token):
                return TokenString(token, False, "lower", token)
            return TokenString(text.lower(), starts, shape_of(text), _START_OF_SENTENCEPIECE * starts + text.lower())
        case TokenStyle.WORDPIECE:
            inside = token.startswith(_INSIDE_OF_WORDPIECE) and token != _INSIDE_OF_WORDPIECE
            text = token.removeprefix(_INSIDE_OF_WORDPIECE) if inside else token
            return TokenString(text.lower(), not inside, shape_of(text), _INSIDE_OF_WORDPIECE * inside + text.lower())
        case TokenStyle.WORDS:
            return TokenString(token.lower(), True, shape_of(token), token.lower())


def write_token(word: str, style: TokenStyle, *, starts_word: bool = True) -> str:
    """Returns the string by which a vocabulary of this style would write a word: the inverse of `read_token`."""
    match style:
        case TokenStyle.BYTE_LEVEL:
            return encode_bytes((" " + word if starts_word else word).encode())
        case TokenStyle.SENTENCEPIECE:
            return _START_OF_SENTENCEPIECE * starts_word + word
        case TokenStyle.WORDPIECE:
            return word if starts_word else _INSIDE_OF_WORDPIECE + word
        case TokenStyle.WORDS:
            return word


def shape_of(text: str) -> str:
    """Tells how a text is written, one of `SHAPES`. One capital letter alone is `Title`."""
    if text == text.lower():
        return "lower"
    letters = [letter for letter in text if letter.isalpha()]
    if letters and letters[0].isupper() and all(letter.islower() for letter in letters[1:]):
        return "Title"
    return "UPPER" if text == text.upper() else "mixed"


def encode_bytes(raw: bytes) -> str:
    """Writes bytes as a byte-level vocabulary does: a printable character for each."""
    alphabet = _byte_alphabet()
    return "".join(alphabet[byte] for byte in raw)


def decode_bytes(token: str) -> str:
    """Reads what a byte-level vocabulary writes; bytes that are no text come back as `<0xC3>`."""
    if token.isascii():  # all of it printable, and so written as itself
        return token
    values = _byte_values()
    if any(character not in values for character in token):
        return token
    raw = bytes(values[character] for character in token)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in raw)


def _read_byte_level(token: str) -> TokenString:
    starts = token.startswith(_START_OF_BYTE_LEVEL)
    core = decode_bytes(token.removeprefix(_START_OF_BYTE_LEVEL))
    if "<0x" in core:
        return TokenString(core, starts, "lower", token)
    surface = _START_OF_BYTE_LEVEL * starts + encode_bytes(core.lower().encode())
    return TokenString(core.lower(), starts, shape_of(core), surface)


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


@cache
def _byte_alphabet() -> tuple[str, ...]:
    """The character of each byte: printable ones stand for themselves, the others follow from U+0100 on (GPT-2)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    alphabet, following = [], 0x100
    for byte in range(256):
        alphabet.append(chr(byte if byte in printable else following))
        following += byte not in printable
    return tuple(alphabet)


@cache
def _byte_values() -> dict[str, int]:
    return {character: byte for byte, character in enumerate(_byte_alphabet())}
