import json

import numpy as np
import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app
from intarsia.quantum import states


def call(*arguments):
    return CliRunner().invoke(app, ["quantum", *map(str, arguments)])


def test_the_table_names_reconstruction_and_conjecture():
    done = call("posterior", "ghz", "--qubits", "2")
    assert done.exit_code == 0, done.output
    for words in ("reconstruction", "XX", "0.999", "conjectured bound", "not proved", "proved bound of I_KL"):
        assert words in done.stdout
    assert "ghz: 2 qubits, order desc, maxent, sq, eps 0.001" in " ".join(done.stdout.split())
    # Rounding errors are not shown as numbers.
    assert "e-17" not in call("posterior", "haar", "--stop-below", "0").stdout
    assert "12 components skipped" in done.stderr


def test_json_holds_what_python_gives(tmp_path):
    np.save(tmp_path / "psi.npy", 2 * states.haar_state(2, np.random.default_rng(0)))
    done = call("posterior", tmp_path / "psi.npy", "--normalise", "--order", "weight", "--divergence", "kl", "--json")
    found = json.loads(done.stdout)
    assert found["reconstruction"] is True
    assert len(found["components"]) == 15
    assert found["total"] <= found["proved_bound_kl"]
    assert found["components"][0]["label"] == "IX"
    assert (found["order"], found["seed"]) == ("weight", 0)


def test_intervals_carry_their_certificates():
    pytest.importorskip("clarabel", reason="the extra 'quantum' is not installed")
    done = call("posterior", "haar", "--estimator", "interval", "--json")
    rows = json.loads(done.stdout)["components"]
    assert all(row["lower"] - 1e-9 <= row["value"] <= row["upper"] + 1e-9 for row in rows)
    assert len(rows[5]["certificate"]["upper"]) == 5
    assert "5 + 5 weights" in call("posterior", "haar", "--estimator", "interval").stdout


def test_failed_rows_are_said_with_what_helps():
    pytest.importorskip("clarabel", reason="the extra 'quantum' is not installed")
    done = call("posterior", "product", "--estimator", "interval", "--eps", "0")
    assert "total: none" in done.stdout
    assert "rows failed, so there is no total; a larger --eps" in done.stderr


def test_an_own_order_and_a_plot(tmp_path):
    done = call("posterior", "haar", "--qubits", "1", "--order", "Z,X,Y", "--plot", tmp_path / "curve.svg", "--json")
    assert [row["label"] for row in json.loads(done.stdout)["components"]] == ["Z", "X", "Y"]
    assert "<svg" in (tmp_path / "curve.svg").read_text()


def test_a_mixed_state_is_noted(tmp_path):
    np.save(tmp_path / "rho.npy", np.diag([0.75, 0.25]))
    done = call("posterior", tmp_path / "rho.npy")
    assert "note: the state is mixed" in done.stderr
    assert "conjectured" not in done.stdout


def test_bounds():
    done = call("bound", "--qubits", "2", "--json")
    rows = json.loads(done.stdout)
    assert [row["bound"] for row in rows] == pytest.approx([2, 4 * np.log(2), 2, 3])
    assert [row["standing"].split()[0] for row in rows] == ["proved", "proved", "conjecture", "exact"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["posterior", "gzh"], "unknown family of states 'gzh'"),
        (["posterior", "none.npy"], "file not found"),
        (["posterior", "haar", "--order", "up"], "unknown order 'up'"),
        (["posterior", "haar", "--order", "XX,XY"], "not a permutation"),
        (["posterior", "haar", "--eps", "1"], "eps is 1.0"),
        (["posterior", "haar", "--qubits", "6"], "--force"),
        (["posterior", "haar", "--plot", "curve.txt"], "plot is 'curve.txt'"),
        (["bound", "--qubits", "0"], "qubits is 0"),
        (["bound", "--qubits", "2", "--paulis", "XI,XA"], "unknown letter 'A'"),
    ],
)
def test_bad_input_exits_2(arguments, message):
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
