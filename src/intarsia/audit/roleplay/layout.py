"""The folder of a run, and the settings by which one run differs from another.

queries/           the data set as it was asked
run.json           what was asked for: model, judges, settings, command, commit, versions
recording.jsonl    every answer of every model, so that nothing is asked twice
replies.jsonl      replies with what judges wrote about them
controls.jsonl     planted replies with what judges wrote about them
results.json       the tables
report.html        the report, and report.json to render it again
"""

from dataclasses import asdict, dataclass
from typing import Any

from intarsia.audit.roleplay.asking import HISTORIES
from intarsia.audit.roleplay.defences import DefenceConfig, require_defence
from intarsia.audit.roleplay.judged import DISTRACTORS
from intarsia.audit.run_folder import check_calls
from intarsia.errors import ConfigError
from intarsia.models.sentence_encoder import DEFAULT_ENCODER

QUERIES_FOLDER = "queries"
REPLIES, CONTROLS, RECORDING = "replies.jsonl", "controls.jsonl", "recording.jsonl"


@dataclass(frozen=True)
class AuditConfig:
    """How a model is asked and judged.

    Attributes:
        model: The model that plays: `asset:NAME`, a folder, `hf/OWNER/NAME`, `http://HOST:PORT/v1#NAME`,
            `replay:FILE`, or a provider of Inspect's such as `openai/gpt-4o-mini`.
        judges: Models that judge, named the same way, or `rules`. The first one's scores are reported.
        defences: plain, refusal, self_reflection, rolefact, narrator, narrator-no-outline, narrator-no-plot,
            narrator-no-verify.
        base_url: Where the model is served.
        judge_base_url: Where the judges are served.
        temperature: Of the model that plays.
        max_tokens: Most tokens of its answers.
        seed: Of sampling, of the order of options and of the bootstrap.
        max_revisions: Of Narrator Mode.
        confidence: Of RoleFact: how sure of a fact the model must be, 0 to 100; None has it calibrated.
        swap: Whether questions with options are put to judges twice, with the options rotated.
        distractors: Of query fidelity: near or random.
        history: single, or running: one conversation for each role.
        controls: Whether the planted controls are judged; without them no rate can be corrected.
        encoder: Sentence encoder for nearest roles and queries and for the cross-check, or `words`.
        allow_unscored: Whether more than 5 % of a judge's writings may lack a verdict.
        concurrency: Calls at once.
        max_calls: The run does not start if it may need more.
        timeout: Seconds until a call counts as failed.

    Raises:
        UnknownNameError: If a defence is unknown.
        ConfigError: If a value is out of range.
    """

    model: str
    judges: tuple[str, ...]
    defences: tuple[str, ...] = ("plain",)
    base_url: str | None = None
    judge_base_url: str | None = None
    temperature: float = 0.0
    max_tokens: int = 768
    seed: int = 0
    max_revisions: int = 2
    confidence: float | None = None
    swap: bool = False
    distractors: str = "near"
    history: str = "single"
    controls: bool = True
    encoder: str = DEFAULT_ENCODER
    allow_unscored: bool = False
    concurrency: int = 10
    max_calls: int | None = None
    timeout: int = 120

    def __post_init__(self) -> None:
        check_calls(self.model, self.concurrency, self.timeout, self.max_calls)
        for name, values in (("judges", self.judges), ("defences", self.defences)):
            if not values or len(set(values)) < len(values) or not all(values):
                raise ConfigError(name, list(values), "one or more names, each once")
        for defence in self.defences:
            require_defence(defence)
        for name, allowed in (("distractors", DISTRACTORS), ("history", HISTORIES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(name, getattr(self, name), " or ".join(allowed))
        if self.max_revisions < 0:
            raise ConfigError("max_revisions", self.max_revisions, "at least 0")
        self.defence_config()

    def defence_config(self) -> DefenceConfig:
        """Returns how the model that plays is asked."""
        return DefenceConfig(
            self.temperature, self.max_tokens, self.seed, max_revisions=self.max_revisions, confidence=self.confidence
        )

    def identity(self) -> dict[str, Any]:
        """What replies and scores depend on; a run with another identity is another run."""
        kept = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        for name in ("concurrency", "max_calls", "timeout", "allow_unscored"):
            del kept[name]
        return kept
