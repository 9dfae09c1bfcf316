import html.parser
import json
import re

import pytest

from intarsia.errors import DataError, InputError
from intarsia.experiments import cells, plots
from intarsia.experiments.cells import Estimate, Range
from intarsia.experiments.records import Claim, Result, Row, write_result
from intarsia.experiments.report import (
    Highlight,
    Report,
    Section,
    Table,
    from_json,
    rebuild,
    render,
    to_json,
    write_duration,
    write_report,
)
from intarsia.experiments.result_page import count_claims, judged_first, result_report

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(html.parser.HTMLParser):
    """Checks that elements are closed in order and ids are unique; collects what the page would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.loads, self.anchors = [], [], [], []
        self.feed(text)
        assert self.open == []
        assert len(self.ids) == len(set(self.ids)), sorted(self.ids)
        assert set(self.anchors) <= set(self.ids)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            if name in values:
                (self.anchors if values[name].startswith("#") else self.loads).append(values[name].removeprefix("#"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def a_report():
    table = Table(
        ["System", "Score", "Interval", "n", ""],
        [
            ["ours", Estimate(97.345, 96.1, 98.2), (96.1, 98.26), 1200, Range(2.0, 1.0, 3.0, 2.5, 1.0, 3.0)],
            ["theirs", -0.04, None, None, None],
        ],
        "Scores",
        "What we see.",
        highlight=[0],
    )
    folded = Table(["a"], [["b"]], "Much more", folded=True)
    figures = [
        plots.lines([1, 2], {"a": [1.0, 2.0], "b": [2.0, None]}, title="Lines", xlabel="x", ylabel="y"),
        plots.heatmap([[1.0, 0.5]], ["r"], ["c", "d"], title="Heat"),
    ]
    claims = [Claim("a", "Up", "T1", True, "yes"), Claim("b", "Down", "T2", False, "no"), Claim("c", "Side", "T3")]
    sections = [
        Section("Claims", "First.\n\nSecond with `code`.", claims=claims),
        Section("Numbers", tables=[table, folded]),
        Section("Numbers", figures=figures, provenance={"seed": 1}),
    ]
    provenance = {
        "command": "intarsia run x.yaml",
        "commit": None,
        "hardware": {"cpu": "x", "gpu": None},
        "wall_seconds": 75,
    }
    return Report("Title", "Intro.", sections, [Highlight("score", "97.3", "of 100")], provenance)


def test_the_page_is_well_formed_and_loads_nothing():
    text = render(a_report())
    page = Page(text)
    assert page.loads == []
    assert "url(http" not in text
    assert "@import" not in text
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_verdicts_are_words_not_only_colours():
    text = render(a_report())
    assert re.findall(r"</span> (Holds|Does not hold|Not judged)</p>", text) == ["Holds", "Does not hold", "Not judged"]


def test_provenance_shows_mappings_and_lists_in_words():
    provenance = {
        "attempts": [{"started": "Monday", "seconds": 3}],
        "tasks": ["a", "b"],
        "hardware": {"memory_gib": 8.0},
    }
    text = re.sub(r"<[^>]+>|\s+", " ", render(Report("T", provenance=provenance)))
    words = " ".join(text.split())
    assert "attempts started Monday seconds 3 tasks a, b hardware memory (GiB) 8.0" in words


def test_text_is_escaped():
    nasty = "<script>alert('x')</script>"
    report = Report(
        nasty,
        nasty,
        [
            Section(
                nasty, f"`{nasty}`", [Claim("c", nasty, nasty, True, nasty)], [Table([nasty], [[nasty]], nasty, nasty)]
            )
        ],
        [Highlight(nasty, nasty, nasty)],
        {"command": nasty, nasty: {nasty: nasty}},
    )
    text = render(report)
    assert "<script" not in text
    Page(text)


def test_cells_are_written_with_common_decimals_and_a_real_minus():
    text = render(a_report())
    assert '<td class="number">97.3<span class="interval">[96.1, 98.2]</span></td>' in text
    assert '<td class="number">0.0</td>' in text  # -0.04 rounds to zero, which has no sign
    assert '<td class="number">1,200</td>' in text
    assert cells.write_number(-1.25, 1) == "−1.2"


@pytest.mark.parametrize(
    ("numbers", "places"),
    [
        ([0.91234, 0.5], 3),
        ([98.1234], 1),
        ([95.83, 67.9], 2),
        ([1234.56789], 0),
        ([2.34567], 2),
        ([0.00123456], 5),
        ([], 1),
    ],
)
def test_decimals(numbers, places):
    assert cells.decimals(numbers) == places


def test_counts_do_not_change_the_decimals_and_text_is_not_numeric():
    assert cells.decimals([1000, 0.51234]) == 3
    assert cells.is_numeric([1, None, 0.5, (1.0, 2.0)])
    assert not cells.is_numeric([1.0, "a"])


def test_a_report_survives_its_json(tmp_path):
    report = a_report()
    again = from_json(json.loads(json.dumps(to_json(report))))
    assert render(again) == render(report)
    page = write_report(report, tmp_path)
    first = page.read_text()
    page.unlink()
    assert rebuild(tmp_path) == page
    assert page.read_text() == first


@pytest.mark.parametrize("content", [[], {"title": "x"}, {"sections": 3}])
def test_a_wrong_report_file_is_named(tmp_path, content):
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"not a report.*\n.*report\.json"):
        rebuild(tmp_path)


def test_a_row_with_missing_cells_is_named():
    with pytest.raises(DataError, match="row 1 of table 'T' has 1 cells for 2 columns"):
        Table(["a", "b"], [[1, 2], [1]], "T")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (75, "1 min 15 s"), (3599.9, "1 h 0 min"), (7300, "2 h 1 min")]
)
def test_durations(seconds, text):
    assert write_duration(seconds) == text


def a_result(scale="laptop", **changes):
    rows = [
        Row(f"system {i}", d, "score", 90.5 if i == 1 else None, 80.0 + i, 79.0, 88.0, 50)
        for i in range(5)
        for d in "xyz"
    ]
    rows += [Row("speed", "all", "ms", None, 1.25)]
    claims = [Claim("a", "Up", "T1", True, "yes"), Claim("b", "Down", "T2")]
    content = {
        "experiment": "toy", "scale": scale, "commit": "0123456789abcdef-dirty", "command": "intarsia reproduce toy",
        "seed": 0, "versions": {}, "hardware": {"cpu": "x"}, "wall_seconds": 1.5, "rows": rows, "claims": claims,
    }  # fmt: skip
    return Result(**{**content, **changes})


def test_a_long_metric_becomes_systems_by_datasets_with_the_papers_rows_apart():
    report = result_report(a_result())
    tables = {table.title: table for section in report.sections for table in section.tables}
    assert list(tables) == ["Score", "Score: paper and measured", "Score: all rows", "Ms"]
    assert tables["Score"].columns == ["System", "x", "y", "z"]
    assert len(tables["Score: paper and measured"].rows) == 3
    assert tables["Score: all rows"].folded
    assert tables["Ms"].columns == ["System", "Paper", "Measured"]
    Page(render(report))


def test_a_tree_of_results_becomes_one_page(tmp_path):
    write_result(tmp_path / "toy" / "laptop.json", a_result())
    write_result(tmp_path / "toy" / "paper.json", a_result("paper", claims=[]))
    (tmp_path / "other.json").write_text('{"not": "a result"}')
    text = rebuild(tmp_path).read_text()
    assert text.count("<h2>toy, ") == 2
    assert "1 of 2, 1 not judged" in text
    assert "0123456789-dirty" in text
    assert Page(text).loads == []


def test_count_claims_of_none():
    assert count_claims([]) == "–"


def test_an_empty_folder_has_no_report(tmp_path):
    with pytest.raises(InputError, match="no result files"):
        rebuild(tmp_path)


def test_claims_that_were_not_judged_come_last():
    claims = [
        Claim("open", "Not looked at", "Table 1"),
        Claim("no", "Fails", "Table 1", False, "1 < 2"),
        Claim("yes", "Holds", "Table 1", True, "2 > 1"),
    ]
    assert [claim.id for claim in judged_first(claims)] == ["no", "yes", "open"]
