"""Ways to answer in a role: plainly, refusing, reflecting, checking facts, or narrating (Sections 4.3 and 5)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from intarsia.audit.roleplay import prompts
from intarsia.audit.roleplay.embedding import WordEncoder
from intarsia.audit.roleplay.narration import NarratorConfig, Scene
from intarsia.audit.roleplay.outlines import Outlines
from intarsia.audit.roleplay.prompts import Card
from intarsia.audit.roleplay.rolefact import (
    Calibration,
    development_characters,
    nearest_sentences,
    read_facts,
    read_support,
)
from intarsia.errors import ConfigError, UnknownNameError
from intarsia.evals.protocol import ChatModel, Message, system, user
from intarsia.models.sentence_encoder import TextEncoder

NARRATOR = "narrator"
DEFENCES: Mapping[str, str] = {
    "plain": "the role prompt alone",
    "refusal": "the role prompt with the order to decline what the character cannot know",
    "self_reflection": "a reply, a critique of it, and a revised reply",
    "rolefact": "a draft whose unsupported facts are taken out",
    NARRATOR: "an outline, a plot before each reply, and a check of the reply",
    "narrator-no-outline": "Narrator Mode without the outline",
    "narrator-no-plot": "Narrator Mode without the plots",
    "narrator-no-verify": "Narrator Mode without the checks",
}


class Turn(NamedTuple):
    """A question put to a character.

    Attributes:
        card: The character.
        query: The question.
        key: Names the turn within the run.
        history: Earlier turns of the conversation.
    """

    card: Card
    query: str
    key: str
    history: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a turn.

    Attributes:
        reply: What the character says; it alone is scored.
        calls: Calls of the model for this turn, without the outline.
        format_failures: Answers of the model that were not marked as asked.
        steps: What was written on the way: drafts, critiques, plots.
    """

    reply: str
    calls: int
    format_failures: int = 0
    steps: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DefenceConfig:
    """How a defence asks the model.

    Attributes:
        temperature: Of sampling.
        max_tokens: Most tokens of an answer.
        seed: Of sampling.
        max_revisions: Of Narrator Mode: how often a reply is mended at most.
        evidence: Of RoleFact: sentences looked up for each question.
        confidence: Of RoleFact: facts without support stand if the model is at least so sure of them, 0 to 100; None
            has it calibrated on development characters.
    """

    temperature: float = 0.0
    max_tokens: int = 768
    seed: int | None = None
    max_revisions: int = 2
    evidence: int = 3
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.confidence is not None and not 0 <= self.confidence <= 100:
            raise ConfigError("confidence", self.confidence, "between 0 and 100, or left out")
        for name in ("max_tokens", "evidence"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "at least 1")
        if self.temperature < 0:
            raise ConfigError("temperature", self.temperature, "at least 0")


class CallRange(NamedTuple):
    """How many calls a run makes.

    Attributes:
        least: If every check passes at once and no draft states a fact.
        most: If none does.
    """

    least: int
    most: int

    def __add__(self, other: object) -> "CallRange":
        assert isinstance(other, CallRange)
        return CallRange(self.least + other.least, self.most + other.most)

    def __str__(self) -> str:
        return f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"


def require_defence(name: str) -> str:
    """Returns the name of a defence.

    Raises:
        UnknownNameError: If there is none of this name.
    """
    if name not in DEFENCES:
        raise UnknownNameError("defence", name, DEFENCES)
    return name


def narrator_config(name: str, max_revisions: int = 2) -> NarratorConfig:
    """Returns the parts of Narrator Mode that a defence has, e.g. all but the plots for `narrator-no-plot`."""
    off = name.removeprefix(NARRATOR).removeprefix("-no-")
    return NarratorConfig(**{part: part != off for part in ("outline", "plot", "verify")}, max_revisions=max_revisions)


def count_calls(name: str, roles: int, queries: int, max_revisions: int = 2, *, calibrates: bool = True) -> CallRange:
    """Returns how many calls of the model a defence makes (the cost formulas of Section 5).

    Args:
        name: The defence.
        roles: Roles that are asked anything.
        queries: Queries in all.
        max_revisions: Of Narrator Mode.
        calibrates: Of RoleFact: whether it asks how sure of a fact the model must be.
    """
    require_defence(name)
    if name in ("plain", "refusal"):
        return CallRange(queries, queries)
    if name == "self_reflection":
        return CallRange(3 * queries, 3 * queries)
    if name == "rolefact":
        # Only facts need a threshold, so a model that states none is not asked for it.
        return CallRange(2 * queries, 4 * queries + (len(development_characters()) if calibrates else 0))
    config = narrator_config(name, max_revisions)
    outlines = roles if config.outline else 0
    checks = CallRange(1, 1 + max_revisions) if config.verify else CallRange(0, 0)
    return CallRange(outlines + queries * (1 + checks.least), outlines + queries * (1 + checks.most))


