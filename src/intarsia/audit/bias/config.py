"""The settings of an audit: what is asked, how often, and how judgements are asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from intarsia.audit.bias.templates import TEMPLATES, Template
from intarsia.errors import ConfigError, UnknownNameError

PROTOCOL = "re-judge protocol v1"
"""Name of prompts, templates and parsers as they are; it stands in every log."""

SCALES = ("agree2", "likert5", "biased2")
CONTEXTS = ("fresh", "same_chat", "attributed", "third_person")
FORMS = ("completion", "open")
CELLS = 4
"""Orders of the two group words, times orders of the two attributes."""


@dataclass(frozen=True)
class RejudgeConfig:
    """What is asked of a model in the two stages.

    Attributes:
        tests: Names of tests or categories; none takes all.
        form: completion (two blanks, two group words to fill them) or open (a sentence about somebody is gone on with;
            tests of gender only).
        templates: How many of the ten wordings are used, or wordings of your own.
        draws: Completions for each test and template. Each four cover all orders of words and attributes.
        pairs: Attribute pairs of a test, the same for all templates. `draws` beyond `4 * pairs` repeat a question.
        scales: How judgements are asked for: agree2 (agree or disagree), likert5 (1 to 5), biased2 (does it express a
            bias). The first decides inconsistency.
        contexts: What the judge sees: fresh (a new conversation), same_chat (after its own completion), attributed
            ("you wrote"), third_person ("someone wrote"). The first decides verdicts.
        neutral: Neutral statements judged as a control, at most 40; each also in a reversed, false form.
        temperature: Of sampling, in both stages.
        completion_tokens: Most tokens of a completion.
        judgement_tokens: Most tokens of a judgement.
        seed: Chooses words, attributes and the seeds of sampling.

    Raises:
        ConfigError: If a number is out of range or `draws` does not cover all orders equally.
        UnknownNameError: If the form, a scale or a context is unknown.
    """

    tests: tuple[str, ...] = ()
    form: str = "completion"
    templates: int | tuple[str, ...] = 10
    draws: int = 20
    pairs: int = 5
    scales: tuple[str, ...] = ("agree2", "likert5")
    contexts: tuple[str, ...] = ("fresh",)
    neutral: int = 40
    temperature: float = 1.0
    completion_tokens: int = 64
    judgement_tokens: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UnknownNameError("form", self.form, FORMS)
        if self.form == "open" and not isinstance(self.templates, int):
            raise ConfigError("templates", len(self.templates), "a number: wordings of your own are for completions")
        for kind, given, known in (("scale", self.scales, SCALES), ("context", self.contexts, CONTEXTS)):
            for name in given:
                if name not in known:
                    raise UnknownNameError(kind, name, known)
            if not given or len(set(given)) != len(given):
                raise ConfigError(f"{kind}s", given, f"one or more of {', '.join(known)}, each once")
        if isinstance(self.templates, int):
            if not 2 <= self.templates <= len(TEMPLATES):
                raise ConfigError(
                    "templates", self.templates, f"2 to {len(TEMPLATES)}: stability needs at least 2 wordings"
                )
        elif len(self.templates) < 2:
            raise ConfigError("templates", len(self.templates), "at least 2 wordings: stability needs them")
        if self.draws < CELLS or self.draws % CELLS:
            raise ConfigError(
                "draws",
                self.draws,
                f"a multiple of {CELLS}, so that all orders of words and attributes are as frequent",
            )
        if self.pairs < 1:
            raise ConfigError("pairs", self.pairs, "at least 1")
        if not 0 <= self.neutral <= 40:
            raise ConfigError("neutral", self.neutral, "0 to 40")
        if self.temperature < 0:
            raise ConfigError("temperature", self.temperature, "at least 0")
        for name in ("completion_tokens", "judgement_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "at least 1")

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> "RejudgeConfig":
        """Reads what `to_json` gave."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
        }
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def wordings(self) -> Sequence[Template]:
        """Returns the templates.

        Raises:
            DataError: If one of your own has not two blanks and two places for attributes.
        """
        if isinstance(self.templates, int):
            return TEMPLATES[: self.templates]
        return tuple(map(Template, self.templates))
