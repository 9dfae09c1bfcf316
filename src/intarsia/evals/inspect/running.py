"""Running a task of Inspect, and going on with one that was stopped."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from inspect_ai import eval as inspect_eval
from inspect_ai import eval_retry
from inspect_ai.log import EvalLog
from inspect_ai.model import GenerateConfig, Model, get_model

from intarsia.errors import InputError, IntarsiaError
from intarsia.evals.inspect.logs import EvalRun, find_logs, read_run
from intarsia.evals.inspect.progress import watching_samples

# Events in real time and raw requests cost several times what a call of a model costs here, and nobody looks at them.
_LOGGING: dict[str, Any] = {"log_realtime": False, "log_model_api": False, "score_display": False}
# A few calls that fail for good do not end a long run; they are counted, and the next run asks them again.
_FAILURES: dict[str, Any] = {"fail_on_error": 0.05, "retry_on_error": 2}


def run(
    task: str,
    *,
    model: str | Model,
    log_dir: str | Path = "logs",
    model_args: Mapping[str, Any] | None = None,
    model_base_url: str | None = None,
    model_roles: Mapping[str, str | Model] | None = None,
    concurrency: int = 10,
    max_retries: int = 5,
    timeout: int | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    display: str = "none",
    on_sample: Callable[[], None] | None = None,
    **params: Any,
) -> EvalRun:
    """Asks a model all samples of a task and returns the log.

    If `log_dir` holds a log of the same task, parameters, model and settings that was stopped, the run goes on from it:
    what was answered is not asked again. If it is complete, nothing is asked.

    Args:
        task: Name of a registered task, e.g. `intarsia/causal`.
        model: Name of a model as `inspect eval --model` takes it, or the model.
        log_dir: Folder for the log.
        model_args: What `-M` gives.
        model_base_url: Where the model is served.
        model_roles: Further models by role.
        concurrency: Calls at a time.
        max_retries: How often a call that failed is made again.
        timeout: Seconds after which a call counts as failed.
        temperature: Of sampling; by default the task's.
        max_tokens: Most tokens of a reply; by default the task's.
        seed: Of sampling.
        display: What Inspect shows: `"none"`, `"rich"`, `"plain"`, `"full"`.
        on_sample: Called after each sample that was asked.
        params: The task's parameters.

    Raises:
        IntarsiaError: If the run ended early because too many calls failed; what was answered is kept.
        KeyboardInterrupt: If it was interrupted.
    """
    common: dict[str, Any] = {
        **_LOGGING,
        **_FAILURES,
        "log_dir": str(log_dir),
        "display": display,
        "max_connections": concurrency,
        "max_samples": concurrency,
        "max_retries": max_retries,
        "timeout": timeout,
        "ctl_server": False,
    }
    generation: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    settings = {**generation, "base_url": model_base_url, "args": dict(model_args or {})}
    before = best_log(log_dir, task, params, str(model), settings if isinstance(model, str) else None)
    if before is not None and before.is_complete:
        return before
    with watching_samples(on_sample) if on_sample is not None else nullcontext():
        if before is not None:
            logs = eval_retry(before.path, **common)
        else:
            if isinstance(model, str):
                model = make_model(
                    model, model_args, base_url=model_base_url, concurrency=concurrency, timeout=timeout, **generation
                )
            roles = dict(model_roles) if model_roles else None
            logs = inspect_eval(task, model=model, model_roles=roles, task_args=params, **common)
    if not logs:  # so Inspect says that it was interrupted
        raise KeyboardInterrupt
    return _finished(logs[0], log_dir)


def make_model(
    name: str,
    args: Mapping[str, Any] | None = None,
    *,
    base_url: str | None = None,
    concurrency: int = 10,
    timeout: int | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
) -> Model:
    """Makes a model of Inspect.

    Args:
        name: As `inspect eval --model` takes it; commas belong to the name.
        args: What `-M` gives.
        base_url: Where it is served.
        concurrency: Calls at a time.
        timeout: Seconds after which a call counts as failed.
        temperature: Of sampling.
        max_tokens: Most tokens of a reply.
        seed: Of sampling.

    Raises:
        InputError: If there is no such provider, or it lacks a package or a key.
    """
    config = GenerateConfig(
        max_connections=concurrency, timeout=timeout, temperature=temperature, max_tokens=max_tokens, seed=seed
    )
    try:
        return get_model(name, base_url=base_url, config=config, memoize=False, **(args or {}))
    except IntarsiaError:
        raise
    except Exception as error:  # providers raise whatever they like, with what is missing in the message
        raise InputError(f"Inspect cannot make this model: {error}", where=name) from error


def best_log(
    log_dir: str | Path,
    task: str,
    params: Mapping[str, Any] | None = None,
    model: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> EvalRun | None:
    """Returns the log of the task that has the most replies, or None; what is left out may be anything.

    A run that is stopped a second time may have kept fewer of the first one's replies than the first log holds.
    """
    found = [read_run(path) for path in find_logs(log_dir)] if Path(log_dir).is_dir() else []
    same = [
        each
        for each in found
        if each.task == task
        and params in (None, each.arguments)
        and model in (None, each.model)
        and settings in (None, each.settings)
    ]
    return max(same, key=lambda each: (each.answered, each.is_complete, each.created), default=None)


def _finished(log: EvalLog, log_dir: str | Path) -> EvalRun:
    if log.status == "cancelled":
        raise KeyboardInterrupt
    if log.status != "success":
        message = log.error.message if log.error else "no reason is given"
        raise IntarsiaError(
            f"the evaluation ended early: {message}",
            where=log_dir,
            fix="mend what failed and run the same again: what was answered is not asked twice",
        )
    return read_run(log.location)
