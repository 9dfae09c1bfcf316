import xml.etree.ElementTree as ElementTree

import pytest

from intarsia.errors import DataError
from intarsia.experiments import plots
from intarsia.experiments.cells import Estimate

SVG = "{http://www.w3.org/2000/svg}"


def bars(**options):
    groups = {"base": {"s": 50.0}, "ours & co": {"s": Estimate(90.0, 88.0, 92.0), "t": 70.0}}
    return plots.bar_with_intervals(groups, title="Bars & <more>", label="score", **options)


ALL = {
    "bars": bars,
    "dots": lambda: bars(from_zero=False, reference=100.0),
    "lines": lambda: plots.lines(
        [1, 2, 4], {"a": [1.0, 2.0, None], "b": [3, 2, 1]}, title="L", xlabel="x", ylabel="y",
        bands={"a": ([0, 1, 2], [2, 3, 4])}, log_x=True, log_y=True,
    ),
    "heatmap": lambda: plots.heatmap([[1.0, None], [0.5, 0.25]], ["r", "s"], ["c", "d"], title="H"),
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_figures_are_svg_in_the_colours_and_type_of_the_page(name):
    svg = ALL[name]().svg
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert "currentColor" in svg
    assert "var(--series-1, #0072B2)" in svg
    assert plots._INK not in svg
    assert "DejaVu" not in svg
    assert not list(root.iter(f"{SVG}style")), "a style element would reach the whole page"
    assert "purl.org" not in svg


def test_text_stays_text_and_is_escaped():
    figure = bars()
    root = ElementTree.fromstring(figure.svg)
    assert root.get("aria-label") == "Bars & <more>"
    assert "ours & co" in [text.text for text in root.iter(f"{SVG}text")]


def test_figures_are_the_same_every_time():
    assert bars() == bars()


def test_longer_bars_for_larger_values():
    def widths(value):
        figure = plots.bar_with_intervals({"a": {"s": 10.0}, "b": {"s": value}}, title="t", label="l")
        paths = [p for p in ElementTree.fromstring(figure.svg).iter(f"{SVG}path") if "series-1" in p.get("style", "")]
        numbers = [[float(word) for word in p.get("d").split() if word not in "MLz"] for p in paths]
        return [max(xs[::2]) - min(xs[::2]) for xs in numbers]

    first, second = widths(5.0)
    assert second == pytest.approx(first / 2, rel=1e-3)


def test_wrong_input_is_named():
    with pytest.raises(DataError, match="'t' has no values"):
        plots.bar_with_intervals({}, title="t", label="l")
    with pytest.raises(DataError, match="series 'a' of figure 't' has 1 values for 2 positions"):
        plots.lines([1, 2], {"a": [1.0]}, title="t", xlabel="x", ylabel="y")
    with pytest.raises(DataError, match="figure 't' has no values"):
        plots.lines([1, 2], {}, title="t", xlabel="x", ylabel="y")
    with pytest.raises(DataError, match="figure 't' is not 1 x 2"):
        plots.heatmap([[1.0]], ["r"], ["c", "d"], title="t")
    with pytest.raises(DataError, match="figure 't' has no values"):
        plots.heatmap([[None]], ["r"], ["c"], title="t")


def test_plots_leave_the_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    bars()
    assert dict(matplotlib.rcParams) == before
