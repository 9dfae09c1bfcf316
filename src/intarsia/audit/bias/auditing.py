"""Asking a model both stages, in a folder from which a stopped run goes on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from intarsia import files
from intarsia.audit.bias.asking import Record, most_calls, record_from_json
from intarsia.audit.bias.association import AssociationTest, read_tests, select_tests, shipped_tests
from intarsia.audit.bias.config import RejudgeConfig
from intarsia.audit.bias.items import Item, plan
from intarsia.audit.bias.layout import (
    COMPLETIONS,
    LOGS,
    RECORDING,
    RECORDS,
    SIMULATED,
    STATEMENTS,
    TESTS,
    BiasAuditConfig,
)
from intarsia.audit.bias.pairs import StatementPair, pair_items, read_pairs
from intarsia.audit.bias.results import BiasResult, bias_result
from intarsia.audit.failures import NOT_ASKED
from intarsia.audit.run_folder import (
    asking,
    open_run,
    provenance_of,
    provenance_of_runs,
    read_record,
    require_calls,
    write_results,
)
from intarsia.engine import stable_key
from intarsia.engine.progress import ProgressBar
from intarsia.errors import DataError, InputError, MissingExtraError

if TYPE_CHECKING:
    from intarsia.evals.inspect.logs import EvalRun

TASK = "intarsia/rejudge"

_UNTOLD = ("source", "protocol")
"""Parts of the record that say nothing to a reader of the report."""


@dataclass(frozen=True, slots=True)
class BiasAuditRun:
    """A finished audit.

    Args:
        folder: The run's folder.
        result: The tables.
        report: The HTML file.
    """

    folder: Path
    result: BiasResult
    report: Path


class Calls(NamedTuple):
    """What a run will ask.

    Attributes:
        model: The model.
        items: Items of the run.
        answered: Those of them answered before.
        most: Most calls that will be made, tries after failures not counted.
    """

    model: str
    items: int
    answered: int
    most: int

    def __str__(self) -> str:
        text = f"{self.model}: {self.items:,} items, at most {self.most:,} calls to make"
        return f"{text}; {self.answered:,} items were answered before" if self.answered else text


class _Asked(NamedTuple):
    """What a run asks, and the parameters of the task that make the same."""

    items: list[Item]
    parameters: dict[str, Any]
    has_completions: bool


def run_bias_audit(
    folder: str | Path,
    config: BiasAuditConfig,
    protocol: RejudgeConfig | None = None,
    *,
    stimuli: str | Path | None = None,
    completions: str | Path | None = None,
    statements: str | Path | None = None,
    command: str = "",
    overwrite: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> BiasAuditRun:
    """Asks a model both stages, scores what it replies, and writes tables and report.

    The same call again goes on where an earlier one was stopped; what was answered is not asked again.

    Args:
        folder: Folder of the run.
        config: The model and how it is asked.
        protocol: What it is asked.
        stimuli: JSONL file of association tests of yours.
        completions: Folder or log of a run whose first stage is judged; nothing is completed anew.
        statements: File of statement pairs that are only judged.
        command: The user's command, for the record.
        overwrite: Whether what the folder holds is thrown away first.
        progress: Whether to show a progress bar, if standard error is a terminal.
        say: Told the number of calls before they are made.

    Raises:
        RunExistsError: If the folder holds a run with other settings, or something else.
        InputError: If the run may need more calls than it may make, or two sources of statements are given.
        DataError: If a file of yours cannot be used.
        IntarsiaError: If too many calls failed.
    """
    folder, protocol = Path(folder), protocol or RejudgeConfig()
    given = {"stimuli": stimuli, "completions": completions, "statements": statements}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InputError(
            f"{' and '.join(named)} are given, but a run has one source of statements", fix="leave one out"
        )
    if not isinstance(protocol.templates, int):
        raise InputError("templates of your own run in Python only, with ask_item", fix="give a number of templates")
    if find_spec("inspect_ai") is None:
        raise MissingExtraError("inspect-ai", "eval")
    source = _Source.read(protocol, stimuli, completions, statements)
    wanted = {
        "settings": config.identity(),
        "protocol": protocol.to_json(),
        "source": stable_key(list(source.lines())),
    }
    record = open_run(folder, "bias", wanted, command=command, seed=protocol.seed, overwrite=overwrite)
    with asking(folder, record, answers=(LOGS, RECORDING)):
        source.write(folder)
        asked = source.asked(folder, protocol)
        calls = _count(folder, config, protocol, asked)
        say(str(calls))
        fewer = "tests, templates, draws, scales or contexts"
        require_calls(config.model, calls.most, config.max_calls, fewer=fewer)
        records = _ask(folder, config, asked, progress)
    files.write_text(folder / RECORDS, "".join(json.dumps(each.to_json()) + "\n" for each in records))
    result = bias_result(records, model=config.model, config=protocol)
    return BiasAuditRun(folder, result, _write(folder, [result], provenance_of(record, without=_UNTOLD)))


def read_bias_audit(path: str | Path) -> BiasResult:
    """Makes the tables of a run's folder or of a log of Inspect again; no model is called.

    Raises:
        InputError: If there is no such file or folder, or nothing was answered.
        DataError: If it is no run of this audit, or its first stage is missing.
    """
    path = Path(path)
    if path.is_dir():
        record = read_record(path, "bias", ("settings", "protocol"))
        protocol = RejudgeConfig.from_json(record["protocol"])
        records = read_records(path)
        return bias_result(records, model=record["settings"]["model"], config=protocol)
    run = _log(path)
    records = _records(run)
    protocol = RejudgeConfig.from_json(_settings_of(run))
    model = run.model.removeprefix("intarsia/").replace("simulated/", SIMULATED)
    return bias_result(records, model=model, config=protocol, missing=max(0, run.planned - len(records)))


def read_records(path: str | Path) -> list[Record]:
    """Returns what was said in a run or log, word for word.

    Raises:
        InputError: If there is no such file or folder, or it has no replies.
        DataError: If it is something else, or its first stage is missing.
    """
    path = Path(path)
    if path.is_dir():
        file = path / RECORDS
        if not file.is_file():
            # A stopped run has logs only.
            from intarsia.evals.inspect.running import best_log

            before = best_log(path / LOGS, TASK) if (path / LOGS).is_dir() else None
            if before is None:
                raise InputError("the folder holds no replies", where=path, fix="run intarsia audit bias run first")
            return _records(before)
        path = file
    if path.suffix == ".jsonl":
        records = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"not valid JSON: {error.msg}", file=path, line=number) from None
            records.append(record_from_json(row, where=f"{path}, line {number}"))
        return records
    return _records(_log(path))


def completions_of(path: str | Path) -> list[Record]:
    """Returns the completions of a run, log or `records.jsonl`, to be judged again.

    Raises:
        InputError: If there is no such file, or it has no completion: then there is nothing to judge.
        DataError: If it is something else.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("there is no such run or log", where=path)
    found = [each for each in read_records(path) if each.item.has_first_stage and each.completion is not None]
    if not found:
        raise InputError(
            "it has no first stage: no completion that could be judged",
            where=path,
            fix="give a run or log of intarsia/rejudge in which statements were completed",
        )
    return found


