import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def llama():
    from miub_models import tiny_llama

    return tiny_llama()