class Defender:
    """Answers turns of any number of roles by one defence.

    Args:
        model: The model that plays.
        defence: Name of the defence.
        config: How the model is asked.
        encoder: Finds the evidence of RoleFact; by default by common words.

    Raises:
        UnknownNameError: If there is no such defence.
    """

    def __init__(
        self,
        model: ChatModel,
        defence: str,
        config: DefenceConfig | None = None,
        *,
        encoder: TextEncoder | None = None,
    ) -> None:
        self.defence = require_defence(defence)
        self._model = model
        self._config = config or DefenceConfig()
        self._encoder = encoder or WordEncoder()
        self._outlines = Outlines()
        self._calibration = Calibration()

    async def answer(self, turn: Turn) -> Answer:
        """Answers a turn.

        Raises:
            ModelCallError: If the model gives no answer.
        """
        ways: dict[str, Callable[[Turn], Awaitable[Answer]]] = {
            "plain": self._plain,
            "refusal": self._refusal,
            "self_reflection": self._self_reflection,
            "rolefact": self._rolefact,
        }
        return await ways.get(self.defence, self._narrator)(turn)

    async def _plain(self, turn: Turn) -> Answer:
        return Answer(await self._reply(turn, prompts.role_prompt(turn.card)), 1)

    async def _refusal(self, turn: Turn) -> Answer:
        return Answer(await self._reply(turn, prompts.refusal_prompt(turn.card)), 1)

    async def _self_reflection(self, turn: Turn) -> Answer:
        role = prompts.role_prompt(turn.card)
        draft = await self._reply(turn, role)
        critique = await self._ask([user(prompts.critique_prompt(turn.card, turn.query, draft))], turn, "critique")
        revision = user(prompts.revision_prompt(turn.card, turn.query, draft, critique))
        reply = await self._ask([system(role), revision], turn, "revision")
        return Answer(reply, 3, steps={"draft": draft, "critique": critique})

    async def _rolefact(self, turn: Turn) -> Answer:
        card, role = turn.card, prompts.role_prompt(turn.card)
        evidence = nearest_sentences(turn.query, card.wiki or card.description, self._encoder, self._config.evidence)
        draft = await self._reply(turn, role)
        facts = read_facts(await self._ask([user(prompts.facts_prompt(draft))], turn, "facts"))
        if not facts:
            return Answer(draft, 2, steps={"draft": draft, "evidence": evidence})
        judged = await self._ask([user(prompts.support_prompt(card, facts, evidence))], turn, "support")
        support = read_support(judged, len(facts))
        least = self._config.confidence
        if least is None:
            least = await self._calibration.get(self._ask_alone)
        kept = [fact for fact, sure in zip(facts, support, strict=True) if sure >= least]
        rewrite = user(prompts.rewrite_prompt(card, turn.query, draft, kept))
        reply = await self._ask([system(role), rewrite], turn, "rewrite")
        steps = {"draft": draft, "evidence": evidence, "facts": facts, "support": support, "kept": kept}
        return Answer(reply, 4, steps={**steps, "confidence": least})

    async def _narrator(self, turn: Turn) -> Answer:
        config = narrator_config(self.defence, self._config.max_revisions)
        outline = ""
        if config.outline:
            outline = await self._outlines.get(
                self._model, turn.card, temperature=self._config.temperature, seed=self._config.seed
            )
        scene = Scene(turn.card, config, outline)
        written = await self._ask(scene.messages([*turn.history, user(turn.query)]), turn, "reply")
        checking = scene.check(turn.query, scene.read(written))
        answer: str | None = None
        calls = 1
        while True:
            try:
                asked = next(checking) if answer is None else checking.send(answer)
            except StopIteration as end:
                done = end.value
                break
            answer = await self._ask(asked, turn, f"check-{calls}")
            calls += 1
        steps = {"outline": outline, "plot": done.plot, "checks": done.checks, "revisions": done.revisions}
        return Answer(done.reply, calls, done.format_failures, {**steps, "passed": done.passed})

    async def _reply(self, turn: Turn, role: str) -> str:
        return (await self._ask([system(role), *turn.history, user(turn.query)], turn, "reply")).strip()

    async def _ask(self, messages: Sequence[Message], turn: Turn, step: str) -> str:
        return await self._call(messages, f"{turn.key}/{step}")

    async def _ask_alone(self, prompt: str, key: str) -> str:
        return await self._call([user(prompt)], key)

    async def _call(self, messages: Sequence[Message], key: str) -> str:
        config = self._config
        reply = await self._model.chat(
            messages, temperature=config.temperature, max_tokens=config.max_tokens, seed=config.seed, key=key
        )
        return reply.text
