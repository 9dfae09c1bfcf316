"""Tables of terms: what they hold, and what they refuse."""

from typing import Any

import pytest
import torch

from intarsia.compress import TermTable
from intarsia.errors import InputError


def parts(**changes: Any) -> dict[str, Any]:
    """Four tokens of at most two terms of order two; token 3 has a dense row."""
    return {
        "units": torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 0]], [[2, 0], [1, 2]], [[0, 0], [0, 0]]]),
        "copies": torch.tensor([[[0, 1], [0, 0]], [[0, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 0]]]),
        "mask": torch.tensor([[True, True], [False, True], [True, True], [False, False]]),
        "copies_of_unit": torch.tensor([2, 3, 1]),
        "exact": torch.tensor([3]),
    } | changes


def changed(name: str, place: tuple[int, ...], value: int) -> dict[str, Any]:
    values = parts()
    values[name][place] = value
    return values


def test_rows_are_the_units_first_row_and_the_copy() -> None:
    table = TermTable(**parts())
    assert (table.num_embeddings, table.terms, table.order, table.num_units, table.num_rows) == (4, 2, 2, 3, 6)
    assert table.rows.tolist()[0] == [[0, 3], [5, 5]]
    assert table.rows.tolist()[2] == [[5, 1], [3, 5]]


def test_packing_puts_the_terms_a_token_has_in_front() -> None:
    rows, active = TermTable(**parts()).packed()
    assert active.tolist() == [2, 1, 2, 0]
    # Token 1 has its second term only: unit 0 twice.
    assert rows[1, :, 0].tolist() == [0, 0]
    assert rows[0].tolist() == [[0, 5], [3, 5]]


def test_taking_tokens_keeps_their_terms_and_renumbers_exact_ones() -> None:
    table = TermTable(**parts())
    taken = table.take(torch.tensor([3, 0]))
    assert taken.exact.tolist() == [0]
    assert torch.equal(taken.rows[1], table.rows[0])
    assert len(table.take(torch.tensor([1, 2])).exact) == 0


def test_the_digest_is_of_the_contents_whatever_their_type() -> None:
    digest = TermTable(**parts()).digest()
    narrow = {name: value.to(torch.int16) if name != "mask" else value for name, value in parts().items()}
    assert TermTable(**narrow).digest() == digest
    assert TermTable(**changed("copies", (0, 0, 1), 2)).digest() != digest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (changed("units", (2, 1, 0), 3), "unit 3 is out of range.*\n.*token 2, term 1, slot 0.*\n.*from 0 to 2"),
        (changed("units", (0, 0, 0), -1), "unit -1 is out of range.*\n.*token 0"),
        (changed("copies", (0, 0, 1), 3), "copy 3 is out of range.*\n.*token 0, term 0, slot 1.*\n.*from 0 to 2"),
        (changed("copies_of_unit", (1,), 0), "unit 1 has no copies"),
        (changed("mask", (1, 1), False), "token 1 has neither a term nor a dense row.*\n.*\n.*exact"),
        (changed("mask", (3, 0), True), "token 3 has a dense row and terms"),
        (parts(exact=torch.tensor([3, 3])), "token id 3 is listed twice"),
        (parts(exact=torch.tensor([4])), "token id 4 is out of range.*\n.*\n.*from 0 to 3"),
        (parts(units=torch.zeros(4, 2)), r"units has shape \(4, 2\)"),
        (parts(copies=torch.zeros(4, 1, 2, dtype=torch.int32)), r"copies has shape \(4, 1, 2\)"),
        (parts(mask=torch.ones(4, 3, dtype=torch.bool)), r"mask has shape \(4, 3\)"),
        (parts(mask=torch.ones(4, 2)), "mask has type torch.float32"),
        (parts(copies=torch.zeros(4, 2, 2)), "copies has type torch.float32"),
        (parts(exact=torch.tensor(3)), r"exact has shape \(\)"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TermTable(**values)
