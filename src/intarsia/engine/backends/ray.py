"""Workers of a Ray cluster, on this machine or many."""

import functools
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from intarsia.engine.backends import Ticket, at_most
from intarsia.engine.work import BatchReply, Job, WorkerDiedError, load, run_batch
from intarsia.errors import ConfigError, InputError, IntarsiaError, MissingExtraError

# Rows and replies are small; Ray's default takes a third of the memory.
_OBJECT_STORE_BYTES = 200_000_000

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run`, Ray would upload the working folder, with its environment and models, to every node.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A worker without a GPU of its own sees those of the machine, as a local process does.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class RayBackend:
    """Runs batches as Ray tasks.

    Ray's own retries are off: it would repeat a whole batch, and end the batch if one of its rows always kills its
    worker. Here a death is reported and the scheduler repeats the rows one by one, as for local processes.

    A task with a GPU gets a process of its own, because CUDA cannot change its device: give it many rows (`chunk`) if
    it has a model to load.

    Args:
        ray: The module, connected to a cluster.
        call: The function of a row, sent by import name, or by value if it is defined in a script. Workers look for
            modules where this process does, if those folders are there.
        encode: What workers make of its values; `None` for pickles.
        workers: How many batches run at once.
        cpus: Cores a batch holds; Ray gives it as many threads.
        gpus: GPUs a batch holds.
        disconnect: Whether closing ends the connection (and with it a cluster that was started for this run).
    """

    def __init__(
        self,
        ray: Any,
        call: Callable[[Any], Any],
        encode: Callable[[Any], Any] | None,
        *,
        workers: int,
        cpus: float,
        gpus: float,
        disconnect: bool,
    ) -> None:
        self.workers = workers
        self.decode: Callable[[Any], Any] = ray.cloudpickle.loads
        self._ray = ray
        self._disconnect = disconnect
        self._running: set[Ticket] = set()
        job = self._dumps(Job(call, encode or ray.cloudpickle.dumps))
        paths = tuple(str(Path(path).absolute()) for path in sys.path)

        def run(rows: bytes) -> BatchReply:
            return run_batch(_loaded(job, paths), load(rows))

        # Ray ships the function with what it encloses to each worker once and keeps it there.
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(run)

    def submit(self, rows: Sequence[Any]) -> Ticket:
        ticket: Ticket = self._task.remote(self._dumps(rows))
        self._running.add(ticket)
        return ticket

    def wait(self, tickets: Iterable[Ticket], *, block: bool = True) -> Sequence[Ticket]:
        # `ray.wait` and not futures: in a Ray worker it lends out that worker's cores, so nested runs cannot starve.
        pending = list(tickets)
        count = 1 if block else len(pending)
        return self._ray.wait(pending, num_returns=count, timeout=None if block else 0)[0] if pending else []

    def result(self, ticket: Ticket) -> BatchReply:
        errors = self._ray.exceptions
        self._running.discard(ticket)
        try:
            reply: BatchReply = self._ray.get(ticket)
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.LocalRayletDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        ):
            raise WorkerDiedError from None
        except errors.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise IntarsiaError(
                f"a Ray worker could not run the engine: {error.cause}",
                fix="install the same version of intarsia on every node",
            ) from error
        except errors.RayError as error:
            raise IntarsiaError(f"Ray failed: {error}") from error
        return reply

    def close(self, *, abort: bool) -> None:
        if abort:
            for ticket in self._running:
                self._ray.cancel(ticket, force=True)
        if self._disconnect:
            self._ray.shutdown()

    def _dumps(self, value: Any) -> bytes:
        try:
            data: bytes = self._ray.cloudpickle.dumps(value)
        except Exception as error:
            raise InputError(
                f"the function or a row cannot be sent to Ray workers: {error}",
                fix="use the backend 'threads' or 'serial'",
            ) from None
        return data


@functools.lru_cache(maxsize=1)
def _loaded(job: bytes, paths: tuple[str, ...]) -> Any:
    """In the worker: the job, loaded with its first batch."""
    sys.path.extend(path for path in paths if path not in sys.path and Path(path).exists())
    return load(job)


def open_ray(
    name: str,
    call: Callable[[Any], Any],
    encode: Callable[[Any], Any] | None,
    *,
    workers: int | None,
    items: int | None,
    gpus_per_worker: float,
) -> RayBackend:
    """Connects to a cluster and divides it among the workers.

    A connection the program already has is used and left open. Otherwise `"ray"` connects to the cluster Ray finds
    (`RAY_ADDRESS`, or one started on this machine by `ray start`), or starts one that ends with the run.

    Raises:
        MissingExtraError: If Ray is not installed.
        IntarsiaError: If no cluster answers at the address.
        ConfigError: If the cluster has no such GPUs.
    """
    ray = _import_ray()
    disconnect = not ray.is_initialized()
    if disconnect:
        _connect(ray, name)
    resources = ray.cluster_resources()
    if gpus_per_worker > resources.get("GPU", 0):
        available = f"at most the cluster's GPUs ({resources.get('GPU', 0):g})"
        if disconnect:
            ray.shutdown()
        raise ConfigError("gpus_per_worker", gpus_per_worker, available)
    cpus = max(1.0, resources.get("CPU", 1.0))
    fitting = resources["GPU"] // gpus_per_worker if gpus_per_worker else cpus
    workers = at_most(workers or int(fitting), items)
    return RayBackend(
        ray,
        call,
        encode,
        workers=workers,
        cpus=_cpus_per_worker(ray, cpus / workers),
        gpus=gpus_per_worker,
        disconnect=disconnect,
    )


def _import_ray() -> Any:
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtraError("ray", "ray") from None
    return ray


def _connect(ray: Any, name: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = name if name.startswith("ray://") else name.removeprefix("ray").removeprefix(":") or "auto"
    try:
        _knock(_noted_address() if address == "auto" else address)
        ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        if name != "ray" or "RAY_ADDRESS" in os.environ:
            raise IntarsiaError(
                f"no Ray cluster answers: {error}",
                where=name,
                fix="check the address; if the cluster asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN",
            ) from None
        _start(ray, quiet)


def _start(ray: Any, quiet: dict[str, Any]) -> None:
    try:
        ray.init("local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet)
    except Exception as error:  # Ray raises just that if one of its processes is not up within half a minute.
        raise IntarsiaError(
            f"Ray could not start on this machine: {error}",
            fix="try again when the machine is less busy, or use the backend 'local'",
        ) from error


def _noted_address() -> str:
    """Where Ray would look for a cluster: its note of the last one stays when a machine or cluster went down."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    note = Path(folder, "ray", "ray_current_cluster")
    return os.environ.get("RAY_ADDRESS") or (note.read_text().strip() if note.exists() else "")


def _knock(address: str) -> None:
    """Fails at once if nothing listens at `HOST:PORT`, where Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _cpus_per_worker(ray: Any, share: float) -> float:
    """An even share of the cluster: whole cores, no more than the smallest node has, or a fraction of one."""
    if share < 1:
        return share
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return float(int(min([share, *(cpus for cpus in nodes if cpus >= 1)])))
