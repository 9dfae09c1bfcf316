"""Logs of `intarsia/rolebreak` as judged replies."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from intarsia.audit.roleplay.controls import JudgedControl
from intarsia.audit.roleplay.dataset import query_from_record
from intarsia.audit.roleplay.judged import JudgedReply, judged_from_record, unanswered
from intarsia.errors import DataError, MissingExtraError

TASK = "intarsia/rolebreak"
JUDGED, CONTROL, QUERIES, COSINE = "judged", "control", "queries", "mean_neighbour_cosine"
"""Where a sample's metadata hold what was judged, the planted reply, the queries, and how near roles are."""


class LoggedAudit(NamedTuple):
    """A log.

    Attributes:
        model: The model that played.
        judges: Who judged.
        replies: The judged replies.
        controls: The judged planted replies.
        mean_neighbour_cosine: Of the data set.
        seed: Of the task.
    """

    model: str
    judges: list[str]
    replies: list[JudgedReply]
    controls: list[JudgedControl]
    mean_neighbour_cosine: float | None
    seed: int


def read_log(path: Path) -> LoggedAudit:
    """Reads a log.

    Raises:
        InputError: If there is no such file.
        DataError: If it is no log, or one of another task.
    """
    if find_spec("inspect_ai") is None:
        raise MissingExtraError("inspect-ai", "eval")
    from intarsia.evals.inspect.logs import read_run

    run = read_run(path)
    if run.task != TASK:
        raise DataError(f"the log is of the task {run.task!r}", file=path, fix=f"give a log of {TASK}")
    replies: list[JudgedReply] = []
    controls: list[JudgedControl] = []
    cosine = None
    for sample in run.samples:
        judged = sample.metadata.get(JUDGED)
        if CONTROL in sample.metadata:
            controls += [JudgedControl(**record) for record in judged or ()]
            continue
        cosine = sample.metadata.get(COSINE, cosine)
        if judged is not None and sample.error is None:
            replies += [judged_from_record(record) for record in judged]
        else:
            defence = str(run.arguments.get("defence", "plain"))
            queries = [query_from_record(record) for record in sample.metadata[QUERIES]]
            replies += [unanswered(query, defence, sample.error or "there is no reply") for query in queries]
    verdicts = [*(each.verdicts for each in replies), *(each.verdicts for each in controls)]
    judges = list(dict.fromkeys(name for each in verdicts for name in each))
    model = run.model.removeprefix("intarsia/")
    return LoggedAudit(model, judges, replies, controls, cosine, int(run.arguments.get("seed", 0)))
