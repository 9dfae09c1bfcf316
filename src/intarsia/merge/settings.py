"""Settings dataclasses from names and values, where a value may be text as the command line has it."""

import dataclasses
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from intarsia.errors import ConfigError, UnknownNameError

T = TypeVar("T")

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "none", str: "text"}


def make_settings(kind: type[T], values: Mapping[str, Any], *, what: str) -> T:
    """Makes a settings dataclass, which checks ranges itself.

    Args:
        kind: The dataclass.
        values: Its fields by name. `field.name` reaches into a mapping or into a dataclass of its own. Text is read
            as the field's type.
        what: What has these settings, for messages.

    Raises:
        UnknownNameError: If there is no such field; the message suggests near names.
        ConfigError: If a value is not allowed.
    """
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        field, _, rest = name.partition(".")
        if field not in names or (rest and not _has_parts(hints[field])):
            raise UnknownNameError(f"setting of {what}", name, names)
        if rest:
            inner.setdefault(field, {})[rest] = value
        else:
            made[field] = _read(name, value, hints[field])
    for field, parts in inner.items():
        if dataclasses.is_dataclass(hints[field]):
            made[field] = make_settings(hints[field], parts, what=f"{what}, {field}")
        else:
            values_of = get_args(hints[field])[1]
            made[field] = {name: _read(f"{field}.{name}", value, values_of) for name, value in parts.items()}
    return kind(**made)


def _has_parts(hint: Any) -> bool:
    return get_origin(hint) is Mapping or dataclasses.is_dataclass(hint)


def _read(name: str, value: Any, hint: Any) -> Any:
    if not isinstance(value, str):
        return value
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        try:
            return _read_as(value, option)
        except ValueError:
            continue
    raise ConfigError(name, value, " or ".join(map(_in_words, options)))


def _read_as(text: str, kind: Any) -> Any:
    """Reads text as one simple type; ValueError if it is none."""
    if get_origin(kind) is Literal and text in get_args(kind):
        return text
    if get_origin(kind) is tuple:
        return tuple(text.split(","))
    if kind is NoneType and text.lower() == "none":
        return None
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in (int, float, str):
        return kind(text)
    raise ValueError(text)


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return _WORDS.get(kind, "given by parts, as NAME.PART=VALUE")
