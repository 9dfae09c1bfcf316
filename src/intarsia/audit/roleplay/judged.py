"""A reply with what judges wrote about it: all that tables need, as JSON, so that they can be made again."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from intarsia.audit.roleplay.dataset import Query, RoleFacts, RoleQueries
from intarsia.audit.roleplay.defences import Answer
from intarsia.audit.roleplay.judging import (
    QF,
    RF,
    Case,
    Judge,
    Verdicts,
    nearest_option,
    read_coherence,
    read_hallucination,
    read_letter,
)
from intarsia.audit.roleplay.options import LETTERS, Options, arrange, balanced_places
from intarsia.audit.roleplay.rules import check_reply
from intarsia.errors import ConfigError
from intarsia.models.sentence_encoder import TextEncoder

DISTRACTORS = ("near", "random")


@dataclass(frozen=True, slots=True)
class Scores:
    """The four scores of a reply; None where the judge's words cannot be read.

    Attributes:
        hr: Whether it hallucinates, 0 or 1.
        rf: Whether its speaker is recognised, 0 to 1.
        qf: Whether its question is recognised, 0 to 1.
        sc: Coherence of the story, 1 to 5.
    """

    hr: float | None = None
    rf: float | None = None
    qf: float | None = None
    sc: float | None = None


@dataclass(frozen=True, slots=True)
class JudgedReply:
    """A reply and what was written about it.

    Attributes:
        id: Of the query.
        role_id: The role asked.
        attack: The attack.
        language: Of the query.
        defence: The defence.
        query: The query.
        reply: What the character said; None if the model gave no answer.
        error: Why not.
        calls: Calls of the model.
        format_failures: Answers of the model that were not marked as asked.
        steps: What was written on the way.
        gold: Score -> place of the right option, in each asking.
        verdicts: Judge -> score -> what it wrote.
        rules: Rule -> the passage that met it.
        embedding: Whether the nearest card and query are the right ones; empty without an encoder.
    """

    id: str
    role_id: str
    attack: str
    language: str
    defence: str
    query: str
    reply: str | None
    error: str | None = None
    calls: int = 0
    format_failures: int = 0
    steps: Mapping[str, Any] = field(default_factory=dict)
    gold: Mapping[str, Sequence[int]] = field(default_factory=dict)
    verdicts: Mapping[str, Verdicts] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    embedding: Mapping[str, bool] = field(default_factory=dict)

    def scores(self, judge: str) -> Scores:
        """Returns the scores by a judge, read from what it wrote."""
        written = self.verdicts.get(judge, {})
        hallucinates = _first(read_hallucination(text) for text in written.get("hr", ()))
        return Scores(
            hr=None if hallucinates is None else float(hallucinates),
            rf=self._share(written, RF),
            qf=self._share(written, QF),
            sc=_first(read_coherence(text) for text in written.get("sc", ())),
        )

    def choices(self, judge: str, score: str) -> list[int]:
        """Returns the places a judge chose."""
        read = [read_letter(text) for text in self.verdicts.get(judge, {}).get(score, ())]
        return [place for place in read if place is not None]

    def unread(self, judge: str) -> tuple[int, int]:
        """Returns how many of a judge's writings give no verdict, and how many there are."""
        readers: dict[str, Any] = {"hr": read_hallucination, "sc": read_coherence, RF: read_letter, QF: read_letter}
        written = [(score, text) for score, texts in self.verdicts.get(judge, {}).items() for text in texts]
        return sum(readers[score](text) is None for score, text in written), len(written)

    def to_record(self) -> dict[str, Any]:
        """Returns the reply as JSON values."""
        return asdict(self)

    def _share(self, written: Verdicts, score: str) -> float | None:
        pairs = [
            (read_letter(text), gold)
            for text, gold in zip(written.get(score, ()), self.gold.get(score, ()), strict=False)
        ]
        right = [place == gold for place, gold in pairs if place is not None]
        return sum(right) / len(right) if right else None


