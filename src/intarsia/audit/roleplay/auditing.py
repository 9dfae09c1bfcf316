"""An audit in a folder from which a stopped run goes on, and its report from what was written."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.audit.roleplay.asking import ask_and_judge, count_audit_calls
from intarsia.audit.roleplay.building import BuildConfig, build_queries
from intarsia.audit.roleplay.controls import JudgedControl
from intarsia.audit.roleplay.dataset import MANIFEST, RoleQueries, read_queries, write_queries
from intarsia.audit.roleplay.embedding import make_encoder
from intarsia.audit.roleplay.judged import JudgedReply, judged_from_record
from intarsia.audit.roleplay.judging import RULE_JUDGE, Judge, ModelJudge, RuleJudge
from intarsia.audit.roleplay.layout import (
    CONTROLS,
    QUERIES_FOLDER,
    RECORDING,
    REPLIES,
    AuditConfig,
)
from intarsia.audit.roleplay.results import RoleplayResult, roleplay_result
from intarsia.audit.roleplay.roles import Role, built_in_roles, role_to_record
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
from intarsia.errors import DataError, InputError
from intarsia.evals.background import run
from intarsia.evals.protocol import ChatModel
from intarsia.evals.reply_journal import ReplyJournal


@dataclass(frozen=True, slots=True)
class AuditRun:
    """A finished audit.

    Args:
        folder: The run's folder.
        result: The tables.
        report: The HTML file.
    """

    folder: Path
    result: RoleplayResult
    report: Path


def run_audit(
    folder: str | Path,
    config: AuditConfig,
    *,
    dataset: str | Path | None = None,
    roles: Sequence[Role] | None = None,
    build: BuildConfig | None = None,
    models: Mapping[str, ChatModel] | None = None,
    command: str = "",
    overwrite: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> AuditRun:
    """Asks a model in its roles, has the replies judged, and writes tables and report.

    The same call again goes on where an earlier one was stopped; what was answered is not asked again.

    Args:
        folder: Folder of the run.
        config: The model, the judges and how they are asked.
        dataset: A data set on disk; or
        roles: the roles of one to make, by default the built-in ones, and
        build: which queries.
        models: Models to use for names of `config`, instead of making them from the name.
        command: The user's command, for the record.
        overwrite: Whether what the folder holds is thrown away first.
        progress: Whether to show a progress bar, if standard error is a terminal.
        say: Told the number of calls before they are made, and anything else worth a line.

    Raises:
        RunExistsError: If the folder holds a run with other settings, or something else.
        InputError: If the run may need more calls than it may make.
        IntarsiaError: If too many of a judge's writings cannot be read.
    """
    folder = Path(folder)
    if dataset is not None and (roles is not None or build is not None):
        raise InputError(
            "a data set is given, and roles or settings to make one too", where=dataset, fix="leave one of the two out"
        )
    wanted = {"settings": config.identity(), "data": _data_identity(dataset, roles, build)}
    record = open_run(
        folder, "roleplay", wanted, called={"data": "queries"}, command=command, seed=config.seed, overwrite=overwrite
    )
    with asking(folder, record, answers=(RECORDING,)):
        data = _data(folder, config, dataset, roles, build)
        recorded = len(ReplyJournal(folder / RECORDING))
        calls = count_audit_calls(
            config.model,
            data.queries,
            config.defences,
            config.judges,
            max_revisions=config.max_revisions,
            swap=config.swap,
            controls=config.controls,
            calibrates=config.confidence is None,
            recorded=recorded,
        )
        say(str(calls))
        require_calls(config.model, calls.most, config.max_calls, fewer="roles, attacks or defences")
        chats = _chats(folder, config, models or {})
        if config.model in config.judges:
            say(f"{config.model} judges itself, which favours it in role fidelity: name another judge")
        replies, controls = _ask(config, data, chats, progress)
    _write_lines(folder / REPLIES, [each.to_record() for each in replies])
    _write_lines(folder / CONTROLS, [each.to_record() for each in controls])
    result = _result(folder, record, replies, controls, allow_unscored=config.allow_unscored)
    return AuditRun(folder, result, _write_report([result], folder, provenance_of(record, without=["data"])))


def read_audit(path: str | Path, *, allow_unscored: bool = False) -> RoleplayResult:
    """Makes the tables of a run's folder or of a log of Inspect again; no model is called.

    Args:
        path: The folder of a run, or a log of `intarsia/rolebreak`.
        allow_unscored: Whether more than 5 % of a judge's writings may lack a verdict.

    Raises:
        InputError: If there is no such file or folder, or no finished run in it.
        DataError: If it is no log of this audit.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("there is no such run or log", where=path)
    if path.is_file():
        from intarsia.audit.roleplay.logged import read_log

        logged = read_log(path)
        return roleplay_result(
            logged.replies,
            logged.controls,
            model=logged.model,
            judges=logged.judges,
            mean_neighbour_cosine=logged.mean_neighbour_cosine,
            allow_unscored=allow_unscored,
            seed=logged.seed,
        )
    record = read_record(path, "roleplay")
    if not (path / REPLIES).is_file():
        raise InputError("the run was stopped before it was done", where=path, fix="run the same command again")
    replies = [judged_from_record(row) for row in _read_lines(path / REPLIES)]
    controls = [JudgedControl(**row) for row in _read_lines(path / CONTROLS)]
    return _result(path, record, replies, controls, allow_unscored=allow_unscored)


