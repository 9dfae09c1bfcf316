"""What these tests share: helpers beside them, and an environment without keys."""

import sys
from pathlib import Path

import pytest

# For the modules of helpers that tests import.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTARSIA_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "INSPECT_EVAL_MODEL"):
        monkeypatch.delenv(name, raising=False)
