"""Models that tests know everything about can be imported from here; the shared data sets, where they are."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def intent_folder():
    folder = Path(__file__).parents[2] / "../shared/data/intent-options"
    if not (folder / "labels.json").exists():
        pytest.skip("no shared/data/intent-options beside the repository")
    return folder
