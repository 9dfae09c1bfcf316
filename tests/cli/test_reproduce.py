import json

import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app
from intarsia.experiments import registry
from intarsia.experiments.records import Claim, Outcome, Row

CLAIM = Claim("works", "It works", "Table 1")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An experiment `toy` with a laptop recipe, run in an empty folder."""

    def run(context):
        context.progress("thinking")
        value = context.config["value"] + context.seed
        return Outcome(
            [Row("ours", "toy", "score", 1.0, value, value - 1, value + 1, 5)], [context.claim("works", True, "yes")]
        )

    entry = registry.Experiment("toy", "A toy", "Toy paper, 2024", (CLAIM,), run)
    monkeypatch.setattr(registry, "_experiments", {"toy": entry})
    monkeypatch.setattr(registry, "names", lambda: ["toy"])
    (tmp_path / "recipes" / "toy").mkdir(parents=True)
    (tmp_path / "recipes" / "toy" / "laptop.yaml").write_text("value: 2\n")
    monkeypatch.setattr(registry, "recipes", lambda: tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_reproduce_writes_result_and_report(toy):
    result = CliRunner().invoke(app, ["reproduce", "toy", "--seed", "1"])
    assert result.exit_code == 0, result.output
    assert "holds: It works: yes" in result.stdout
    assert "thinking" in result.stderr
    content = json.loads((toy / "results/toy/laptop.json").read_text())
    assert content["command"] == "intarsia reproduce toy --scale laptop --seed 1"
    assert content["rows"][0]["measured"] == 3
    assert (toy / "runs/reproduce/toy-laptop-seed1/report.html").is_file()


def test_json_prints_the_result_only(toy):
    result = CliRunner().invoke(app, ["reproduce", "toy", "--json"])
    assert json.loads(result.stdout) == json.loads((toy / "results/toy/laptop.json").read_text())


def test_list_shows_scales_and_last_result(toy):
    assert CliRunner().invoke(app, ["reproduce", "toy", "--output", "elsewhere"]).exit_code == 0
    result = CliRunner().invoke(app, ["reproduce", "--list", "--output", "elsewhere", "--json"])
    (row,) = json.loads(result.stdout)
    assert (row["slug"], row["scales"], row["results"][0]["claims"]) == ("toy", ["laptop"], "1 of 1")
    assert "1 of 1" in CliRunner().invoke(app, ["reproduce", "--list", "--output", "elsewhere"]).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tooy"], "did you mean 'toy'?"),
        (["toy", "--scale", "labtop"], "did you mean 'laptop'?"),
        ([], "no experiment given"),
    ],
)
def test_wrong_names_exit_2_with_a_hint(toy, words, message):
    result = CliRunner().invoke(app, ["reproduce", *words])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_changed_recipe_does_not_resume(toy):
    assert CliRunner().invoke(app, ["reproduce", "toy"]).exit_code == 0
    (toy / "recipes/toy/laptop.yaml").write_text("value: 5\n")
    result = CliRunner().invoke(app, ["reproduce", "toy"])
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert CliRunner().invoke(app, ["reproduce", "toy", "--overwrite"]).exit_code == 0
    assert json.loads((toy / "results/toy/laptop.json").read_text())["rows"][0]["measured"] == 5


def test_report_prints_the_path_of_the_page(toy):
    CliRunner().invoke(app, ["reproduce", "toy"])
    result = CliRunner().invoke(app, ["report", "results", "--output", "page.html"])
    assert result.stdout == "page.html\n"
    assert "A toy" in (toy / "page.html").read_text()


@pytest.mark.parametrize(("folder", "message"), [("nowhere", "folder not found"), ("recipes", "no result files")])
def test_report_of_a_wrong_folder_exits_2(toy, folder, message):
    result = CliRunner().invoke(app, ["report", folder])
    assert result.exit_code == 2
    assert message in result.stderr
    assert folder in result.stderr
