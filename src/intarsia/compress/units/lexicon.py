"""Lexicons: the senses of words, and the sememes, the smallest units of meaning, of each sense."""

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

from intarsia import files
from intarsia.compress.units.inflection import base_forms
from intarsia.errors import DataError, InputError

SENSES = 5
SEMEMES = 4

_COLUMNS = ("lemma", "pos", "sense", "tag_count", "lexname", "sememes")
_HOWNET_COLUMNS = ("word", "sense", "sememes")
_SEPARATORS = str.maketrans(",;|", "   ")


class Sense(NamedTuple):
    """One meaning of a word.

    Attributes:
        sememes: Its sememes, the most characteristic first.
        lexname: Its class, such as `noun.animal`; empty where the lexicon has none.
    """

    sememes: tuple[str, ...]
    lexname: str = ""


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Words, their senses (the most frequent first), and irregular forms.

    Attributes:
        senses: Senses of each lemma, in lower case.
        irregular: Irregular forms and the lemmas they are forms of.

    Raises:
        InputError: If it has no word.
    """

    senses: Mapping[str, tuple[Sense, ...]]
    irregular: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.senses:
            raise InputError("the lexicon has no word", where="senses", fix="give at least one word with a sense")

    def __len__(self) -> int:
        return len(self.senses)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the words with their senses and of the irregular forms, whatever order they came in."""
        total = hashlib.sha256()
        for lemma in sorted(self.senses):
            total.update(f"{lemma}\t{self.senses[lemma]}\n".encode())
        for form in sorted(self.irregular):
            total.update(f"{form}\t{self.irregular[form]}\n".encode())
        return total.hexdigest()

    @cached_property
    def sememes(self) -> frozenset[str]:
        """All sememes that some sense has."""
        return frozenset(name for senses in self.senses.values() for sense in senses for name in sense.sememes)

    def lemma(self, word: str) -> str | None:
        """Returns the lemma a form belongs to, or None: the form itself, irregular forms, then regular endings."""
        for candidate in base_forms(word.lower(), self.irregular):
            if candidate in self.senses:
                return candidate
        return None

    def lookup(self, word: str) -> tuple[Sense, ...]:
        """Returns the senses of a word in any of its forms; empty if it has none."""
        lemma = self.lemma(word)
        return self.senses[lemma] if lemma is not None else ()

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Reads a lexicon: a table, a folder with one, or the `dict` folder of a WordNet release.

        A table is a tab-separated file, plain or gzip. Its first line names the columns: `lemma pos sense tag_count
        lexname sememes`, or HowNet's `word sense sememes`; without such a line the latter are taken. Sememes stand
        apart by spaces, `,`, `;` or `|`. A folder holds `lexicon.tsv.gz` and, if it has them, irregular forms in
        `irregular.tsv.gz` (`form lemmas`).

        Raises:
            InputError: If nothing is there, or it is none of these.
            DataError: If a row is malformed; the message names its line.
        """
        path = Path(path).expanduser()
        if path.is_dir():
            if (path / "data.noun").is_file():
                from intarsia.compress.units.wordnet import build_lexicon

                built = build_lexicon(path)
                return cls(built.senses, built.irregular)
            named = [path / name for name in ("lexicon.tsv.gz", "lexicon.tsv") if (path / name).is_file()]
            if not named:
                raise InputError(
                    "the folder holds no lexicon", where=path, fix="give one with lexicon.tsv.gz, or WordNet's `dict`"
                )
            return cls(_read_senses(named[0]), _read_irregular(path))
        if not path.is_file():
            raise InputError("lexicon not found", where=path, fix="give a lexicon table or WordNet's `dict` folder")
        return cls(_read_senses(path), _read_irregular(path.parent))

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, str, Sequence[str]]]) -> Self:
        """Makes a lexicon of HowNet-style rows: word, name of the sense, its sememes.

        Senses of a word keep their order; rows of the same word and sense are joined.
        """
        found: dict[str, dict[str, list[str]]] = {}
        for word, sense, sememes in rows:
            kept = found.setdefault(word.lower(), {}).setdefault(sense, [])
            kept += [sememe for sememe in sememes if sememe not in kept]
        return cls({word: tuple(Sense(tuple(names)) for names in senses.values()) for word, senses in found.items()})

    @classmethod
    def from_openhownet(cls, dictionary: Any) -> Self:
        """Makes a lexicon of an OpenHowNet dictionary (`OpenHowNet.HowNetDict()`, version 2), English side.

        Sememes keep the order in which the sense's definition names them, senses that of their numbers.
        """

        def rows() -> Iterator[tuple[str, str, Sequence[str]]]:
            for word in sorted(dictionary.get_en_words()):
                if not word.isalpha():
                    continue
                for sense in sorted(dictionary.get_sense(word, language="en"), key=lambda sense: str(sense.No)):
                    named = {str(sememe): sememe.en for sememe in sense.get_sememe_list()}
                    order = sorted(named, key=lambda name: (str(sense.Def).find(name.replace("_", " ")), name))
                    yield word, str(sense.No), [named[name] for name in order]

        return cls.from_rows(rows())

    def save(self, folder: str | Path) -> None:
        """Writes `lexicon.tsv.gz` and `irregular.tsv.gz` into a folder, as `read` takes them."""
        rows = [
            (lemma, "", str(number), "", sense.lexname, " ".join(sense.sememes))
            for lemma, senses in self.senses.items()
            for number, sense in enumerate(senses, start=1)
        ]
        _write_table(Path(folder) / "lexicon.tsv.gz", _COLUMNS, rows)
        forms = [(form, " ".join(lemmas)) for form, lemmas in self.irregular.items()]
        _write_table(Path(folder) / "irregular.tsv.gz", ("form", "lemmas"), forms)


def _read_senses(path: Path) -> dict[str, tuple[Sense, ...]]:
    rows = read_rows(path)
    first = next(rows, None)
    if first is None:
        raise DataError("the lexicon is empty", file=path, fix="give at least one word with a sense")
    columns = _columns(first[1], path)
    found: dict[str, dict[str, Sense]] = {}
    for line, cells in rows if columns is not None else _with(first, rows):
        names = columns or _HOWNET_COLUMNS
        if len(cells) != len(names):
            raise DataError(
                f"a row has {len(cells)} cells, but there are {len(names)} columns",
                file=path,
                line=line,
                fix="separate cells by tabs",
            )
        row = dict(zip(names, cells, strict=True))
        lemma = (row.get("lemma") or row.get("word", "")).strip().lower()
        if not lemma:
            raise DataError("a row has no word", file=path, line=line, field=names[0])
        number = f"{row.get('pos', '')} {row['sense']}"
        sense = Sense(tuple(row["sememes"].translate(_SEPARATORS).split()), row.get("lexname", ""))
        of_lemma = found.setdefault(lemma, {})
        if number in of_lemma:
            raise DataError(f"sense {number.strip()!r} of {lemma!r} is there twice", file=path, line=line)
        of_lemma[number] = sense
    if not found:
        raise DataError("the lexicon is empty", file=path, fix="give at least one word with a sense")
    return {lemma: tuple(senses.values()) for lemma, senses in found.items()}


def _columns(first: list[str], path: Path) -> tuple[str, ...] | None:
    """The column names, if the first line gives them."""
    names = tuple(name.strip().lower() for name in first)
    if not {"lemma", "word"} & set(names):
        if len(names) == len(_HOWNET_COLUMNS):
            return None
        raise DataError(
            f"unknown columns {', '.join(first)}",
            file=path,
            line=1,
            fix=f"name them {' '.join(_COLUMNS)} or {' '.join(_HOWNET_COLUMNS)}",
        )
    for needed in ("sense", "sememes"):
        if needed not in names:
            raise DataError(
                f"there is no column {needed!r} among {', '.join(names)}",
                file=path,
                line=1,
                field=needed,
                fix=f"name the columns {' '.join(_COLUMNS)} or {' '.join(_HOWNET_COLUMNS)}",
            )
    return names


def _with(first: tuple[int, list[str]], rest: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rest


def _read_irregular(folder: Path) -> dict[str, tuple[str, ...]]:
    found = {}
    for name in ("irregular.tsv.gz", "irregular.tsv"):
        path = folder / name
        if not path.is_file():
            continue
        for line, cells in read_rows(path):
            if len(cells) != 2:
                raise DataError(f"a row has {len(cells)} cells, but two are needed", file=path, line=line)
            if line > 1 or cells != ["form", "lemmas"]:
                found[cells[0]] = tuple(cells[1].split())
        break
    return found


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows of a tab-separated file, plain or gzip, with their line numbers; blank lines are skipped.

    Raises:
        DataError: If it is not UTF-8 text, or not gzip though its name ends so.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = raw.decode()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"not a gzip file: {error}", file=path) from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError("not UTF-8 text", file=path, line=line) from error
    for number, row in enumerate(text.splitlines(), start=1):
        if row.strip():
            yield number, row.split("\t")


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow(columns)
    writer.writerows(rows)
    with files.atomic_file(path) as temporary:
        # No time stamp in the file: the same lexicon gives the same bytes.
        temporary.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
