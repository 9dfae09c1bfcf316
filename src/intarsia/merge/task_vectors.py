"""The task vectors of several experts, streamed in blocks of rows small enough to stay in the processor's cache."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.merge.checkpoints import Expert, Weights, compute_dtype
from intarsia.merge.methods.registry import MergeMethod, Place, TaskVectors

# Elements of one block: what all experts' rows of it take stays in a core's cache, and the cost of a call is small
# against it. The masks of DARE depend on it, so another value gives another (equally valid) random merge.
BLOCK_ELEMENTS = 2**18

_KEPT_BYTES = 31 * 2**20

T = TypeVar("T")
S = TypeVar("S")


class Block(NamedTuple):
    """Some rows of one tensor; `rows` is None for a scalar, which has none."""

    key: str
    rows: slice | None

    @property
    def place(self) -> Place:
        """What a merge method is told of it."""
        return Place(self.key, self.rows.start if self.rows else 0)


class TaskVectorBlocks:
    """All task vectors of a merge, as merge methods read them (see `TaskVectorStream`).

    An expert that does not change a tensor has a task vector of zeros there.

    Args:
        base: The base model's tensors.
        experts: By name.
        method: Decides whether tensors may be cut into blocks and what is done to task vectors first.
        params: Its settings.
        threads: Number of threads `map` computes in.
    """

    def __init__(
        self, base: Weights, experts: Mapping[str, Expert], method: MergeMethod, params: object, threads: int
    ) -> None:
        self.experts: Sequence[str] = sorted(experts)
        self.base = base
        self.threads = threads
        self._experts = {name: experts[name] for name in self.experts}
        self._keys_of = {name: frozenset(expert.keys()) for name, expert in self._experts.items()}
        self._method = method
        self._params = params
        self.keys: Sequence[str] = sorted(frozenset().union(*self._keys_of.values()))
        double = any(compute_dtype(base.specs[key]) == torch.float64 for key in self.keys)
        self.dtype = torch.float64 if double else torch.float32

    def numel(self, expert: str, key: str | None = None) -> int:
        """Number of elements of an expert's task vector, or of its part in one tensor."""
        keys = self._keys_of[expert] if key is None else self._keys_of[expert] & {key}
        return sum(self.base.specs[key].numel for key in keys)

    def blocks(self, keys: Iterable[str]) -> Iterator[Block]:
        """Cuts tensors into blocks of about `BLOCK_ELEMENTS` elements, or leaves them whole if the method wants it."""
        for key in keys:
            spec = self.base.specs[key]
            if not spec.shape:
                yield Block(key, None)
                continue
            step = (
                spec.shape[0]
                if self._method.whole_tensors
                else max(1, BLOCK_ELEMENTS * spec.shape[0] // max(1, spec.numel))
            )
            for start in range(0, spec.shape[0], max(1, step)):
                yield Block(key, slice(start, min(start + step, spec.shape[0])))

    def task_vectors(self, block: Block, base: Tensor | None = None) -> TaskVectors:
        """Returns every expert's task vector in `block`, prepared as the method wants it.

        Args:
            block: Which rows.
            base: The base's values there, if the caller has read them already.
        """
        base = self.base.read(block.key, block.rows) if base is None else base
        vectors: dict[str, Float[Tensor, "*shape"]] = {}
        for name, expert in self._experts.items():
            if block.key in self._keys_of[name]:
                vectors[name] = expert.delta(block.key, block.rows, base=base).to(self.dtype)
            else:
                vectors[name] = torch.zeros(base.shape, dtype=self.dtype)
        if self._method.prepare is None:
            return vectors
        return self._method.prepare(vectors, place=block.place, params=self._params)

    def blocks_of(self, key: str) -> Iterator[tuple[Place, TaskVectors]]:
        """Iterates over the blocks of one tensor."""
        for block in self.blocks([key]):
            yield block.place, self.task_vectors(block)

    def map(self, function: Callable[[Place, TaskVectors], T]) -> Iterator[T]:
        """Iterates over what `function` makes of each block of every tensor; computed in threads."""

        def work(block: Block) -> T:
            return function(block.place, self.task_vectors(block))

        return threaded_map(work, self.blocks(self.keys), self.threads)

    def map_keys(self, function: Callable[[str], T]) -> Iterator[T]:
        """Iterates over what `function` makes of each tensor's name; computed in threads."""
        return threaded_map(function, self.keys, self.threads)


def threaded_map(function: Callable[[S], T], items: Iterable[S], threads: int) -> Iterator[T]:
    """Applies `function` to `items` in threads; results come in order and only a few wait in memory."""
    cores = torch.get_num_threads()
    # glibc hands freed memory back to the system after every block, and faulting it in again costs more than the
    # arithmetic; once it has freed something of this size it keeps as much.
    torch.empty(_KEPT_BYTES, dtype=torch.uint8)
    # Each thread works on its own block: operations must not start threads of their own on top.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(cores)
