"""What is measured of a compressed model: closed forms."""

import math

import pytest
import torch

from intarsia.compress.evaluating import Size, matrix_quality, text_quality, token_losses
from intarsia.compress.texts import read_texts, token_rows
from intarsia.errors import DataError


def test_the_same_matrix_is_perfect_and_its_mean_is_the_unit():
    matrix = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)) + 1
    same = matrix_quality(matrix, matrix)
    assert same == (0.0, 0.0, pytest.approx(1.0, abs=1e-6), 1.0)
    mean = matrix_quality(matrix, matrix.mean(0).expand_as(matrix))
    assert mean.centred_error == pytest.approx(1.0)
    assert mean.relative_error < 1
    nothing = matrix_quality(matrix, torch.zeros_like(matrix))
    assert nothing.relative_error == pytest.approx(1.0)
    assert nothing.cosine == 0


def test_neighbours_by_hand():
    # Four directions in the plane; turning one of them changes who is next to whom.
    angles = torch.tensor([0.0, 0.1, 1.5, 1.6])
    matrix = torch.stack([angles.cos(), angles.sin()], 1)
    scaled = matrix * torch.tensor([[1.0], [5.0], [0.1], [2.0]])
    assert matrix_quality(matrix, scaled).neighbour_overlap == 1.0, "lengths do not count"
    from intarsia.compress.evaluating import _neighbour_overlap

    every = torch.arange(4)
    turned = angles + torch.tensor([0.0, 1.45, 0.0, 0.0])
    other = torch.stack([turned.cos(), turned.sin()], 1)
    # Of 0, 1, 2, 3 the nearest are 1, 0, 3, 2; after turning 1 beside 2 they are 2, 2 or 3, 1 and 1.
    assert _neighbour_overlap(matrix, matrix, every, count=1) == 1.0
    assert _neighbour_overlap(matrix, other, every, count=1) == 0.0


def test_perplexity_is_that_of_the_next_tokens(original):
    rows = torch.randint(3, 300, (5, 7), generator=torch.Generator().manual_seed(0))
    found = text_quality(original.model, rows, batch_size=2)
    with torch.no_grad():
        log_probs = original.model(input_ids=rows).logits[:, :-1].log_softmax(-1)
    expected = -log_probs.gather(-1, rows[:, 1:, None]).mean()
    one_by_one = token_losses(original.model, rows, batch_size=3)
    torch.testing.assert_close(one_by_one, -log_probs.gather(-1, rows[:, 1:, None])[..., 0], rtol=1e-4, atol=1e-5)
    assert found.tokens == 30
    assert found.cross_entropy == pytest.approx(float(expected), rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(found.cross_entropy))


def test_ratios_follow_from_sizes():
    size = Size(10, 100, 50, 80, 400, 250, 600)
    assert (size.parameter_ratio, size.byte_ratio, size.byte_ratio_with_table) == (10, 8, 5)
    assert size.model_byte_ratio == pytest.approx(2.4)


# Text


def test_rows_of_tokens_are_the_text(original, text):
    rows = token_rows(original.tokenizer, text, 16, limit=3)
    assert rows.shape == (3, 16)
    whole = original.tokenizer(" ".join(text), add_special_tokens=False).input_ids
    assert rows.flatten().tolist() == whole[:48]
    assert len(token_rows(original.tokenizer, text, 16)) == len(whole) // 16


def test_long_text_is_read_as_far_as_it_is_needed(original, text):
    many = text * 20
    whole = token_rows(original.tokenizer, many, 16)
    assert len(whole) > 256 * 5 // 16
    assert torch.equal(token_rows(original.tokenizer, many, 16, limit=2), whole[:2])


def test_text_from_files_and_data_sets(tmp_path, text):
    import gzip

    (tmp_path / "lines.txt").write_text("one line\n\n  another \n")
    assert read_texts(tmp_path / "lines.txt") == ["one line", "another"]
    with gzip.open(tmp_path / "lines.txt.gz", "wt") as file:
        file.write("one line\n")
    assert read_texts(tmp_path / "lines.txt.gz") == ["one line"]
    (tmp_path / "rows.jsonl").write_text('{"text": "a text", "label": "x"}\n')
    assert read_texts(tmp_path / "rows.jsonl") == ["a text"]


def test_text_that_is_missing_or_too_short(original, tmp_path):
    with pytest.raises(DataError, match=r"file not found.*\n.*none\.txt"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(DataError, match="there is no text in the file"):
        read_texts(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("\xe9".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read"):
        read_texts(tmp_path / "latin.txt")
    with pytest.raises(DataError, match="less than one row of 128"):
        token_rows(original.tokenizer, ["the dog"], 128)
