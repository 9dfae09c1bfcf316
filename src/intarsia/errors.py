"""The errors a user can meet: each says what is wrong, where, and what to do.

The command line prints the message of an `IntarsiaError` and exits with its `exit_code`: 2 for bad input, 1 for a
failure of a run on good input.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class IntarsiaError(Exception):
    """A failure Intarsia can explain.

    Args:
        what: What is wrong, in one sentence.
        where: The file, line, field, module or tensor it concerns.
        fix: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | Path | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.fix = fix
        lines = [what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if fix:
            lines.append(f"  fix:   {fix}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders in `engine`; the default would call __init__ with the joined text.
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(kind: type[IntarsiaError], what: str, where: str | None, fix: str | None) -> IntarsiaError:
    error = kind.__new__(kind)
    IntarsiaError.__init__(error, what, where=where, fix=fix)
    return error


class InputError(IntarsiaError):
    """Something the user gave is wrong."""

    exit_code = 2


class ConfigError(InputError):
    """A setting has a value that is not allowed.

    Args:
        field: Name of the setting, as the user writes it.
        value: The value it has.
        allowed: The values it may have, in words.
    """

    def __init__(self, field: str, value: object, allowed: str, *, where: str | Path | None = None) -> None:
        super().__init__(f"{field} is {value!r}, but it must be {allowed}", where=where)


class DataError(InputError):
    """A row or file of data cannot be used.

    Args:
        what: What is wrong with it.
        file: The file it was read from.
        line: Its line, counted from 1.
        field: The field concerned.
        fix: What the user can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        parts = [str(file) if file is not None else "", f"line {line}" if line is not None else ""]
        parts.append(f"field {field!r}" if field is not None else "")
        super().__init__(what, where=", ".join(part for part in parts if part) or None, fix=fix)


class ModelError(InputError):
    """A model, tokenizer or adapter cannot be found, read or combined."""


class UnknownNameError(InputError):
    """A name that nothing carries; the message lists the nearest known ones.

    Args:
        kind: What was named, e.g. `"dataset"`.
        name: The unknown name.
        known: All names there are.
        where: The file and field the name stands in, if any.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str | Path | None = None) -> None:
        options = sorted(known)
        near = get_close_matches(name, options, n=3, cutoff=0.5)
        fix = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(options) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}", where=where, fix=fix)


class RunExistsError(InputError):
    """The output folder already holds something that would be overwritten."""

    def __init__(self, folder: str | Path, *, what: str = "a run") -> None:
        super().__init__(
            f"the output folder already holds {what}",
            where=folder,
            fix="pass --overwrite to replace it, or choose another --output",
        )


class MissingExtraError(InputError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed", fix=f"pip install 'intarsia[{extra}]'")
