"""Putting queries to a model under several defences, and its replies to judges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from intarsia.audit.roleplay.controls import JudgedControl, judge_control, planted_controls
from intarsia.audit.roleplay.dataset import Query, RoleQueries
from intarsia.audit.roleplay.defences import Answer, CallRange, DefenceConfig, Defender, Turn, count_calls
from intarsia.audit.roleplay.judged import CaseMaker, JudgedReply, judge_reply, unanswered
from intarsia.audit.roleplay.judging import RULE_JUDGE, Judge, judge_calls
from intarsia.audit.roleplay.prompts import Card
from intarsia.errors import ConfigError, InputError
from intarsia.evals.asking import ask_all
from intarsia.evals.protocol import ChatModel, Message, assistant, user
from intarsia.models.sentence_encoder import TextEncoder

HISTORIES = ("single", "running")


class Judged(NamedTuple):
    """What an audit gives.

    Attributes:
        replies: A judged reply for each query and defence, in the order of defences and queries.
        controls: The judged planted replies.
    """

    replies: list[JudgedReply]
    controls: list[JudgedControl]


class Calls(NamedTuple):
    """What a run will ask.

    Attributes:
        model: The model that plays.
        target: Calls of it.
        judges: Judge -> calls of it.
        recorded: Calls whose answers are recorded.
    """

    model: str
    target: CallRange
    judges: Mapping[str, int]
    recorded: int = 0

    @property
    def most(self) -> int:
        """Most calls that will be made, tries after failures not counted."""
        return max(0, self.target.most + sum(self.judges.values()) - self.recorded)

    def __str__(self) -> str:
        parts = [f"{self.model}: {self.target} calls to play"]
        parts += [f"{judge}: {calls:,} to judge" for judge, calls in self.judges.items() if calls]
        text = "; ".join(parts)
        return f"{text}; {self.recorded:,} answers are recorded" if self.recorded else text


@dataclass(frozen=True, slots=True)
class _Unit:
    """Queries that one conversation holds."""

    defence: str
    queries: tuple[Query, ...]


def count_audit_calls(
    model: str,
    queries: Sequence[Query],
    defences: Sequence[str],
    judges: Sequence[str],
    *,
    max_revisions: int = 2,
    swap: bool = False,
    controls: bool = True,
    calibrates: bool = True,
    recorded: int = 0,
) -> Calls:
    """Counts the calls of an audit before it starts."""
    roles = len({query.role_id for query in queries})
    target = CallRange(0, 0)
    for defence in defences:
        target += count_calls(defence, roles, len(queries), max_revisions, calibrates=calibrates)
    planted = len(planted_controls()) if controls else 0
    items = len(queries) * len(defences)
    by_judge = {judge: 0 if judge == RULE_JUDGE else judge_calls(items, planted, swap=swap) for judge in judges}
    return Calls(model, target, by_judge, recorded)


async def ask_and_judge(
    data: RoleQueries,
    model: ChatModel,
    judges: Sequence[Judge],
    *,
    defences: Sequence[str] = ("plain",),
    queries: Sequence[Query] | None = None,
    config: DefenceConfig | None = None,
    encoder: TextEncoder | None = None,
    evidence_encoder: TextEncoder | None = None,
    distractors: str = "near",
    history: str = "single",
    controls: bool = True,
    seed: int = 0,
    concurrency: int = 10,
    on_result: Callable[[int], None] = lambda _: None,
) -> Judged:
    """Asks a model all queries under all defences, and has its replies judged.

    Args:
        data: The data set.
        model: The model that plays.
        judges: Judges; the first gives the scores.
        defences: Names of defences.
        queries: Some of the data set's; by default all.
        config: How the model is asked.
        encoder: For the cross-check by embeddings; None leaves it out.
        evidence_encoder: Finds RoleFact's evidence; by default common words do.
        distractors: Of query fidelity: `near` or `random`.
        history: `single`: a conversation for each query; `running`: one for each role.
        controls: Whether the planted controls are judged too.
        seed: Of the order of options.
        concurrency: Conversations at once.
        on_result: Called with the number of queries that are done, each time some are.

    Raises:
        BudgetExceededError: If a model has made all the calls it may make.
        ModelUnusableError: If a model will not answer any call.
        ConfigError: If `history` or `distractors` is unknown.
        UnknownNameError: If a defence is unknown.
    """
    queries = list(data.queries if queries is None else queries)
    if not queries:
        raise InputError("there are no queries to ask")
    held = conversations(queries, history)
    maker = CaseMaker(data, queries, distractors=distractors, seed=seed)
    defenders = {name: Defender(model, name, config, encoder=evidence_encoder) for name in defences}
    units = [_Unit(name, each) for name in defences for each in held]
    done = 0

    async def converse(unit: _Unit) -> list[JudgedReply]:
        nonlocal done
        answers = await hold_conversation(defenders[unit.defence], maker.facts(unit.queries[0]).card, unit.queries)
        found = [
            await judge_reply(maker, query, unit.defence, answer, judges, encoder)
            for query, answer in zip(unit.queries, answers, strict=True)
        ]
        done += len(found)
        on_result(done)
        return found

    outcomes = await ask_all(converse, units, concurrency=concurrency)
    replies: list[JudgedReply] = []
    for unit, outcome in zip(units, outcomes, strict=True):
        failed = [unanswered(query, unit.defence, outcome.error or "") for query in unit.queries]
        replies += outcome.value if outcome.ok and outcome.value is not None else failed
    place = {(name, query.id): at for at, (name, query) in enumerate((n, q) for n in defences for q in queries)}
    replies.sort(key=lambda each: place[each.defence, each.id])
    planted = planted_controls() if controls else ()
    judged = await ask_all(lambda control: judge_control(control, judges), planted, concurrency=concurrency)
    return Judged(replies, [outcome.value for outcome in judged if outcome.value is not None])


async def hold_conversation(defender: Defender, card: Card, queries: Sequence[Query]) -> list[Answer]:
    """Puts queries to a character one after the other, in one conversation.

    Raises:
        ModelCallError: If the model gives no answer.
    """
    answers: list[Answer] = []
    history: list[Message] = []
    for query in queries:
        turn = Turn(card, query.query, f"{query.id}/{defender.defence}", tuple(history))
        answers.append(await defender.answer(turn))
        history += [user(query.query), assistant(answers[-1].reply)]
    return answers


def conversations(queries: Sequence[Query], history: str) -> list[tuple[Query, ...]]:
    """Returns which queries one conversation holds: one, or with a running history all of a role.

    Raises:
        ConfigError: If there is no such history.
    """
    if history not in HISTORIES:
        raise ConfigError("history", history, " or ".join(HISTORIES))
    if history == "single":
        return [(query,) for query in queries]
    by_role: dict[str, list[Query]] = {}
    for query in queries:
        by_role.setdefault(query.role_id, []).append(query)
    return [tuple(of_role) for of_role in by_role.values()]