class CaseMaker:
    """Puts replies before judges: with options in balanced order.

    Args:
        data: The data set.
        queries: Those of its queries that are asked; options are balanced over them.
        distractors: `near`: the nearest other queries, or `random`.
        seed: Of the order of options.

    Raises:
        ConfigError: If the kind of distractors is unknown.
    """

    def __init__(
        self, data: RoleQueries, queries: Sequence[Query], *, distractors: str = "near", seed: int = 0
    ) -> None:
        if distractors not in DISTRACTORS:
            raise ConfigError("distractors", distractors, " or ".join(DISTRACTORS))
        self._roles = data.roles
        self._texts = {query.id: query.query for query in data.queries}
        self._distractors = distractors
        self._seed = seed
        ids = [query.id for query in queries]
        self._places = {score: balanced_places(ids, seed, score) for score in (RF, QF)}

    def facts(self, query: Query) -> RoleFacts:
        """Returns what is known of the role that is asked."""
        return self._roles[query.role_id]

    def case(self, query: Query, defence: str, reply: str) -> Case:
        """Returns a reply as judges see it."""
        facts = self._roles[query.role_id]
        cards = [self._card(id) for id in query.adjacent_role_ids]
        others = self._near(query) if self._distractors == "near" else self._random(query)
        key = f"{self._seed}/{query.id}"
        return Case(
            key=f"{query.id}/{defence}",
            name=facts.card.name,
            description=facts.card.description,
            query=query.query,
            reply=reply,
            cards=arrange(self._card(query.role_id), cards, self._places[RF][query.id], f"{key}/rf"),
            queries=arrange(query.query, others, self._places[QF][query.id], f"{key}/qf"),
            findings=check_reply(
                reply, born=facts.born, died=facts.died, domains=facts.domains, hidden_names=facts.names
            ),
        )

    def _card(self, role_id: str) -> str:
        card = self._roles[role_id].card
        return f"{card.name}: {card.description}"

    def _near(self, query: Query) -> list[str]:
        return [self._texts[id] for id in query.near_query_ids]

    def _random(self, query: Query) -> list[str]:
        texts = sorted({text for text in self._texts.values() if text != query.query})
        order = sorted(texts, key=lambda text: hashlib.sha256(f"{self._seed}/{query.id}/{text}".encode()).digest())
        return order[: len(LETTERS) - 1]


async def judge_reply(
    maker: CaseMaker, query: Query, defence: str, answer: Answer, judges: Iterable[Judge], encoder: TextEncoder | None
) -> JudgedReply:
    """Has judges, rules and embeddings say what they make of an answer.

    Raises:
        ModelCallError: If a judge gives no answer.
    """
    case = maker.case(query, defence, answer.reply)
    assert case.cards is not None
    assert case.queries is not None
    verdicts = {judge.name: await judge.judge(case) for judge in judges}
    embedding: dict[str, bool] = {}
    if encoder is not None and answer.reply.strip():
        for score, options in ((RF, case.cards), (QF, case.queries)):
            embedding[score] = nearest_option(answer.reply, options, encoder) == options.gold
    return JudgedReply(
        **_about(query, defence),
        reply=answer.reply,
        calls=answer.calls,
        format_failures=answer.format_failures,
        steps=dict(answer.steps),
        gold={RF: _golds(case.cards), QF: _golds(case.queries)},
        verdicts=verdicts,
        rules=dict(case.findings.found) if case.findings else {},
        embedding=embedding,
    )


def unanswered(query: Query, defence: str, error: str) -> JudgedReply:
    """Returns the record of a query that got no reply."""
    return JudgedReply(**_about(query, defence), reply=None, error=error)


def judged_from_record(record: Mapping[str, Any]) -> JudgedReply:
    """Returns what `to_record` wrote."""
    return JudgedReply(**record)


def _about(query: Query, defence: str) -> dict[str, Any]:
    return {
        "id": query.id,
        "role_id": query.role_id,
        "attack": query.attack,
        "language": query.language,
        "defence": defence,
        "query": query.query,
    }


def _golds(options: Options) -> list[int]:
    return [options.gold, options.rotated().gold]


def _first(values: Iterable[Any]) -> Any:
    return next(iter(values), None)
