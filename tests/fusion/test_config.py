"""Settings of the solver: what is refused, and that they survive being written down."""

import json
from typing import Any

import pytest

from intarsia.errors import ConfigError, UnknownNameError
from intarsia.fusion import LogitFusionConfig, SolverConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": -0.1}, r"alpha range is '-0.1 to 2.0'.*from 0 or more"),
        ({"low": 2.0}, r"alpha range is '2.0 to 2.0'.*not empty"),
        ({"low": 3.0}, r"alpha range is '3.0 to 2.0'.*not empty"),
        ({"high": float("inf")}, r"alpha range .*finite"),
        ({"high": float("nan")}, r"alpha range"),
        ({"step": 0.0}, r"step is 0.0.*positive"),
        ({"step": -0.1}, r"step is -0.1.*positive"),
        ({"step": 2.5}, r"step is 2.5.*at most 2"),
        ({"step": float("nan")}, r"step is nan"),
        ({"ridge": -1.0}, r"ridge is -1.0.*0 or more"),
        ({"ridge": float("nan")}, r"ridge is nan"),
        ({"ridge": float("inf")}, r"ridge is inf"),
        ({"tolerance": 0.0}, r"tolerance is 0.0.*between 0 and 1"),
        ({"tolerance": 1.0}, r"tolerance is 1.0.*between 0 and 1"),
        ({"top_m": 0}, r"top_m is 0.*1 or more, or None"),
        ({"alpha": float("nan")}, r"alpha is nan.*finite"),
        ({"alpha": [1.0, float("inf")]}, r"alpha is \[1.0, inf\].*finite"),
        ({"alpha": []}, r"alpha is \[\].*one number"),
    ],
)
def test_bad_settings_name_the_field_the_value_and_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SolverConfig(**settings)


def test_unknown_names_get_the_nearest_known_one() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown solver 'newtn'(.|\n)*'newton'"):
        SolverConfig(solver="newtn")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"unknown target 'center'(.|\n)*'centroid'"):
        SolverConfig(target="center")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"unknown solver setting 'topm'(.|\n)*'top_m'"):
        SolverConfig.from_dict({"topm": 3})


def test_the_defaults_are_the_papers() -> None:
    config = SolverConfig()
    assert (config.solver, config.target, config.low, config.high, config.step) == ("grid", "centroid", 0.0, 2.0, 0.1)


@pytest.mark.parametrize(
    "config",
    [
        SolverConfig(),
        SolverConfig(solver="static", alpha=0.5),
        SolverConfig(solver="static", alpha=[1, 0.5, 2]),
        SolverConfig(solver="newton", target="max", low=0.5, high=4.0, step=0.25, tolerance=1e-3, top_m=512),
        SolverConfig(solver="joint", ridge=0.0),
    ],
)
def test_settings_survive_json(config: SolverConfig) -> None:
    assert SolverConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", ["large", "small", "adapters", "a b", "a/b", "a.b", "", "keys", "train"])
def test_names_of_experts_that_cannot_be(name: str) -> None:
    with pytest.raises(ConfigError, match="expert name"):
        LogitFusionConfig(experts=[name])


def test_names_of_experts_that_repeat() -> None:
    with pytest.raises(ConfigError, match=r"expert names .*different"):
        LogitFusionConfig(experts=["a", "b", "a"])


def test_a_draft_of_no_tokens() -> None:
    with pytest.raises(ConfigError, match=r"draft_tokens is 0.*1 or more"):
        LogitFusionConfig(experts=["a"], draft_tokens=0)
