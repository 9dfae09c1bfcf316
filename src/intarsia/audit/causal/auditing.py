"""Asking a model the questions of a data set, in a folder from which a stopped run goes on."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.audit.causal.baselines import BASELINE_TASKS
from intarsia.audit.causal.building import Subject
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.dataset import MANIFEST, QUESTIONS, file_hash, read_dataset, require_keys, write_dataset
from intarsia.audit.causal.layout import (
    BASELINE,
    LOGS,
    QUESTIONS_FOLDER,
    RECORDING,
    REPLIES,
    AuditConfig,
)
from intarsia.audit.causal.names import Words
from intarsia.audit.causal.questions import Question
from intarsia.audit.causal.results import AuditResult, audit_result
from intarsia.audit.run_folder import (
    asking,
    open_run,
    provenance_of,
    provenance_of_runs,
    read_record,
    require_calls,
    write_results,
)
from intarsia.errors import DataError, InputError


@dataclass(frozen=True, slots=True)
class AuditRun:
    """A finished audit.

    Args:
        folder: The run's folder.
        result: The tables.
        report: The HTML file.
    """

    folder: Path
    result: AuditResult
    report: Path


def run_audit(
    folder: str | Path,
    config: AuditConfig,
    *,
    dataset: str | Path | None = None,
    benchmark: BenchmarkConfig | None = None,
    words: Words | None = None,
    subjects: Sequence[Subject] | None = None,
    command: str = "",
    overwrite: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> AuditRun:
    """Asks a model, scores what it replies, and writes tables and report.

    The same call again goes on where an earlier one was stopped; what was answered is not asked again.

    Args:
        folder: Folder of the run.
        config: The model and how it is asked.
        dataset: A data set on disk; or
        benchmark: the settings of one to generate; by default those of `BenchmarkConfig`.
        words: Word lists of yours, for `benchmark`.
        subjects: Graphs of yours, for `benchmark`.
        command: The user's command, for the record.
        overwrite: Whether what the folder holds is thrown away first.
        progress: Whether to show a progress bar, if standard error is a terminal.
        say: Told the number of calls before they are made, and anything else worth a line.

    Raises:
        RunExistsError: If the folder holds a run with other settings, or something else.
        DataError: If the data set is empty, or has a question without answer key.
        InputError: If the run needs more calls than it may make, or a baseline cannot answer a task.
        IntarsiaError: If too many calls failed.
    """
    from intarsia.audit.causal.asking import ask, count_calls

    folder = Path(folder)
    if dataset is not None and (benchmark is not None or words or subjects is not None):
        raise InputError(
            "a data set is given, and settings to generate one too", where=dataset, fix="leave one of the two out"
        )
    data: dict[str, Any]
    if dataset is not None:
        data = {"sha256": file_hash(_question_file(dataset))}
    else:
        benchmark = benchmark or BenchmarkConfig()
        data = {"generator": _as_json(asdict(benchmark)), "own": _own_hash(words, subjects)}
    wanted = {"settings": config.identity(), "data": data}
    record = open_run(
        folder,
        "causal",
        wanted,
        called={"data": "questions"},
        command=command,
        seed=config.seed or 0,
        overwrite=overwrite,
    )
    with asking(folder, record, answers=(LOGS, RECORDING, REPLIES)):
        if not (folder / QUESTIONS_FOLDER).is_dir():
            if benchmark is None:
                _copy(Path(str(dataset)), folder / QUESTIONS_FOLDER)
            else:
                write_dataset(folder / QUESTIONS_FOLDER, benchmark, words=words, subjects=subjects)
        questions = require_keys(read_dataset(folder / QUESTIONS_FOLDER), folder / QUESTIONS_FOLDER)
        _check_baseline(config, questions)
        calls = count_calls(folder, config, questions)
        say(str(calls))
        require_calls(config.model, calls.most, config.max_calls, fewer="graphs, levels, tasks or name styles")
        answered = ask(folder, config, questions, progress=progress)
    result = audit_result(answered, model=config.model, criterion=config.criterion, extractor=config.extractor)
    return AuditRun(folder, result, _write([result], folder, provenance_of(record, without=["data"])))


def read_audit(path: str | Path, *, criterion: str | None = None) -> AuditResult:
    """Makes the tables of a run's folder or of a log of Inspect again; no model is called.

    Args:
        path: The folder of a run, or a log of `intarsia/causal` or `intarsia/causal_names`.
        criterion: Rule for BA answers; by default the run's.

    Raises:
        InputError: If there is no such file or folder, or nothing was answered.
        DataError: If it is no log of this benchmark.
    """
    from intarsia.audit.causal.asking import answered_in_log, replies_of

    path = Path(path)
    if not path.exists():
        raise InputError("there is no such run or log", where=path)
    if path.is_file():
        run, answered = answered_in_log(path)
        arguments = run.arguments
        return audit_result(
            answered,
            missing=max(0, run.planned - len(answered)),
            model=run.model.removeprefix("intarsia/").replace("causal-baseline/", BASELINE),
            criterion=criterion or str(arguments.get("criterion", "adjustment")),
            extractor=str(arguments.get("extractor", "rules")),
        )
    record = read_record(path, "causal")
    config = AuditConfig(**record["settings"])
    questions = require_keys(read_dataset(path / QUESTIONS_FOLDER), path / QUESTIONS_FOLDER)
    answered = replies_of(path, config, questions)
    return audit_result(
        answered, model=config.model, criterion=criterion or config.criterion, extractor=config.extractor
    )


def write_audit_report(
    paths: Sequence[str | Path], folder: str | Path, *, criterion: str | None = None
) -> tuple[list[AuditResult], Path]:
    """Writes tables and report of runs or logs again, of several on one page; no model is called.

    Args:
        paths: Folders of runs, or logs.
        folder: Where `results.json` and `report.html` are written.
        criterion: Rule for BA answers; by default that of each run.

    Returns:
        The tables, and the path of the report.
    """
    results = [read_audit(path, criterion=criterion) for path in paths]
    return results, _write(results, Path(folder), provenance_of_runs(paths, without=["data"]))


def _write(results: Sequence[AuditResult], folder: Path, provenance: Mapping[str, Any]) -> Path:
    from intarsia.audit.causal.page import audit_report

    return write_results(folder, results, audit_report(results, provenance))


def _question_file(dataset: str | Path) -> Path:
    path = Path(dataset)
    file = path / QUESTIONS if path.is_dir() else path
    if not file.is_file():
        raise DataError("there is no file of questions", file=file, fix="run intarsia audit causal generate")
    return file


def _copy(dataset: Path, target: Path) -> None:
    """Copies a data set whole, checked before against its manifest."""
    file = _question_file(dataset)
    require_keys(read_dataset(dataset), dataset)
    with files.atomic_folder(target) as made:
        shutil.copyfile(file, made / QUESTIONS)
        manifest = file.parent / MANIFEST
        if manifest.is_file() and file.name == QUESTIONS:
            shutil.copyfile(manifest, made / MANIFEST)


def _check_baseline(config: AuditConfig, questions: Sequence[Question]) -> None:
    if not config.model.startswith(BASELINE):
        return
    name = config.model.removeprefix(BASELINE)
    others = sorted({question.task for question in questions} - set(BASELINE_TASKS[name]))
    if others:
        raise InputError(
            f"baseline {name!r} answers {', '.join(BASELINE_TASKS[name])} only, but {', '.join(others)} are asked too",
            fix=f"ask for {' and '.join(BASELINE_TASKS[name])} only",
        )


def _own_hash(words: Words | None, subjects: Sequence[Subject] | None) -> str | None:
    from intarsia.engine import stable_key

    if not words and subjects is None:
        return None
    graphs = [
        [
            subject.id,
            list(map(list, subject.graph.edges)),
            list(subject.query),
            repr(subject.effect),
            repr(subject.own_names),
        ]
        for subject in subjects or ()
    ]
    return stable_key([repr(sorted((words or {}).items())), graphs])


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(item) if isinstance(item, tuple) else item for name, item in value.items()}
