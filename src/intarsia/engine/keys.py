"""What rows, trials and jobs are known by from one run to the next: hashes of their canonical JSON."""

import dataclasses
import functools
import hashlib
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from intarsia.errors import InputError


def json_default(value: Any) -> Any:
    """The JSON form of what `json` does not know: dataclasses, paths, arrays and tensors (anything with `tolist`).

    Raises:
        TypeError: For any other type.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def canonical_json(value: Any, *, default: Callable[[Any], Any] = json_default) -> str:
    """JSON with sorted keys and no spaces, the same text for equal values.

    Raises:
        TypeError: If part of `value` has no JSON form.
        ValueError: If `value` contains itself.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=default)


def stable_key(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON of a row or (nested) trial.

    Raises:
        InputError: If the value has no JSON form.
    """
    try:
        return _digest(canonical_json(value))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"cannot make a key of {type(value).__name__}: {error}",
            fix="pass key=, a function that gives each row a string of its own",
        ) from None


def job_name(fn: Callable[..., Any]) -> str:
    """The import name of a function, of the function inside a `functools.partial`, or of an object's class."""
    fn = _innermost(fn)
    named = fn if hasattr(fn, "__qualname__") else type(fn)
    return f"{named.__module__}.{named.__qualname__}"


def job_settings(fn: Callable[..., Any]) -> str:
    """A hash of what is bound to a function: arguments of a `partial`, variables of a closure, fields of an object.

    Two jobs with the same function and other settings must not continue each other's output.
    """
    bound: list[Any] = []
    while isinstance(fn, functools.partial):
        bound.append([fn.args, fn.keywords])
        fn = fn.func
    if inspect.ismethod(fn):
        bound.append(fn.__self__)
    elif inspect.isfunction(fn):
        bound.append(inspect.getclosurevars(fn).nonlocals)
    else:
        bound.append(fn)
    return _digest(canonical_json(bound, default=_described))


def _innermost(fn: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def _described(value: Any) -> Any:
    try:
        return json_default(value)
    except TypeError:
        # Objects that are not data (a tokenizer, a dtype, a function) by their repr, which must not hold an address.
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
