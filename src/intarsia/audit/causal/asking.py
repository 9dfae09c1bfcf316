"""Getting replies: through Inspect, which writes a log, or through `engine.map` for very many questions."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from intarsia import files
from intarsia.audit.causal.answered import Answered
from intarsia.audit.causal.baselines import responder
from intarsia.audit.causal.extraction import EXTRACTION_TOKENS, extraction_prompt, needs_extraction
from intarsia.audit.causal.layout import BASELINE, INSPECT, LOGS, QUESTIONS_FOLDER, RECORDING, REPLIES, AuditConfig
from intarsia.audit.causal.prompts import reply_tokens
from intarsia.audit.causal.questions import Question
from intarsia.audit.failures import NOT_ASKED
from intarsia.engine.progress import ProgressBar
from intarsia.errors import DataError, InputError, MissingExtraError
from intarsia.evals.protocol import ChatModel, user

if TYPE_CHECKING:
    from intarsia.evals.inspect.logs import EvalRun

TASK = "intarsia/causal"

# Questions that a worker is given at once: enough to keep its calls busy, few enough to show progress.
_CHUNK = 50


class Calls(NamedTuple):
    """What a run will ask.

    Attributes:
        model: The model.
        questions: Questions of the data set.
        answered: Those of them answered before.
        extracts: Whether a second call may follow a reply that the rules cannot read.
    """

    model: str
    questions: int
    answered: int
    extracts: bool

    @property
    def most(self) -> int:
        """Most calls that will be made, tries after failures not counted."""
        return (self.questions - self.answered) * (2 if self.extracts else 1)

    def __str__(self) -> str:
        left = self.questions - self.answered
        text = f"{self.model}: {self.questions:,} questions, {left:,} call{'' if left == 1 else 's'} to make"
        if self.extracts:
            text += f", and at most {left:,} more to extract answers"
        return f"{text}; {self.answered:,} were answered before" if self.answered else text


class _Item(NamedTuple):
    """A call as it is sent to a worker."""

    key: str
    prompt: str
    temperature: float
    max_tokens: int
    seed: int | None


def count_calls(folder: Path, config: AuditConfig, questions: Sequence[Question]) -> Calls:
    """Counts the calls of a run before it is started or resumed."""
    if config.engine == INSPECT:
        before = _before(folder, config)
        answered = before.answered if before is not None else 0
    elif (folder / REPLIES).is_file():
        answered = sum(each.reply is not None for each in _read_replies(folder, questions))
    else:
        from intarsia.evals.reply_journal import ReplyJournal

        journal = ReplyJournal(folder / RECORDING)
        answered = sum(journal.find_key(question.id) is not None for question in questions)
    return Calls(config.model, len(questions), answered, config.extractor == "model")


def ask(folder: Path, config: AuditConfig, questions: Sequence[Question], *, progress: bool = False) -> list[Answered]:
    """Asks what is not answered yet; returns all questions with their replies, in the order of the data set.

    Raises:
        IntarsiaError: If the model cannot be made, or too many calls failed.
        KeyboardInterrupt: If it was interrupted.
    """
    if config.engine == INSPECT:
        return _ask_through_inspect(folder, config, questions, progress)
    answered = _ask_on_engine(folder, config, questions, progress)
    rows = (
        {"id": one.question.id, "reply": one.reply, "extracted": one.extracted, "error": one.error} for one in answered
    )
    files.write_text(folder / REPLIES, "".join(json.dumps(row) + "\n" for row in rows))
    return answered


def replies_of(folder: Path, config: AuditConfig, questions: Sequence[Question]) -> list[Answered]:
    """Returns the questions of a run with the replies it holds; questions that were not asked have none."""
    if config.engine != INSPECT:
        return _read_replies(folder, questions)
    before = _before(folder, config)
    return _in_order(questions, _answered(before) if before is not None else [])


def answered_in_log(path: Path) -> tuple["EvalRun", list[Answered]]:
    """Reads a log of Inspect.

    Raises:
        InputError: If there is no such file.
        DataError: If it is no log, or one of another task.
    """
    _require_inspect()
    from intarsia.evals.inspect.logs import read_run

    run = read_run(path)
    if not run.task.startswith(TASK):
        raise DataError(f"the log is of the task {run.task!r}", file=path, fix="give a log of intarsia/causal")
    return run, _answered(run)


# Through Inspect


def _ask_through_inspect(
    folder: Path, config: AuditConfig, questions: Sequence[Question], progress: bool
) -> list[Answered]:
    _require_inspect()
    from intarsia.evals.inspect.running import run

    parameters = _parameters(folder, config)
    before = _before(folder, config)
    if before is not None and dict(before.arguments) != parameters:
        raise InputError(
            "the run's folder was moved after it was stopped, so it cannot go on",
            where=folder,
            fix=f"move it back: its questions were at {before.arguments.get('dataset')}",
        )
    done = before.answered if before is not None else 0
    name, args = _provider(folder, config.model)
    roles = {}
    if config.extractor_model is not None:
        from intarsia.evals.inspect.running import make_model

        extractor, extractor_args = _provider(folder, config.extractor_model)
        roles["extractor"] = make_model(extractor, extractor_args, concurrency=config.concurrency)
    with ProgressBar(f"asking {config.model}", len(questions), shown=progress) as bar:

        def advance() -> None:
            nonlocal done
            done += 1
            bar.update(completed=min(done, len(questions)), failed=0)

        bar.update(completed=done, failed=0)
        finished = run(
            TASK,
            model=name,
            log_dir=folder / LOGS,
            model_args=args,
            model_base_url=config.base_url,
            model_roles=roles or None,
            concurrency=config.concurrency,
            timeout=config.timeout,
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            seed=config.seed,
            on_sample=advance,
            **parameters,
        )
    return _in_order(questions, _answered(finished))


def _require_inspect() -> None:
    if find_spec("inspect_ai") is None:
        raise MissingExtraError("inspect-ai", "eval")


def _parameters(folder: Path, config: AuditConfig) -> dict[str, Any]:
    dataset = str((folder / QUESTIONS_FOLDER).resolve())
    return {"dataset": dataset, "criterion": config.criterion, "extractor": config.extractor}


def _provider(folder: Path, ref: str) -> tuple[str, dict[str, Any]]:
    from intarsia.evals.inspect.providers import provider_name

    if ref.startswith(BASELINE):
        return f"causal-baseline/{ref.removeprefix(BASELINE)}", {"dataset": str((folder / QUESTIONS_FOLDER).resolve())}
    name = provider_name(ref)
    return name, {"record": str((folder / RECORDING).resolve())} if name.startswith("intarsia/") else {}


def _before(folder: Path, config: AuditConfig) -> "EvalRun | None":
    if not (folder / LOGS).is_dir():
        return None
    from intarsia.evals.inspect.running import best_log

    # The folder holds one run, whose settings were compared; it may have been moved since, and its paths with it.
    return best_log(folder / LOGS, TASK)


def _answered(run: "EvalRun") -> list[Answered]:
    from intarsia.audit.causal.evaluation import EXTRACTED, question_of

    return [
        Answered(
            question_of(sample.metadata, sample.id),
            sample.reply,
            sample.metadata.get(EXTRACTED),
            sample.error,
            sample.epoch,
        )
        for sample in run.samples
    ]


def _in_order(questions: Sequence[Question], answered: Sequence[Answered]) -> list[Answered]:
    found = {each.question.id: each for each in answered}
    return [found.get(question.id) or Answered(question, None, error=NOT_ASKED) for question in questions]


# Through engine.map


def _ask_on_engine(folder: Path, config: AuditConfig, questions: Sequence[Question], progress: bool) -> list[Answered]:
    if config.model.startswith(BASELINE):
        respond = responder(config.model.removeprefix(BASELINE), questions)
        return [Answered(question, respond(question)) for question in questions]
    items = [
        _Item(
            question.id,
            question.prompt,
            config.temperature,
            config.max_tokens or reply_tokens(question.prompt_style),
            config.seed,
        )
        for question in questions
    ]
    replies = _replies(folder, config, config.model, items, progress)
    answered = [Answered(question, *replies[question.id]) for question in questions]
    if config.extractor != "model":
        return answered
    unread = {
        each.question.id: each
        for each in answered
        if each.reply is not None and needs_extraction(each.question, each.reply)
    }
    prompts = [
        _Item(f"{id}/extraction", extraction_prompt(each.question, each.reply or ""), 0.0, EXTRACTION_TOKENS, None)
        for id, each in unread.items()
    ]
    extracted = _replies(folder, config, config.extractor_model or config.model, prompts, progress)
    return [
        Answered(each.question, each.reply, extracted[f"{each.question.id}/extraction"].text, each.error)
        if each.question.id in unread
        else each
        for each in answered
    ]


class _Reply(NamedTuple):
    """What came of a call: the text, or None with the reason."""

    text: str | None
    extracted: None
    error: str | None


def _replies(
    folder: Path, config: AuditConfig, model: str, items: Sequence[_Item], progress: bool
) -> dict[str, _Reply]:
    from intarsia.evals.workers import ask_in_workers

    outcomes = ask_in_workers(
        _ask_one,
        items,
        model=model,
        options={
            "record": (folder / RECORDING).resolve(),
            "concurrency": config.concurrency,
            "timeout": float(config.timeout),
            "base_url": config.base_url if model == config.model else None,
        },
        key=lambda item: item.key,
        chunk=_CHUNK,
        backend=config.engine,
        description=f"asking {model}",
        progress=progress,
    )
    return {outcome.key: _Reply(outcome.value, None, outcome.error) for outcome in outcomes}


async def _ask_one(model: ChatModel, item: _Item) -> str:
    reply = await model.chat(
        [user(item.prompt)],
        temperature=item.temperature,
        max_tokens=item.max_tokens,
        seed=item.seed,
        key=item.key,
    )
    return reply.text


def _read_replies(folder: Path, questions: Sequence[Question]) -> list[Answered]:
    path = folder / REPLIES
    found = {}
    if path.is_file():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                found[row["id"]] = row
            except (ValueError, KeyError, TypeError):
                raise DataError(
                    "not a reply", file=path, line=number, fix="remove the file and run the audit again: it continues"
                ) from None
    return [
        Answered(question, row["reply"], row["extracted"], row["error"])
        if (row := found.get(question.id)) is not None
        else Answered(question, None, error=NOT_ASKED)
        for question in questions
    ]
