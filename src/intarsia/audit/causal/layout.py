"""The folder of a run, and the settings by which one run differs from another.

questions/         the data set as it was asked
run.json           what was asked for: model, settings, command, commit, versions
logs/              logs of Inspect; or
replies.jsonl      replies as they came, where `engine.map` asked
recording.jsonl    what models of Intarsia's own answered, so that nothing is asked twice
results.json       the tables
report.html        the report, and report.json to render it again
"""

from dataclasses import asdict, dataclass
from typing import Any

from intarsia.audit.causal.baselines import BASELINE_TASKS
from intarsia.audit.causal.extraction import require_extractor
from intarsia.audit.causal.scoring import CRITERIA
from intarsia.audit.run_folder import check_calls
from intarsia.errors import ConfigError, UnknownNameError

BASELINE = "baseline:"
INSPECT = "inspect"
"""The engine that writes logs of Inspect; the others are backends of `engine.map`."""

_ENGINES = (INSPECT, "serial", "threads", "local", "ray")

QUESTIONS_FOLDER, LOGS = "questions", "logs"
REPLIES, RECORDING = "replies.jsonl", "recording.jsonl"


@dataclass(frozen=True)
class AuditConfig:
    """How a model is asked.

    Attributes:
        model: `asset:NAME`, a folder, `hf/OWNER/NAME`, `http://HOST:PORT/v1#NAME`, `replay:FILE`, a provider of
            Inspect's such as `openai/gpt-4o-mini`, or `baseline:NAME`.
        criterion: Rule for BA answers: adjustment, backdoor, released.
        extractor: `"rules"`, or `"model"` to have a model write out what the rules cannot read.
        extractor_model: That model; by default the one that is asked.
        base_url: Where the model is served.
        temperature: Of sampling; 0 takes the likeliest token.
        max_tokens: Most tokens of a reply; by default 2,048 for prompts that ask to think step by step, else 1,024.
        seed: Of sampling.
        engine: `"inspect"`, or a backend of `engine.map` for very many questions: serial, threads, local, ray.
        concurrency: Calls at once; with `local` and `ray`, in every worker.
        max_calls: The run does not start if it needs more.
        timeout: Seconds until a call counts as failed.

    Raises:
        UnknownNameError: If the criterion or the extractor is unknown.
        ConfigError: If a value is out of range.
    """

    model: str
    criterion: str = "adjustment"
    extractor: str = "rules"
    extractor_model: str | None = None
    base_url: str | None = None
    temperature: float = 0.0
    max_tokens: int | None = None
    seed: int | None = None
    engine: str = INSPECT
    concurrency: int = 10
    max_calls: int | None = None
    timeout: int = 120

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise UnknownNameError("criterion", self.criterion, CRITERIA)
        require_extractor(self.extractor)
        if self.extractor_model is not None and self.extractor != "model":
            raise ConfigError("extractor", self.extractor, "'model' if there is an extractor_model")
        check_calls(self.model, self.concurrency, self.timeout, self.max_calls)
        if self.model.startswith(BASELINE) and self.model.removeprefix(BASELINE) not in BASELINE_TASKS:
            raise UnknownNameError("baseline", self.model.removeprefix(BASELINE), BASELINE_TASKS)
        if self.engine not in _ENGINES and not self.engine.startswith(("ray://", "ray:")):
            raise UnknownNameError("engine", self.engine, _ENGINES)
        if self.temperature < 0:
            raise ConfigError("temperature", self.temperature, "at least 0")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError("max_tokens", self.max_tokens, "at least 1, or left out")

    def identity(self) -> dict[str, Any]:
        """What replies and scores depend on; a run with another identity is another run."""
        kept = asdict(self)
        for name in ("concurrency", "max_calls", "timeout"):
            del kept[name]
        # Backends of `engine.map` continue what another one began.
        return {**kept, "engine": INSPECT if self.engine == INSPECT else "local"}
