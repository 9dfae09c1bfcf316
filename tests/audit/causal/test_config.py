"""Settings that cannot be are named."""

import pytest

from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import GROUPS, BenchmarkConfig, GraphConfig
from intarsia.errors import ConfigError, InputError, UnknownNameError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tiers": (1, 1)}, r"tiers is \[1, 1\], but it must be at least three tiers"),
        ({"tiers": (1, 0, 1)}, r"tiers is \[1, 0, 1\], but it must be tiers of at least one node"),
        ({"chain": -0.1}, r"chain is -0.1, but it must be a probability"),
        ({"fork": 1.5}, r"fork is 1.5, but it must be a probability"),
        ({"chain": 0.5, "fork": 0.4, "collider": 0.2}, r"chain \+ fork \+ collider is 1.1, but it must be at most 1"),
        ({"distance": 0.0}, "distance is 0.0, but it must be above 0"),
        ({"distance": 1.1}, "distance is 1.1, but it must be above 0 and at most 1"),
        ({"path_iters": 0}, "path_iters is 0, but it must be at least 1"),
    ],
)
def test_bad_shapes(settings, message):
    with pytest.raises(ConfigError, match=message):
        GraphConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group": "40"}, "unknown group '40'"),
        ({"tasks": ("CP", "XX")}, "unknown task 'XX'"),
        ({"prompts": ("zero",)}, r"unknown prompt style 'zero'"),
        ({"evidence": "none"}, "unknown kind of evidence 'none'"),
        ({"root_states": "false"}, "unknown kind of root states 'false'"),
        ({"names": ()}, "names is"),
        ({"tasks": ("CP", "CP")}, "one or more different values"),
        ({"levels": (0,)}, r"levels is \[0\]"),
        ({"graphs": 0}, "graphs is 0, but it must be at least 1"),
        ({"what_ifs": (0,)}, r"what_ifs is \[0\], but it must be at least 1"),
        ({"chain": 2.0}, "chain is 2.0"),
        ({"distance": 2.0}, "distance is 2.0"),
        (
            {"evidence": "partial", "closed_world_hint": False},
            "closed_world_hint is False, but it must be true with partial",
        ),
    ],
)
def test_bad_data_sets(settings, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        BenchmarkConfig(**settings)


def test_too_many_what_ifs_are_refused_or_clipped():
    config = BenchmarkConfig(levels=(1,), graphs=1, what_ifs=(5,))
    with pytest.raises(
        InputError, match=r"5 what-ifs are asked for, but of the 5 events of a graph only 4[\s\S]*clipped"
    ):
        list(generate_questions(config))
    clipped = BenchmarkConfig(levels=(1,), graphs=1, what_ifs=(5,), tasks=("CI",), clip=True)
    assert {question.what_ifs for question in generate_questions(clipped)} == {4}


@pytest.mark.parametrize(
    ("tiers", "distance", "expected"),
    [
        (5, 1.0, (1, 3)),
        (6, 1.0, (1, 4)),
        (6, 0.5, (2, 3)),
        (7, 0.5, (2, 4)),
        (8, 0.75, (2, 5)),
        (8, 0.5, (3, 4)),
        # Where the published formula would give one tier both roles, outcomes are the next one.
        (5, 0.5, (2, 3)),
        (3, 1.0, (1, 2)),
    ],
)
def test_tiers_of_treatments_and_outcomes(tiers, distance, expected):
    assert GraphConfig((1,) * tiers, distance=distance).treatment_and_outcome_tier == expected


def test_treatments_come_before_outcomes_at_every_distance():
    for tiers in range(3, 12):
        for percent in range(1, 101):
            treatment, outcome = GraphConfig((1,) * tiers, distance=percent / 100).treatment_and_outcome_tier
            assert 0 < treatment < outcome < tiers


def test_shapes_are_those_of_the_group():
    for group, (tiers, levels) in GROUPS.items():
        shapes = BenchmarkConfig(group=group).shapes()
        assert {shape.tiers for shape in shapes} == {(level,) * tiers for level in levels}
        assert len(shapes) == 4 * len(levels)
    assert sum(50 for _ in BenchmarkConfig().shapes()) == 600
