"""Runs an experiment: recipe in, result file and report out, resumable in between."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.errors import IntarsiaError, RunExistsError
from intarsia.experiments import provenance, registry
from intarsia.experiments.context import Context
from intarsia.experiments.records import Outcome, Result, write_result
from intarsia.experiments.report import write_report
from intarsia.experiments.result_page import result_report, short_commit

DEFAULT_RESULTS = Path("results")
DEFAULT_RUNS = Path("runs") / "reproduce"


def run_experiment(
    slug: str,
    scale: str = "laptop",
    seed: int = 0,
    *,
    engine: str = "local",
    results: str | Path = DEFAULT_RESULTS,
    runs: str | Path = DEFAULT_RUNS,
    overwrite: bool = False,
    progress: Callable[[str], None] = print,
) -> Path:
    """Runs an experiment and writes its result file, and its report into the work folder.

    A run that was stopped goes on where it was: the work folder keeps what was finished.

    Args:
        slug: Name of the experiment.
        scale: Name of its recipe.
        seed: Seed of the run.
        engine: Backend for `engine.map` and `engine.sweep`.
        results: Folder of result files; `<slug>/<scale>.json` is written there.
        runs: Folder of work folders.
        overwrite: Whether an earlier run of the same name is dropped rather than resumed.
        progress: Called with one line of text at a time.

    Returns:
        The path of the result file.

    Raises:
        UnknownNameError: If there is no such experiment or scale.
        RunExistsError: If the work folder holds a run with a different recipe.
    """
    experiment = registry.get(slug)
    config = registry.recipe(slug, scale)
    command = command_line(slug, scale, seed, engine)
    folder = work_folder(slug, scale, seed, runs=runs)
    record = _open_run(
        folder, {"command": command, "experiment": slug, "scale": scale, "seed": seed, "config": config}, overwrite
    )
    with _logging_to(folder / "run.log"), _timed(folder, record):
        claims = {claim.id: claim for claim in experiment.claims}
        outcome = experiment.run(Context(config, seed, scale, folder, engine, progress, claims))
        _require_all_claims(outcome, set(claims), slug)
    result = Result(
        experiment=slug,
        scale=scale,
        wall_seconds=round(sum(attempt["seconds"] for attempt in record["attempts"]), 1),
        rows=outcome.rows,
        claims=outcome.claims,
        notes=[*outcome.notes, *_notes_on_attempts(record["attempts"])],
        **provenance.collect(command, seed),
    )
    path = Path(results) / slug / f"{scale}.json"
    write_result(path, result)
    write_report(result_report(result, outcome.figures), folder)
    return path


def command_line(slug: str, scale: str, seed: int, engine: str = "local") -> str:
    """The command that repeats a run, without paths of this machine."""
    command = f"intarsia reproduce {slug} --scale {scale} --seed {seed}"
    return command if engine == "local" else f"{command} --engine {engine.partition('://')[0]}"


def work_folder(slug: str, scale: str, seed: int, *, runs: str | Path = DEFAULT_RUNS) -> Path:
    """Where a run keeps its intermediate files, its log and its report."""
    return Path(runs) / f"{slug}-{scale}-seed{seed}"


def _open_run(folder: Path, description: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """Starts or resumes the run in `folder`; returns its record, which is the content of `run.json`."""
    path = folder / "run.json"
    if overwrite and path.is_file():
        shutil.rmtree(folder)
    if not path.is_file():
        record = {**description, "versions": provenance.versions(), "attempts": []}
        files.write_json(path, record)
        return record
    record = files.read_json(path)
    # The record went through JSON, where every key is text.
    if record["config"] != json.loads(json.dumps(description["config"])):
        raise RunExistsError(folder, what="a run with another recipe")
    return {**record, **description}


@contextmanager
def _timed(folder: Path, record: dict[str, Any]) -> Iterator[None]:
    """Adds this attempt to the record and, however it ends, its duration."""
    attempts = record["attempts"]
    for earlier in attempts:
        if earlier["seconds"] is None:  # killed without a chance to note its end: its last file tells
            earlier["seconds"] = max(0.0, _last_change(folder) - datetime.fromisoformat(earlier["started"]).timestamp())
    attempt: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "seconds": None,
    }
    attempts.append(attempt)
    files.write_json(folder / "run.json", record)
    start = time.monotonic()
    try:
        yield
    finally:
        attempt["seconds"] = round(time.monotonic() - start, 1)
        files.write_json(folder / "run.json", record)


def _last_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file())


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def _require_all_claims(outcome: Outcome, declared: set[str], slug: str) -> None:
    judged = {claim.id for claim in outcome.claims}
    if judged != declared:
        missing, extra = sorted(declared - judged), sorted(judged - declared)
        raise IntarsiaError(
            f"experiment {slug!r} did not judge its claims {missing} and judged undeclared ones {extra}"
        )


def _notes_on_attempts(attempts: list[dict[str, Any]]) -> list[str]:
    notes = []
    if len(attempts) > 1:
        notes.append(f"The run was resumed: its wall time is the sum of {len(attempts)} attempts.")
    commits = list(dict.fromkeys(attempt["commit"] for attempt in attempts))
    if len(commits) > 1:
        listed = ", ".join(str(short_commit(commit)) for commit in commits)
        notes.append(f"Parts of the run were computed at different commits: {listed}.")
    return notes
