"""The folder of a run, and the settings by which one run differs from another.

run.json           what was asked for: model, settings, command, commit, versions
tests.jsonl        the association tests as they were asked, or
completions.jsonl  the first stage of another run, or
statements.jsonl   the statement pairs that are judged
logs/              logs of Inspect
recording.jsonl    what models of Intarsia's own answered, so that nothing is asked twice
records.jsonl      what was said about each item, word for word
results.json       the tables
report.html        the report, and report.json to render it again
"""

from dataclasses import asdict, dataclass
from typing import Any

from intarsia.audit.bias.simulation import AGENTS
from intarsia.audit.run_folder import check_calls
from intarsia.errors import UnknownNameError

SIMULATED = "simulated:"

LOGS = "logs"
RECORDS, RECORDING = "records.jsonl", "recording.jsonl"
TESTS, COMPLETIONS, STATEMENTS = "tests.jsonl", "completions.jsonl", "statements.jsonl"


@dataclass(frozen=True)
class BiasAuditConfig:
    """Which model is asked, and how.

    Attributes:
        model: `asset:NAME`, a folder, `hf/OWNER/NAME`, `http://HOST:PORT/v1#NAME`, `replay:FILE`, a provider of
            Inspect's such as `openai/gpt-4o-mini`, or `simulated:NAME`.
        base_url: Where the model is served.
        concurrency: Calls at once.
        max_calls: The run does not start if it may need more.
        timeout: Seconds until a call counts as failed.

    Raises:
        UnknownNameError: If there is no such simulated model.
        ConfigError: If a value is out of range.
    """

    model: str
    base_url: str | None = None
    concurrency: int = 10
    max_calls: int | None = None
    timeout: int = 120

    def __post_init__(self) -> None:
        check_calls(self.model, self.concurrency, self.timeout, self.max_calls)
        if self.model.startswith(SIMULATED) and self.model.removeprefix(SIMULATED) not in AGENTS:
            raise UnknownNameError("simulated model", self.model.removeprefix(SIMULATED), AGENTS)

    def identity(self) -> dict[str, Any]:
        """What replies depend on; a run with another identity is another run."""
        return {name: value for name, value in asdict(self).items() if name in ("model", "base_url")}
