"""The task `intarsia/rolebreak` for `inspect eval`: its samples, solvers and scorers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any, cast

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig, ModelOutput, get_model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

from intarsia.audit.roleplay.asking import conversations, hold_conversation
from intarsia.audit.roleplay.building import BuildConfig, build_queries
from intarsia.audit.roleplay.controls import Control, judge_control, planted_controls
from intarsia.audit.roleplay.dataset import Query, RoleQueries, query_from_record, read_queries
from intarsia.audit.roleplay.defences import Answer, DefenceConfig, Defender, require_defence
from intarsia.audit.roleplay.embedding import make_encoder
from intarsia.audit.roleplay.judged import CaseMaker, JudgedReply, judge_reply, judged_from_record
from intarsia.audit.roleplay.judging import METRICS, RULE_JUDGE, Judge, ModelJudge, RuleJudge
from intarsia.audit.roleplay.logged import CONTROL, COSINE, JUDGED, QUERIES
from intarsia.audit.roleplay.roles import built_in_roles, read_roles
from intarsia.audit.roleplay.rules import RULES
from intarsia.errors import InputError
from intarsia.evals.background import run
from intarsia.evals.inspect.progress import report_sample
from intarsia.evals.inspect_model import InspectChat
from intarsia.models.sentence_encoder import DEFAULT_ENCODER, TextEncoder

VERSION = 2


@task
def rolebreak(
    dataset: str = "",
    roles: str | int = 0,
    attacks: str | list[str] = "multi_domain,multilingual,omission,perturbation",
    defence: str = "plain",
    max_revisions: int = 2,
    confidence: float | None = None,
    history: str = "single",
    judge: str = "model",
    swap: bool = False,
    distractors: str = "near",
    controls: bool = True,
    encoder: str = DEFAULT_ENCODER,
    limit_roles: int = 0,
    seed: int = 0,
) -> Task:
    """Does a character stay in its role under attack, and what does a defence cost?

    The model of the role `judge` judges; without one, the model that plays does.

    Args:
        dataset: Folder of `intarsia audit roleplay build`; without one, queries are made without a generator.
        roles: Without a data set: a file of role cards, or how many built-in roles; 0 for all.
        attacks: multi_domain, multilingual, omission, perturbation, perturbation_multilingual.
        defence: plain, refusal, self_reflection, rolefact, narrator, narrator-no-outline, narrator-no-plot or
            narrator-no-verify.
        max_revisions: Of Narrator Mode: how often a reply is mended at most.
        confidence: Of RoleFact: how sure of a fact the model must be, 0 to 100; left out, it is calibrated.
        history: single: a conversation and a sample for each query; running: for each role.
        judge: model, or rules: rules and embeddings in place of a judge.
        swap: Whether the judge is asked twice where there are options, the second time rotated.
        distractors: Of query fidelity: near or random.
        controls: Whether planted replies are judged too.
        encoder: Sentence encoder, or words.
        limit_roles: Ask the queries of so many roles only; 0 for all.
        seed: Of the data set and the order of options.
    """
    require_defence(defence)
    if judge not in ("model", RULE_JUDGE):
        raise InputError(
            f"judge is {judge!r}, but it must be model or rules", fix="name the model: --model-role judge="
        )
    data = read_queries(dataset) if dataset else _built(roles, attacks, encoder, seed)
    asked = sorted({query.role_id for query in data.queries})[: limit_roles or None]
    queries = [query for query in data.queries if query.role_id in asked]
    samples = [_sample(held, data) for held in conversations(queries, history)]
    samples += [_control_sample(control) for control in planted_controls()] if controls else []
    maker = CaseMaker(data, queries, distractors=distractors, seed=seed)
    shared = make_encoder(encoder)
    return Task(
        dataset=MemoryDataset(samples, name=f"rolebreak, {len(asked)} roles, {defence}"),
        solver=[
            play_role(data, defence, DefenceConfig(max_revisions=max_revisions, confidence=confidence), shared),
            judge_role(maker, defence, judge, swap, seed, shared),
        ],
        scorer=[rolebreak_judge(), role_rules()],
        config=GenerateConfig(temperature=0.0),
        cleanup=report_sample,
        version=VERSION,
    )


@solver
def play_role(data: RoleQueries, defence: str, config: DefenceConfig, encoder: TextEncoder) -> Solver:
    """Answers the query in its role, by a defence; the outline of a role is asked for once.

    Args:
        data: The data set.
        defence: Name of the defence.
        config: How the model is asked.
        encoder: Finds evidence.
    """
    made: dict[tuple[str, int], Defender] = {}

    def defender(epoch: int) -> Defender:
        model = get_model()
        if (str(model), epoch) not in made:
            own = model.config
            settings = {**asdict(config), "temperature": own.temperature or 0.0}
            settings["max_tokens"] = own.max_tokens or config.max_tokens
            # Repeated draws differ in their seed, so that no cache takes one for another.
            settings["seed"] = own.seed if epoch == 1 else (own.seed or 0) + epoch - 1
            made[str(model), epoch] = Defender(InspectChat(model), defence, DefenceConfig(**settings), encoder=encoder)
        return made[str(model), epoch]

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if CONTROL in state.metadata:
            state.output = ModelOutput.from_content(str(state.model), state.metadata[CONTROL]["reply"])
            return state
        queries = _queries_of(state)
        answers = await hold_conversation(defender(state.epoch), data.roles[queries[0].role_id].card, queries)
        state.metadata["answers"] = [asdict(answer) for answer in answers]
        state.output = ModelOutput.from_content(str(state.model), "\n\n".join(answer.reply for answer in answers))
        return state

    return solve


@solver
def judge_role(maker: CaseMaker, defence: str, judge: str, swap: bool, seed: int, encoder: TextEncoder) -> Solver:
    """Has the judge say what it makes of the reply; what it writes is kept with the sample.

    Args:
        maker: Puts replies before judges.
        defence: Name of the defence.
        judge: model or rules.
        swap: Whether the judge is asked twice where there are options.
        seed: Of the judge's sampling.
        encoder: For the cross-check.
    """

    def judges() -> list[Judge]:
        if judge == RULE_JUDGE:
            return [RuleJudge(encoder)]
        return [ModelJudge(InspectChat(get_model(role="judge")), swap=swap, seed=seed)]

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if CONTROL in state.metadata:
            control = await judge_control(Control(**state.metadata[CONTROL]), judges())
            state.metadata[JUDGED] = [control.to_record()]
            return state
        answers = [Answer(**answer) for answer in state.metadata["answers"]]
        state.metadata[JUDGED] = [
            (await judge_reply(maker, query, defence, answer, judges(), encoder)).to_record()
            for query, answer in zip(_queries_of(state), answers, strict=True)
        ]
        return state

    return solve


@metric
def reply_mean(name: str) -> Metric:
    """The mean over replies: a sample of a running conversation has several.

    Args:
        name: The score.
    """

    def measure(scores: list[SampleScore]) -> Value:
        values = [value for _, value in _of_replies(scores, name)]
        return fmean(values) if values else math.nan

    return measure


@metric
def mean_by_attack(name: str) -> Metric:
    """The mean of each attack.

    Args:
        name: The score.
    """

    def measure(scores: list[SampleScore]) -> Value:
        groups: dict[str, list[float]] = {}
        for attack, value in _of_replies(scores, name):
            groups.setdefault(attack, []).append(value)
        return cast(Value, {attack: fmean(values) for attack, values in sorted(groups.items())})

    return measure


@scorer(metrics={name: [reply_mean(name), stderr(cluster="role_id"), mean_by_attack(name)] for name in METRICS})
def rolebreak_judge() -> Scorer:
    """The four scores, read from what the judge wrote; what cannot be read is in no mean, nor is a planted reply."""

    async def score(state: TaskState, target: Target) -> Score:
        replies = _judged_replies(state)
        judges = [next(iter(each.verdicts)) for each in replies]
        rows = [
            {"attack": each.attack, **asdict(each.scores(judge))} for each, judge in zip(replies, judges, strict=True)
        ]
        told = [
            f"{name}: {text}"
            for each, judge in zip(replies, judges, strict=True)
            for name, texts in each.verdicts[judge].items()
            for text in texts
        ]
        return _score(state, rows, METRICS, "\n\n".join(told))

    return score


@scorer(metrics={rule: [reply_mean(rule)] for rule in RULES})
def role_rules() -> Scorer:
    """Which of the rules R1 to R7 the reply meets."""

    async def score(state: TaskState, target: Target) -> Score:
        replies = _judged_replies(state)
        rows = [{"attack": each.attack, **{rule: float(rule in each.rules) for rule in RULES}} for each in replies]
        told = [f"{rule}: {passage}" for each in replies for rule, passage in each.rules.items()]
        return _score(state, rows, RULES, "; ".join(told) or "no rule is met")

    return score


def _judged_replies(state: TaskState) -> list[JudgedReply]:
    """Returns the sample's replies; a planted one is in no score."""
    return [] if CONTROL in state.metadata else [judged_from_record(record) for record in state.metadata[JUDGED]]


