"""The labels to choose from, and when two wordings are the same label."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from intarsia.errors import DataError

# Words written with s in one country and with z in another ("recognised", "organization") are one word.
_ISE = re.compile(r"\B[sz](?=(?:e|ed|es|ing|ation|ations)\b)(?<=i[sz])")
_SEPARATORS = re.compile(r"[_/\s]+|(?<=\w)[-–—]+(?=\w)")
_MARKS = re.compile(r"[\"'`*“”‘’«»()\[\]{}<>]")


@lru_cache(maxsize=8192)
def normalise(text: str) -> str:
    """Returns text as it is compared: case, separators, quotes, a final period and -ise/-ize make no difference."""
    plain = _SEPARATORS.sub(" ", _MARKS.sub("", text.casefold())).strip().strip(".,;:!?").strip()
    return _ISE.sub("z", plain)


@dataclass(frozen=True)
class LabelSet:
    """The labels to choose from.

    Attributes:
        names: The labels, in the order given.
        descriptions: Label -> what it means, shown behind its name; may be empty.

    Raises:
        DataError: If there is no label, one is empty, or two are the same but for case, separators or quotes.
    """

    names: tuple[str, ...]
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("there are no labels to choose from", fix="give at least one label")
        seen: dict[str, str] = {}
        for place, name in enumerate(self.names, start=1):
            plain = normalise(name) if isinstance(name, str) else ""
            if not plain:
                raise DataError(f"label {place} is {name!r}: a label is text with a letter or digit", field="labels")
            if plain in seen:
                raise DataError(
                    f"the labels {seen[plain]!r} and {name!r} are the same but for case, separators or quotes",
                    field="labels",
                    fix="remove one of them, or give them different names",
                )
            seen[plain] = name
        for name in self.descriptions:
            if name not in self.names:
                raise DataError(f"there is a description of {name!r}, which is no label", field="descriptions")

    @classmethod
    def of(cls, labels: "LabelSet | Iterable[str] | Mapping[str, str]") -> "LabelSet":
        """Makes a label set of names, or of names with descriptions."""
        if isinstance(labels, LabelSet):
            return labels
        if isinstance(labels, Mapping):
            return cls(tuple(labels), {name: text for name, text in labels.items() if text})
        return cls(tuple(labels))

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Label -> its place."""
        return {name: place for place, name in enumerate(self.names)}

    def lines(self, options: Sequence[str]) -> str:
        """Returns options as they are shown: one a line, with its description if there is one."""
        return "\n".join(
            f"- {name}: {self.descriptions[name]}" if name in self.descriptions else f"- {name}" for name in options
        )

    def __len__(self) -> int:
        return len(self.names)


def label_texts(names: Sequence[str], descriptions: dict[str, str] | None = None) -> list[str]:
    """Returns labels as an encoder reads them best: words instead of underscores and slashes."""
    described = descriptions or {}
    plain = [" ".join(name.replace("_", " ").replace("/", " ").split()) for name in names]
    return [
        f"{text}: {described[name]}" if name in described else text for name, text in zip(names, plain, strict=True)
    ]
