"""The planner: what it promises is what the embedding has."""

from typing import Any

import pytest
import torch

from intarsia.compress import SEEConfig, SEEEmbedding, plan_budget
from intarsia.compress.units import assign_copies
from intarsia.errors import ConfigError, InputError

VOCAB, DIM, UNITS, TERMS = 300, 48, 40, 6


def plan(ratio: float = 8, **changes: Any) -> Any:
    values: dict[str, Any] = {"num_units": UNITS, "order": 3, "terms": TERMS} | changes
    return plan_budget(VOCAB, DIM, ratio, **values)


@pytest.mark.parametrize("copies", ["assigned", "all"])
@pytest.mark.parametrize(
    "config",
    [SEEConfig(), SEEConfig(mean=False), SEEConfig(lowrank=2, token_scale=True), SEEConfig(layernorm=True)],
)
@pytest.mark.parametrize("exact", [0, 5])
def test_the_plan_is_what_the_embedding_has(copies: Any, config: SEEConfig, exact: int) -> None:
    planned = plan(config=config, num_exact=exact, copies=copies)
    units = torch.randint(UNITS, (VOCAB, TERMS, 3), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(VOCAB, TERMS, dtype=torch.bool)
    mask[:exact] = False
    table = assign_copies(units, mask, planned.num_rows, copies, num_units=UNITS, exact=torch.arange(exact))
    embedding = SEEEmbedding.from_table(table, DIM, config)
    trained = sum(parameter.numel() for parameter in embedding.parameters() if parameter.requires_grad)
    assert planned.parameters == trained == embedding.parameter_count()
    assert planned.parameter_ratio == VOCAB * DIM / trained >= 8
    assert planned.terms == table.terms
    stored = embedding.stored_bytes()
    assert planned.byte_ratio == pytest.approx(4 * VOCAB * DIM / stored.weights)
    assert planned.table_bytes == stored.with_table - stored.weights
    assert planned.byte_ratio_with_table == pytest.approx(4 * VOCAB * DIM / stored.with_table)
    assert planned.to_dict()["parameter_ratio"] == planned.parameter_ratio


def test_no_vector_more_would_fit() -> None:
    planned = plan()
    assert VOCAB * DIM / (planned.parameters + max(planned.slot_sizes)) < 8


def test_a_table_can_be_larger_than_what_it_saves() -> None:
    # SmolLM2's vocabulary at 36 terms, ten times smaller: the table is twice the vectors.
    planned = plan_budget(49_152, 576, 10, num_units=8_262, order=3, terms=36)
    assert planned.slot_sizes == (8, 8, 9)
    assert planned.parameter_ratio == pytest.approx(10, abs=1e-4)
    assert planned.byte_ratio_with_table < 4


def test_too_small_a_budget_names_the_ratio_that_works() -> None:
    with pytest.raises(
        InputError, match=r"a ratio of 90 leaves 28 vectors for 40 units[^§]*at most 69.2[^§]*merges"
    ) as e:
        plan(90)
    largest = float(str(e.value).split("at most ")[1].split(",")[0])
    assert plan(largest).num_rows >= UNITS
    with pytest.raises(InputError, match="vectors for 40 units"):
        plan(largest + 0.1)


def test_a_budget_that_others_use_up_leaves_no_vectors() -> None:
    with pytest.raises(InputError, match=r"leaves 0 vectors for 40 units[^§]*ask for a ratio of at most 1.4"):
        plan(2, num_exact=200)
    with pytest.raises(InputError, match=r"leaves 0 vectors[^§]*ask for fewer units"):
        plan(2, num_exact=300)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": 1}, "ratio is 1, but it must be above 1"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"num_units": 0}, "num_units is 0"),
        ({"terms": 0}, "terms is 0"),
        ({"num_exact": 301}, "num_exact is 301.*300"),
        ({"config": SEEConfig(slot_sizes=(2, 2, 2))}, "slot_sizes"),
    ],
)
def test_wrong_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(**changes)