def _score(state: TaskState, rows: Sequence[Mapping[str, Any]], names: Iterable[str], told: str) -> Score:
    """Returns the sample's means, with the replies behind them."""
    values = {}
    for name in names:
        known = [row[name] for row in rows if row[name] is not None]
        values[name] = fmean(known) if known else math.nan
    explanation = told if rows else "planted"
    return Score(
        value=cast(Any, values), answer=state.output.completion, explanation=explanation, metadata={"replies": rows}
    )


def _of_replies(scores: Sequence[SampleScore], name: str) -> list[tuple[str, float]]:
    """Returns attack and score of each reply that has one."""
    rows = [row for score in scores for row in (score.score.metadata or {}).get("replies", ())]
    return [(str(row["attack"]), float(row[name])) for row in rows if row[name] is not None]


def _queries_of(state: TaskState) -> list[Query]:
    return [query_from_record(record) for record in state.metadata[QUERIES]]


def _built(roles: str | int, attacks: str | Sequence[str], encoder: str, seed: int) -> RoleQueries:
    names = [part.strip() for part in attacks.split(",")] if isinstance(attacks, str) else list(attacks)
    cards = read_roles(roles) if isinstance(roles, str) and roles else built_in_roles(int(roles) or None)
    return run(build_queries(cards, BuildConfig(attacks=tuple(names), seed=seed), encoder=make_encoder(encoder)))


def _sample(queries: Sequence[Query], data: RoleQueries) -> Sample:
    """Returns the sample of one conversation."""
    first = queries[0]
    return Sample(
        input="\n\n".join(query.query for query in queries),
        target=first.expects,
        id=first.id if len(queries) == 1 else f"running/{first.role_id}",
        metadata={
            "attack": ", ".join(dict.fromkeys(query.attack for query in queries)),
            "role_id": first.role_id,
            QUERIES: [asdict(query) for query in queries],
            COSINE: data.mean_neighbour_cosine,
        },
    )


def _control_sample(control: Control) -> Sample:
    return Sample(
        input=control.query,
        target="hallucinated" if control.hallucinated else "in_character",
        id=f"control/{control.id}",
        metadata={"attack": CONTROL, "role_id": control.role_id, CONTROL: asdict(control)},
    )
