"""Methods side by side: what is measured, what is said of it, and going on after a stop."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from intarsia.compress.comparing import ORIGINAL, Comparison, ComparisonRow, best_buy, compare
from intarsia.compress.drawing import draw_comparison, save_picture
from intarsia.compress.evaluating import text_quality
from intarsia.compress.see.methods import SEESettings
from intarsia.compress.stages_config import StagesConfig
from intarsia.compress.texts import token_rows
from intarsia.errors import ConfigError, DataError, InputError, ModelError, UnknownNameError


def row(method, megabytes, perplexity, *, ratio=None, trained=False, dense=100.0, rest=400.0):
    return ComparisonRow(
        method=method,
        ratio=ratio,
        parameter_ratio=dense / megabytes,
        bytes=int(megabytes * 1e6),
        byte_ratio=dense / megabytes,
        model_byte_ratio=(dense + rest) / (megabytes + rest),
        centred_error=0.5,
        cosine=0.5,
        neighbour_overlap=0.5,
        fitted_perplexity=perplexity,
        perplexity=perplexity,
        trained=trained,
        seconds=1.0,
    )


FIRST = row(ORIGINAL, 100, 30)


@pytest.fixture
def held_out(original, text):
    return token_rows(original.tokenizer, text, 16, limit=4)


# What is said


def test_few_bits_are_named_where_they_win():
    said = best_buy([FIRST, row("int4", 14, 33), row("see", 10, 900, ratio=10, trained=True)])
    assert said == (
        "int4 is the best buy: 14 MB for the embedding, 7.1 times less, at perplexity 33.0 against the original's "
        "30.0; the whole model becomes 1.21 times smaller. Of what is smaller, see at 10x, trained, loses least: "
        "10 MB at 900.0."
    )


def test_what_is_not_smaller_is_no_buy():
    larger = row("see", 101, 30, ratio=1.3)
    assert best_buy([FIRST, larger]) == "Nothing here is smaller than the original's 100 MB: ask for higher ratios."
    assert best_buy([FIRST, larger, row("int4", 14, 33)]).startswith("int4 is the best buy")


def test_a_compressed_embedding_is_named_where_it_wins():
    rows = [FIRST, row("int4", 14, 33), row("see", 10, 35, ratio=10, trained=True), row("svd", 10, 36, ratio=10)]
    assert best_buy(rows).startswith("see at 10x, trained, is the best buy: 10 MB")
    assert "Of what is smaller" not in best_buy(rows)


def test_low_rank_is_named_where_it_wins():
    rows = [FIRST, row("see", 10, 36, ratio=10, trained=True), row("svd", 10, 35, ratio=10, trained=True)]
    assert best_buy(rows).startswith("svd at 10x, trained, is the best buy")


def test_nothing_usable_is_said_too():
    said = best_buy([FIRST, row("svd", 20, 4000, ratio=5), row("see", 10, 9000, ratio=10)])
    assert said == (
        "Nothing here keeps perplexity within 25% of the original's 30.0; svd at 5x comes nearest, 20 MB at 4,000.0. "
        "Of what is smaller, see at 10x loses least: 10 MB at 9,000.0."
    )


# Measuring


def test_rows_are_those_of_the_compressed_models(original, held_out, lexicon):
    settings = SEESettings(lexicon=lexicon, steps=5, merges=20, min_usage=4, terms=6)
    found = compare(original, ["int4", "svd", "see"], [1.5, 3], held_out, settings=settings)
    assert found.rows[0].method == ORIGINAL
    assert found.rows[0].perplexity == pytest.approx(text_quality(original.model, held_out).perplexity)
    assert found.tokens == 4 * 15
    others = [(one.method, one.ratio) for one in found.rows[1:]]
    assert sorted(others, key=str) == sorted(
        [("int4", None), ("svd", 1.5), ("svd", 3.0), ("see", 1.5), ("see", 3.0)], key=str
    )
    assert [one.bytes for one in found.rows[1:]] == sorted((one.bytes for one in found.rows[1:]), reverse=True)
    for one in found.rows[1:]:
        assert one.perplexity == one.fitted_perplexity
        assert not one.trained
        assert one.ratio is None or one.parameter_ratio >= one.ratio
    assert found.to_dict()["verdict"] == found.verdict == best_buy(found.rows)


@pytest.mark.parametrize(
    ("method", "why"),
    [("svd", "less than rank 1"), ("see", r"\d+ vectors for \d+ units"), ("hybrid", "less than rank 1")],
)
def test_a_ratio_out_of_reach_costs_its_own_row_only(original, held_out, lexicon, method, why):
    settings = SEESettings(lexicon=lexicon, steps=1, merges=20)
    with pytest.warns(UserWarning, match=f"{method} is left out: a ratio of 300 leaves {why}"):
        found = compare(original, ["int4", method], [300], held_out, settings=settings)
    assert [one.method for one in found.rows] == [ORIGINAL, "int4"]


def test_a_comparison_without_rows_is_refused(original, held_out):
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(InputError, match="no method reaches any of the ratios"),
    ):
        compare(original, ["svd"], [300], held_out)


def test_training_is_the_same_for_all_that_can_learn(original, held_out, text):
    stages = StagesConfig(state_steps=2, distil_steps=6, batch_size=2, length=16)
    found = compare(original, ["int4", "svd"], [3], held_out, texts=text, stages=stages)
    trained = {one.method: one for one in found.rows}
    assert trained["svd"].trained
    assert trained["svd"].perplexity < trained["svd"].fitted_perplexity
    assert not trained["int4"].trained


def test_layers_follow_an_embedding_of_few_bits(original, held_out, text):
    stages = StagesConfig(state_steps=2, distil_steps=6, batch_size=2, length=16, lora_rank=2)
    titles = []

    @contextmanager
    def stage(title, total):
        titles.append(title)
        yield lambda count: None

    found = compare(original, ["int4"], [], held_out, texts=text, stages=stages, stage=stage)
    assert found.rows[1].trained
    assert found.rows[1].perplexity < found.rows[1].fitted_perplexity
    # Nothing that takes long goes without a word.
    assert titles == [
        "measure the original",
        "states of the original",
        "compress by int4",
        "measure int4",
        "train int4",
        "measure int4, trained",
    ]


def test_a_comparison_that_was_stopped_goes_on(original, held_out, tmp_path, monkeypatch):
    import intarsia.compress.comparing as module

    compressed = []
    real = module.compress_model

    def counting(loaded, method, ratio, **options):
        compressed.append((method, ratio))
        if len(compressed) == 3:
            raise KeyboardInterrupt
        return real(loaded, method, ratio, **options)

    monkeypatch.setattr(module, "compress_model", counting)
    arguments = (original, ["int8", "int4", "svd"], [2, 3], held_out)
    with pytest.raises(KeyboardInterrupt):
        compare(*arguments, work=tmp_path)
    found = compare(*arguments, work=tmp_path)
    assert compressed == [("int8", None), ("int4", None), ("svd", 2.0), ("svd", 2.0), ("svd", 3.0)]
    assert len(found.rows) == 5
    # Other settings, other text to measure on and another model are another comparison.
    compare(*arguments, work=tmp_path, seed=1)
    assert len(compressed) == 9
    compare(*arguments[:3], held_out.flip(0), work=tmp_path)
    assert len(compressed) == 13
    with torch.no_grad():
        original.model.get_input_embeddings().weight.mul_(1.1)
    compare(*arguments, work=tmp_path)
    assert len(compressed) == 17


def test_the_picture_has_every_method(tmp_path):
    rows = [FIRST, row("int4", 14, 33), row("svd", 10, 900, ratio=10), row("svd", 5, 1900, ratio=20)]
    rows.append(replace(row("see", 10, 500, ratio=10, trained=True), fitted_perplexity=5000.0))
    figure = draw_comparison(rows)
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["original", "int4", "svd", "see"]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["svd"] == [1900, 900]
    figure.draw_without_rendering()
    sizes = [label.get_text() for label in [*axes.get_xticklabels(), *axes.get_xticklabels(minor=True)]]
    assert "10" in sizes
    assert not any("times" in size or "^" in size for size in sizes)
    for suffix in ("svg", "png"):
        save_picture(figure, tmp_path / f"picture.{suffix}")
    assert (tmp_path / "picture.svg").read_text().startswith("<?xml")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


# Bad input


def test_what_cannot_be_compared(original, held_out):
    with pytest.raises(InputError, match="there is no method to compare"):
        compare(original, [], [5], held_out)
    with pytest.raises(InputError, match="there is no ratio for svd"):
        compare(original, ["svd"], [], held_out)
    with pytest.raises(UnknownNameError, match="unknown compression method 'in4'"):
        compare(original, ["in4"], [5], held_out)
    with pytest.raises(ConfigError, match="ratio is 1, but it must be above 1"):
        compare(original, ["svd"], [1], held_out)
    with pytest.raises(InputError, match="there is no text to train on"):
        compare(original, ["svd"], [3], held_out, stages=StagesConfig())
    with pytest.raises(DataError, match="there is no text to count tokens in"):
        compare(original, ["hashed"], [3], held_out, settings=SEESettings(weighting="sqrt"))
    original.model.set_input_embeddings(torch.nn.Linear(2, 2))
    with pytest.raises(ModelError, match="not a table of rows"):
        compare(original, ["svd"], [3], held_out)


def test_a_comparison_is_plain_values():
    found = Comparison([FIRST, row("int4", 14, 33)], 60)
    assert set(found.to_dict()) == {"rows", "tokens", "verdict"}
    assert found.to_dict()["rows"][1]["method"] == "int4"
