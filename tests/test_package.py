"""What `import intarsia` does, and does not."""

import pickle
import subprocess
import sys

import pytest

import intarsia
from intarsia.errors import ConfigError, DataError, IntarsiaError, RunExistsError, UnknownNameError


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_takes_the_standard_library_only():
    loaded = run(
        "import sys; before = set(sys.modules); import intarsia;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    assert set(loaded.split()) - set(sys.stdlib_module_names) <= {"intarsia"}


@pytest.mark.parametrize("first", ["import intarsia", "from transformers import AutoModelForCausalLM"])
def test_model_classes_are_known_to_the_auto_classes_in_either_order(first):
    code = (
        f"{first}\nimport intarsia\nfrom transformers import AutoConfig, AutoModelForCausalLM\n"
        "config = AutoConfig.for_model('twin_merged')\n"
        "print(type(config) in AutoModelForCausalLM._model_mapping)"
    )
    assert run(code) == "True"


def test_rooms_are_imported_when_touched():
    assert run("import intarsia, sys; intarsia.metrics; print('torch' in sys.modules)") == "False"
    with pytest.raises(AttributeError, match="garage"):
        _ = intarsia.garage


@pytest.mark.parametrize(
    "error",
    [
        IntarsiaError("what", where="there", fix="do"),
        ConfigError("rank", -1, "at least 1"),
        DataError("bad", file="a.jsonl", line=3, field="label"),
        UnknownNameError("dataset", "reuter", ["reuters"]),
        RunExistsError("runs/x"),
    ],
)
def test_errors_survive_the_way_between_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.exit_code == error.exit_code


def test_an_unknown_name_suggests_near_ones():
    assert "did you mean 'reuters-r8'" in str(UnknownNameError("dataset", "reuters-8", ["reuters-r8", "friends"]))
    assert "known: friends" in str(UnknownNameError("dataset", "zzz", ["friends"]))
