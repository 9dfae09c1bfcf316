import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from intarsia.cli import app as app_module
from intarsia.cli import console
from intarsia.cli.app import COMMANDS, app
from intarsia.errors import InputError

FAKE = '''
import errno
import typer
from intarsia.errors import InputError, IntarsiaError

def fake(how: str, seed: int = 0) -> None:
    """Fail in many ways."""
    if how == "input":
        raise InputError("the rank is too large", where="layer [3]", fix="lower it")
    if how == "failure":
        raise IntarsiaError("the run failed")
    if how == "bug":
        raise ZeroDivisionError("a secret detail\\nand more")
    if how == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    if how == "wrapped":
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    if how == "stop":
        raise KeyboardInterrupt
    if how == "exit":
        raise typer.Exit(7)
    print("fine", seed)
'''


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "fake_command_module.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(app_module.PANELS["Start here"], "fake", "fake_command_module:fake")
    monkeypatch.setitem(COMMANDS, "fake", "fake_command_module:fake")
    yield lambda *words: CliRunner().invoke(app, ["fake", *words])
    sys.modules.pop("fake_command_module", None)


def test_a_command_runs_with_its_options(fake):
    result = fake("fine", "--seed", "3")
    assert (result.exit_code, result.stdout) == (0, "fine 3\n")


@pytest.mark.parametrize(("how", "code"), [("input", 2), ("failure", 1), ("bug", 1), ("stop", 130), ("exit", 7)])
def test_exit_codes(fake, how, code):
    assert fake(how).exit_code == code


def test_a_known_error_is_its_message_once_and_brackets_are_no_markup(fake):
    stderr = fake("input").stderr
    assert stderr == "error: the rank is too large\n  where: layer [3]\n  fix:   lower it\n"


def test_an_unknown_error_names_debug_and_hides_the_traceback(fake):
    stderr = fake("bug").stderr
    assert "unexpected failure: ZeroDivisionError: a secret detail" in stderr
    assert "--debug" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("words", [["--debug", "fake", "bug"], ["fake", "--debug", "bug"], ["fake", "bug", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(fake, words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_debug_after_a_double_dash_is_an_argument(fake):
    result = fake("--", "--debug")
    assert (result.exit_code, result.stdout) == (0, "fine 0\n")


@pytest.mark.parametrize("how", ["full", "wrapped"])
def test_a_full_disk_is_named(fake, how):
    result = fake(how)
    assert result.exit_code == 1
    assert "the disk is full" in result.stderr
    assert "resumes" in result.stderr


def test_a_stop_says_how_to_go_on(fake):
    assert "run the same command again to resume" in fake("stop").stderr


def test_a_closed_pipe_is_left_to_the_program(fake):
    assert app_module._is_closed_pipe(OSError(errno.EPIPE, "Broken pipe"))
    assert not app_module._is_closed_pipe(OSError(errno.ENOSPC, "full"))


def test_a_misspelt_command_is_a_usage_error_with_a_suggestion():
    result = CliRunner().invoke(app, ["reprot"])
    assert result.exit_code == 2
    assert "Did you mean" in result.stderr
    assert "report" in result.stderr


def test_an_unknown_option_is_a_usage_error(fake):
    assert fake("fine", "--sed", "3").exit_code == 2


def test_every_registered_command_has_help_with_an_example():
    for name, target in COMMANDS.items():
        assert app_module._is_there(target), f"{name}: no module for {target}"
        result = CliRunner().invoke(app, [name, "--help"])
        assert result.exit_code == 0, f"{name}: {result.output}"
        assert "intarsia " + name in result.output.replace("\n", " "), f"the help of {name} has no example"


def test_version():
    import intarsia

    assert CliRunner().invoke(app, ["--version"]).stdout == f"intarsia {intarsia.__version__}\n"


def run_program(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "intarsia.cli.app", *words]
    return subprocess.run(program, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_help_imports_nothing_heavy():
    code = (
        "import sys, intarsia.cli.app as a\n"
        "try: a.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'peft', 'matplotlib', 'numpy', 'ray', 'datasets'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "reproduce" in done.stdout


def test_shell_completion_lists_commands():
    words = {"_INTARSIA_COMPLETE": "complete_bash", "COMP_WORDS": "intarsia re", "COMP_CWORD": "1"}
    assert run_program(**words).stdout.split() == ["reproduce", "report"]


def test_a_table_as_text_and_as_json(capsys):
    rows = [{"name": "a", "size": 1.0, "hidden": True}, {"name": "b", "size": None, "hidden": False}]
    console.print_table(rows, {"name": "Name", "size": "Size"})
    text = capsys.readouterr().out
    assert "Size" in text
    assert "hidden" not in text
    console.print_table(rows, ["name", "size"], json=True)
    assert json.loads(capsys.readouterr().out) == rows


def test_json_refuses_nan():
    with pytest.raises(ValueError, match="JSON"):
        console.print_json([float("nan")])


@pytest.mark.parametrize("pair", ["no-equals", "=value", "name="])
def test_a_malformed_assignment_is_named(pair):
    with pytest.raises(InputError, match=f"--expert '{pair}'"):
        console.parse_assignments([pair], "--expert")


def test_assignments():
    assert console.parse_assignments(["a=x=y", "b=z"], "--expert") == {"a": "x=y", "b": "z"}
    with pytest.raises(InputError, match="'a' twice"):
        console.parse_assignments(["a=1", "a=2"], "--expert")


def test_the_package_imports_fast_enough_to_import_nothing():
    code = "import sys, intarsia; sys.exit(','.join({'torch', 'numpy', 'typer', 'yaml'} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_console_script_is_this_program():
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert 'intarsia = "intarsia.cli.app:main"' in project.read_text()