def write_bias_report(paths: Sequence[str | Path], folder: str | Path) -> tuple[list[BiasResult], Path]:
    """Writes tables and report of runs or logs again, of several on one page; no model is called.

    Args:
        paths: Folders of runs, or logs.
        folder: Where `results.json` and `report.html` are written.

    Returns:
        The tables, and the path of the report.
    """
    results = [read_bias_audit(path) for path in paths]
    return results, _write(Path(folder), results, provenance_of_runs(paths, without=_UNTOLD))


def _write(folder: Path, results: Sequence[BiasResult], provenance: Mapping[str, Any]) -> Path:
    from intarsia.audit.bias.page import bias_report

    return write_results(folder, results, bias_report(results, provenance))


# Sources of statements


@dataclass(frozen=True)
class _Source:
    """What is judged: association tests, completions of another run, or statement pairs."""

    tests: tuple[AssociationTest, ...] = ()
    completions: tuple[Record, ...] = ()
    statements: tuple[StatementPair, ...] = ()

    @classmethod
    def read(cls, protocol: RejudgeConfig, stimuli: Any, completions: Any, statements: Any) -> "_Source":
        if completions is not None:
            return cls(completions=tuple(completions_of(completions)))
        if statements is not None:
            return cls(statements=tuple(read_pairs(statements)))
        known = read_tests(stimuli) if stimuli is not None else shipped_tests()
        return cls(tests=tuple(select_tests(known, protocol.tests)))

    def lines(self) -> tuple[str, str]:
        """Returns the file's name and its content."""
        if self.completions:
            rows = [each.to_json() | {"judgements": []} for each in self.completions]
            return COMPLETIONS, _jsonl(rows)
        if self.statements:
            return STATEMENTS, _jsonl([each._asdict() for each in self.statements])
        return TESTS, _jsonl([test.to_json() for test in self.tests])

    def write(self, folder: Path) -> None:
        name, text = self.lines()
        if not (folder / name).is_file():
            files.write_text(folder / name, text)

    def asked(self, folder: Path, protocol: RejudgeConfig) -> _Asked:
        name, _ = self.lines()
        file = str((folder / name).resolve())
        # Inspect's own `temperature` and `seed` are of the model; these are of the task.
        common: dict[str, Any] = {
            "scale": list(protocol.scales),
            "context": list(protocol.contexts),
            "neutral": protocol.neutral,
            "draw_temperature": protocol.temperature,
            "completion_tokens": protocol.completion_tokens,
            "judgement_tokens": protocol.judgement_tokens,
            "plan_seed": protocol.seed,
        }
        if self.completions:
            items = [each.item for each in self.completions] + plan([], protocol)
            return _Asked(items, {**common, "completions": file}, True)
        if self.statements:
            return _Asked(
                [*pair_items(self.statements, protocol.seed), *plan([], protocol)],
                {**common, "statements": file},
                False,
            )
        design = {
            "form": protocol.form,
            "templates": protocol.templates,
            "draws": protocol.draws,
            "pairs": protocol.pairs,
        }
        return _Asked(plan(self.tests, protocol), {**common, **design, "stimuli": file}, False)


