"""`intarsia quantum qnn` and `intarsia reproduce qnn-mutual-information`, in miniature."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from intarsia.cli.quantum_qnn import qnn
from intarsia.errors import ConfigError, InputError, IntarsiaError, RunExistsError

QUICK = ["--qubits", "2", "--layers", "2", "--epochs", "2", "--seeds", "2", "--resamples", "4", "--train", "40"]


def call(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(qnn)
    return CliRunner().invoke(app, [*QUICK, *arguments])


def test_it_prints_runs_and_verdict_and_writes_the_folder(tmp_path: Path) -> None:
    output = tmp_path / "run"
    result = call("--output", str(output))
    assert result.exit_code == 0, result.output
    assert "Reconstruction" in result.stdout
    assert "of 2 with real labels" in result.stdout
    assert (output / "verdict.txt").read_text(encoding="utf-8").strip() in result.stdout
    assert {path.name for path in (output / "models").iterdir()} == {"real-0", "real-1", "shuffled-0", "shuffled-1"}
    assert (output / "models" / "real-0" / "model.safetensors").exists()
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "information plane" in page
    before = (output / "runs.jsonl").read_text(encoding="utf-8")
    assert call("--output", str(output)).exit_code == 0
    assert (output / "runs.jsonl").read_text(encoding="utf-8") == before
    refused = call("--output", str(output), "--loss", "logistic")
    assert isinstance(refused.exception, RunExistsError)
    assert call("--output", str(output), "--loss", "logistic", "--overwrite").exit_code == 0


def test_json_and_a_file_of_ones_own(tmp_path: Path) -> None:
    rows = "\n".join(f"{place % 2 + 0.01 * place},{place},{'ab'[place % 2]}" for place in range(60))
    (tmp_path / "mine.csv").write_text(f"u,v,kind\n{rows}\n", encoding="utf-8")
    result = call("--json", "--data", str(tmp_path / "mine.csv"), "--label", "kind", "--definitions", "data")
    found = json.loads(result.stdout)
    assert [(run["labels"], run["seed"]) for run in found["runs"]] == [
        ("real", 0),
        ("real", 1),
        ("shuffled", 0),
        ("shuffled", 1),
    ]
    assert found["runs"][0]["classes"] == ["a", "b"]
    assert set(found["runs"][0]["history"][0]) >= {"data_di_mo", "data_mi_mo", "train_accuracy"}
    assert "choi_di_mo" not in found["runs"][0]["history"][0]
    assert "Definition data" in found["verdict"]


def test_a_reuploading_circuit_tells_about_labels_only() -> None:
    result = call("--reupload", "--definitions", "holevo")
    assert result.exit_code == 0, result.output
    assert "Information about labels, chi(Y:Mo), median" in result.stdout
    assert "claim 1" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["--measured", "0,1"], ConfigError, "measured is .*a part of the qubits"),
        (["--measured", "first"], InputError, "--measured 'first' is not a list of qubits"),
        (["--reupload"], ConfigError, "only 'holevo' with re-uploading"),
        (["--seeds", "0"], InputError, "--seeds is 0"),
        (["--data", "absent.csv"], InputError, "file not found"),
        (["--data", "wine", "--train", "100"], ConfigError, "to tell 3 classes apart"),
        (["--qubits", "5"], InputError, "a feature for each of 5 qubits, but the samples have 4"),
    ],
)
def test_bad_input_is_named(arguments: list[str], kind: type[IntarsiaError], message: str) -> None:
    result = call(*arguments)
    assert isinstance(result.exception, kind)
    with pytest.raises(kind, match=message):
        raise result.exception


def test_the_reproduction_in_miniature(tmp_path: Path) -> None:
    from intarsia.experiments import registry
    from intarsia.experiments.context import Context

    experiment = registry.get("qnn-mutual-information")
    config = registry.recipe("qnn-mutual-information", "laptop")
    study = next(iter(config["studies"].values()))  # type: ignore[attr-defined]
    study |= {"seeds": 2, "circuit": {"qubits": 2, "layers": 1}}
    study["training"] |= {"epochs": 2}
    config = {"resamples": 4, "studies": {"iris": study}}
    claims = {claim.id: claim for claim in experiment.claims}
    outcome = experiment.run(Context(config, 0, "laptop", tmp_path, engine="serial", claims=claims))
    assert [claim.id for claim in outcome.claims] == list(claims)
    assert all(claim.holds is not None for claim in outcome.claims)
    assert outcome.notes[0].startswith("Reconstruction")
    assert all(row.paper is None for row in outcome.rows)
    assert len(outcome.figures) == 8
    growth = next(row for row in outcome.rows if row.metric.startswith("K1, I(Di:Mo) grows, data"))
    assert (growth.system, growth.dataset, growth.n) == ("real labels", "iris", 2)


def test_a_map_over_depth_and_measured_qubits(tmp_path: Path) -> None:
    from intarsia.experiments import registry
    from intarsia.experiments._qnn_recipe import read_recipe

    for scale in ("laptop", "paper"):
        cells = read_recipe(registry.recipe("qnn-mutual-information", scale)).cells()
        assert len({cell.name for cell in cells}) == len(cells)
    assert len(cells) == 24
    assert (cells[-1].circuit.layers, cells[-1].circuit.measured) == (20, (0, 1, 2))
