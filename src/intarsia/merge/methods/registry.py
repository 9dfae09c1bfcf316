"""The decorator that makes a function a merge method, and the table of those there are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.errors import ConfigError, UnknownNameError
from intarsia.merge.settings import make_settings

T = TypeVar("T")

# Task vectors of the same rows of one tensor, by expert name; at least one.
TaskVectors: TypeAlias = Mapping[str, Float[Tensor, "*shape"]]


@dataclass(frozen=True)
class NoParams:
    """A method without settings."""


@dataclass(frozen=True)
class Place:
    """Which rows of which tensor are being merged; random methods derive their generator from it."""

    key: str
    first_row: int


class TaskVectorStream(Protocol):
    """All task vectors of a merge, block of rows by block of rows: what a statistics pass reads.

    Attributes:
        experts: Their names, sorted.
        keys: Names of the tensors any expert changes.
        dtype: Dtype all task vectors have.
    """

    experts: Sequence[str]
    keys: Sequence[str]
    dtype: torch.dtype

    def numel(self, expert: str, key: str | None = None) -> int:
        """Number of elements of an expert's task vector, or of its part in one tensor."""
        ...

    def blocks_of(self, key: str) -> Iterator[tuple[Place, TaskVectors]]:
        """Iterates over the blocks of one tensor."""
        ...

    def map(self, function: Callable[[Place, TaskVectors], T]) -> Iterator[T]:
        """Iterates over what `function` makes of each block of every tensor; computed in threads."""
        ...

    def map_keys(self, function: Callable[[str], T]) -> Iterator[T]:
        """Iterates over what `function` makes of each tensor's name; computed in threads."""
        ...


@dataclass(frozen=True)
class MergeMethod:
    """A way to make one task vector of several.

    Attributes:
        name: What users call it.
        paper: Where it was published.
        summary: The first line of the function's docstring.
        params: The dataclass of its settings.
        function: `(task_vectors, *, place, params, statistics) -> merged`; coordinate-wise unless `whole_tensors`.
        prepare: Changes task vectors before anything else is done with them, e.g. drops entries.
        stream_statistics: `(stream, params) -> statistics`: a pass over all task vectors before the merge.
        data_statistics: What the caller must bring for each expert and tensor, in words; None if nothing.
        whole_tensors: Whether the function needs whole tensors rather than blocks of rows.
    """

    name: str
    paper: str
    summary: str
    params: type[Any]
    function: Callable[..., Float[Tensor, "*shape"]]
    prepare: Callable[..., TaskVectors] | None = None
    stream_statistics: Callable[[TaskVectorStream, Any], Any] | None = None
    data_statistics: str | None = None
    whole_tensors: bool = False

    def make_params(self, values: Mapping[str, Any]) -> Any:
        """Returns the settings, checked; text, as the command line has it, is read as the field's type.

        Raises:
            UnknownNameError: If the method has no such setting.
            ConfigError: If a value is not allowed.
        """
        return make_settings(self.params, values, what=f"merge method {self.name!r}")


_METHODS: dict[str, MergeMethod] = {}


def merge_method(
    name: str,
    *,
    paper: str,
    params: type[Any] = NoParams,
    prepare: Callable[..., TaskVectors] | None = None,
    stream_statistics: Callable[[TaskVectorStream, Any], Any] | None = None,
    data_statistics: str | None = None,
    whole_tensors: bool = False,
) -> Callable[[Callable[..., Float[Tensor, "*shape"]]], Callable[..., Float[Tensor, "*shape"]]]:
    """Registers a function as merge method `name`; the arguments are the attributes of `MergeMethod`.

    The function stays an ordinary function. It is called with the task vectors of the same rows of one tensor, by
    expert name, and the keywords `params`, `statistics` and `place`.
    """

    def register(function: Callable[..., Float[Tensor, "*shape"]]) -> Callable[..., Float[Tensor, "*shape"]]:
        summary = (function.__doc__ or "").strip().splitlines()[0]
        _METHODS[name] = MergeMethod(
            name, paper, summary, params, function, prepare, stream_statistics, data_statistics, whole_tensors
        )
        return function

    return register


def find_method(name: str) -> MergeMethod:
    """Returns the method called `name`.

    Raises:
        UnknownNameError: If there is none; the message suggests near names.
    """
    if name not in _METHODS:
        raise UnknownNameError("merge method", name, _METHODS)
    return _METHODS[name]


def list_methods() -> list[MergeMethod]:
    """Returns all registered methods, by name."""
    return [_METHODS[name] for name in sorted(_METHODS)]


def check_number(field: str, value: float, low: float, high: float) -> None:
    """Checks `low <= value <= high`; NaN is refused.

    Raises:
        ConfigError: If it is not so.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(field, value, f"a number from {low:g} to {high:g}")