def _jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# Asking


def _count(folder: Path, config: BiasAuditConfig, protocol: RejudgeConfig, asked: _Asked) -> Calls:
    before = _before(folder)
    done = {sample.id for sample in before.samples if sample.reply is not None} if before else set()
    left = [item for item in asked.items if item.id not in done]
    completions = sum(item.has_first_stage for item in left)
    most = most_calls(completions, len(left) - completions, protocol, has_completions=asked.has_completions)
    return Calls(config.model, len(asked.items), len(asked.items) - len(left), most)


def _ask(folder: Path, config: BiasAuditConfig, asked: _Asked, progress: bool) -> list[Record]:
    from intarsia.evals.inspect.running import run

    before = _before(folder)
    if before is not None and dict(before.arguments) != asked.parameters:
        raise InputError(
            "the run's folder was moved after it was stopped, so it cannot go on",
            where=folder,
            fix="move it back to where it was, or report what it holds: intarsia audit bias report",
        )
    done = before.answered if before is not None else 0
    name, args = _provider(folder, config.model)
    with ProgressBar(f"asking {config.model}", len(asked.items), shown=progress) as bar:

        def advance() -> None:
            nonlocal done
            done += 1
            bar.update(completed=min(done, len(asked.items)), failed=0)

        bar.update(completed=done, failed=0)
        finished = run(
            TASK,
            model=name,
            log_dir=folder / LOGS,
            model_args=args,
            model_base_url=config.base_url,
            concurrency=config.concurrency,
            timeout=config.timeout,
            on_sample=advance,
            **asked.parameters,
        )
    found = {each.item.id: each for each in _records(finished)}
    return [found.get(item.id) or Record(item, None, error=NOT_ASKED) for item in asked.items]


def _provider(folder: Path, ref: str) -> tuple[str, dict[str, Any]]:
    from intarsia.evals.inspect.providers import provider_name

    if ref.startswith(SIMULATED):
        args = {"stimuli": str((folder / TESTS).resolve())} if (folder / TESTS).is_file() else {}
        return f"simulated/{ref.removeprefix(SIMULATED)}", args
    name = provider_name(ref)
    return name, {"record": str((folder / RECORDING).resolve())} if name.startswith("intarsia/") else {}


def _before(folder: Path) -> "EvalRun | None":
    if not (folder / LOGS).is_dir():
        return None
    from intarsia.evals.inspect.running import best_log

    return best_log(folder / LOGS, TASK)


def _records(run: "EvalRun") -> list[Record]:
    from intarsia.audit.bias.evaluation import ITEM, record_of
    from intarsia.audit.bias.items import item_from_json

    records = []
    for sample in run.samples:
        where = f"{run.path}, sample {sample.id}"
        if sample.reply is None and ITEM in sample.metadata:
            item = item_from_json(sample.metadata[ITEM], where=where)
            records.append(Record(item, None, error=sample.error or "there is no reply", epoch=sample.epoch))
        else:
            records.append(record_of(sample.metadata, where))
    return records


def _log(path: Path) -> "EvalRun":
    if find_spec("inspect_ai") is None:
        raise MissingExtraError("inspect-ai", "eval")
    from intarsia.evals.inspect.logs import read_run

    run = read_run(path)
    if run.task != TASK:
        raise DataError(f"the log is of the task {run.task!r}", file=path, fix=f"give a log of {TASK}")
    return run


def _settings_of(run: "EvalRun") -> dict[str, Any]:
    arguments = run.arguments
    settings: dict[str, Any] = {}
    for name, field in (("scale", "scales"), ("context", "contexts"), ("tests", "tests")):
        if arguments.get(name):
            value = arguments[name]
            settings[field] = value.split(",") if isinstance(value, str) else value
    return settings | ({"form": arguments["form"]} if "form" in arguments else {})
