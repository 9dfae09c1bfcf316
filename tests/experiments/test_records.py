import json

import numpy as np
import pytest

from intarsia.errors import DataError
from intarsia.experiments.records import Claim, Figure, Outcome, Result, Row, read_result, write_result


def a_result(**changes):
    content = {
        "experiment": "toy",
        "scale": "laptop",
        "commit": None,
        "command": "intarsia reproduce toy",
        "seed": 0,
        "versions": {"python": "3.11"},
        "hardware": {"cpu": "x", "cores": 2, "memory_gib": 8.0, "gpu": None},
        "wall_seconds": 1.5,
        "rows": [Row("ours", "toy", "score", 1.0, 2.0, 1.5, 2.5, 10)],
        "claims": [Claim("c", "It works", "Table 1", True, "2 > 1")],
    }
    return Result(**{**content, **changes})


def test_the_result_file_has_exactly_the_agreed_fields(tmp_path):
    write_result(tmp_path / "r.json", a_result())
    content = json.loads((tmp_path / "r.json").read_text())
    assert list(content) == [
        "experiment", "scale", "commit", "command", "seed", "versions", "hardware", "wall_seconds", "rows", "claims",
    ]  # fmt: skip
    assert list(content["rows"][0]) == ["system", "dataset", "metric", "paper", "measured", "low", "high", "n"]
    assert list(content["claims"][0]) == ["id", "text", "source", "holds", "evidence"]


def test_a_result_survives_the_file(tmp_path):
    result = a_result(notes=["smaller than the paper"])
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float32("nan")])
@pytest.mark.parametrize("name", ["paper", "measured", "low", "high"])
def test_numbers_are_finite(number, name):
    values = {"measured": 1.0, "low": 0.0, "high": 2.0, name: number}
    with pytest.raises(DataError, match=f"'ours'.*{name}"):
        Row("ours", "toy", "score", **values)


def test_numpy_numbers_become_plain_ones():
    row = Row("ours", "toy", "score", None, np.float32(0.5), np.float64(0.25), np.int64(1), np.int64(3))
    assert [type(value) for value in (row.measured, row.low, row.high, row.n)] == [float, float, float, int]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "neither a paper value nor a measured one"),
        ({"measured": 1.0, "low": 0.5}, "one end of its interval"),
        ({"measured": 1.0, "low": 2.0, "high": 1.0}, "upside down"),
        ({"paper": 1.0, "low": 1.0, "high": 2.0}, "no measured value"),
        ({"measured": "many"}, "'many'"),
        ({"measured": 1.0, "n": 0}, "n = 0"),
    ],
)
def test_a_wrong_row_is_named(values, message):
    with pytest.raises(DataError, match=message) as caught:
        Row("ours", "toy", "score", **values)
    assert "'ours', 'toy', 'score'" in str(caught.value)


def test_a_judged_claim_needs_evidence():
    with pytest.raises(DataError, match="claim 'c' needs a text for evidence"):
        Claim("c", "It works", "Table 1", True)
    assert Claim("c", "It works", "Table 1", np.bool_(False), "no").holds is False
    with pytest.raises(DataError, match="holds = 'yes'"):
        Claim("c", "It works", "Table 1", "yes", "evidence")


def test_an_outcome_needs_rows_and_unique_names():
    row = Row("ours", "toy", "score", 1.0)
    with pytest.raises(DataError, match="no rows"):
        Outcome([])
    with pytest.raises(DataError, match="two rows are named"):
        Outcome([row, row])
    with pytest.raises(DataError, match="two claims are named c"):
        Outcome([row], [Claim("c", "a", "b"), Claim("c", "d", "e")])


def test_a_figure_is_an_svg_element():
    with pytest.raises(DataError, match="figure 'f'"):
        Figure("f", "<p>no</p>")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"extra": 1}, "extra"), ({"seed": None, "rows": [{"system": "x"}]}, "wrong fields"), ({"commit": ...}, "commit")],
)
def test_a_wrong_result_file_is_named(tmp_path, change, message):
    content = {**a_result().to_json(), **change}
    content = {key: value for key, value in content.items() if value is not ...}
    path = tmp_path / "r.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        read_result(path)
    assert "r.json" in str(caught.value)