def write_audit_report(
    paths: Sequence[str | Path], folder: str | Path, *, allow_unscored: bool = False
) -> tuple[list[RoleplayResult], Path]:
    """Writes tables and report of runs or logs again, of several on one page; no model is called.

    Args:
        paths: Folders of runs, or logs.
        folder: Where `results.json` and `report.html` are written.
        allow_unscored: Whether more than 5 % of a judge's writings may lack a verdict.

    Returns:
        The tables, and the path of the report.
    """
    results = [read_audit(path, allow_unscored=allow_unscored) for path in paths]
    return results, _write_report(results, Path(folder), provenance_of_runs(paths, without=["data"]))


def _data(
    folder: Path,
    config: AuditConfig,
    dataset: str | Path | None,
    roles: Sequence[Role] | None,
    build: BuildConfig | None,
) -> RoleQueries:
    if not (folder / QUERIES_FOLDER / MANIFEST).is_file():
        if dataset is not None:
            write_queries(folder / QUERIES_FOLDER, read_queries(dataset))
        else:
            made = run(build_queries(roles or built_in_roles(), build, encoder=make_encoder(config.encoder)))
            write_queries(folder / QUERIES_FOLDER, made)
    return read_queries(folder / QUERIES_FOLDER)


def _chats(folder: Path, config: AuditConfig, given: Mapping[str, ChatModel]) -> dict[str, ChatModel]:
    from intarsia.evals.resolving import chat_model

    chats: dict[str, ChatModel] = {}
    for name in dict.fromkeys((config.model, *config.judges)):
        if name == RULE_JUDGE:
            continue
        base_url = config.base_url if name == config.model else config.judge_base_url
        chats[name] = chat_model(
            given.get(name, name),
            base_url=None if name in given else base_url,
            record=folder / RECORDING,
            concurrency=config.concurrency,
            timeout=float(config.timeout),
        )
    return chats


def _ask(
    config: AuditConfig, data: RoleQueries, chats: Mapping[str, ChatModel], progress: bool
) -> tuple[list[JudgedReply], list[JudgedControl]]:
    encoder = make_encoder(config.encoder)
    judges = [_NamedJudge(name, _judge(name, config, chats, encoder)) for name in config.judges]
    total = len(data.queries) * len(config.defences)
    with ProgressBar(f"asking {config.model}", total, shown=progress) as bar:
        judged = run(
            ask_and_judge(
                data,
                chats[config.model],
                judges,
                defences=config.defences,
                config=config.defence_config(),
                encoder=encoder,
                evidence_encoder=encoder,
                distractors=config.distractors,
                history=config.history,
                controls=config.controls,
                seed=config.seed,
                concurrency=config.concurrency,
                on_result=lambda done: bar.update(completed=done, failed=0),
            )
        )
    return judged.replies, judged.controls


class _NamedJudge:
    """A judge known by the name the user gave it, under which its verdicts are kept."""

    def __init__(self, name: str, judge: Judge) -> None:
        self.name = name
        self.judge = judge.judge


def _judge(name: str, config: AuditConfig, chats: Mapping[str, ChatModel], encoder: Any) -> Judge:
    if name == RULE_JUDGE:
        return RuleJudge(encoder)
    return ModelJudge(chats[name], swap=config.swap, seed=config.seed)


def _result(
    folder: Path,
    record: Mapping[str, Any],
    replies: Sequence[JudgedReply],
    controls: Sequence[JudgedControl],
    *,
    allow_unscored: bool,
) -> RoleplayResult:
    settings = record["settings"]
    return roleplay_result(
        replies,
        controls,
        model=settings["model"],
        judges=settings["judges"],
        mean_neighbour_cosine=files.read_json(folder / QUERIES_FOLDER / MANIFEST)["mean_neighbour_cosine"],
        allow_unscored=allow_unscored,
        seed=settings["seed"],
    )


def _write_report(results: Sequence[RoleplayResult], folder: Path, provenance: Mapping[str, Any]) -> Path:
    from intarsia.audit.roleplay.page import audit_report

    return write_results(folder, results, audit_report(results, provenance))


def _data_identity(dataset: str | Path | None, roles: Sequence[Role] | None, build: BuildConfig | None) -> Any:
    if dataset is not None:
        path = Path(dataset) / MANIFEST
        if not path.is_file():
            raise InputError(
                "the folder holds no role-play queries", where=dataset, fix="make one: audit roleplay build"
            )
        return {"files": files.read_json(path)["files"]}
    settings = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(build or BuildConfig()).items()}
    cards = [role_to_record(role) for role in roles or built_in_roles()]
    return {"build": settings, "roles": stable_key(json.loads(json.dumps(cards)))}


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise DataError("not a judged reply", file=path, line=number, fix="run the audit again") from None
    return rows
