import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from engine_jobs import describe, double

from intarsia.engine import stable_key
from intarsia.engine.keys import job_name, job_settings
from intarsia.errors import InputError


@dataclass(frozen=True, slots=True)
class _Row:
    text: str
    label: str | None = None


def test_a_key_is_that_of_the_content_not_of_the_order_or_container() -> None:
    trial = {"rank": 8, "data": {"name": "r8", "sizes": (1, 2)}}
    same = {"data": {"sizes": [1, 2], "name": "r8"}, "rank": 8}
    assert stable_key(trial) == stable_key(same)
    assert stable_key(_Row("a")) == stable_key({"label": None, "text": "a"})
    assert stable_key({"lr": np.float32(0.5)}) == stable_key({"lr": 0.5})


def test_a_key_stays_the_same_from_release_to_release() -> None:
    # sha256sum of {"a":{"b":[1,null]},"text":"\u010d"}: outputs on disk depend on it.
    assert stable_key({"text": "č", "a": {"b": [1, None]}}) == "3ca82da357bdd35b"


@pytest.mark.parametrize("other", [{"rank": 8, "data": {"name": "r52"}}, {"rank": "8", "data": {"name": "r8"}}, {}])
def test_other_content_has_another_key(other: dict[str, Any]) -> None:
    assert stable_key({"rank": 8, "data": {"name": "r8"}}) != stable_key(other)


def test_a_row_without_json_form_is_named() -> None:
    with pytest.raises(InputError, match=r"cannot make a key of dict: a value of type set(.|\n)*pass key="):
        stable_key({"labels": {"a"}})


def test_a_job_is_its_function_whatever_is_bound() -> None:
    assert job_name(functools.partial(describe, 1)) == job_name(describe) == "engine_jobs.describe"
    assert job_name(_Row("callable objects are named by their class")).endswith("._Row")


def test_settings_of_jobs_differ_with_what_is_bound() -> None:
    def closure(rank: int) -> Any:
        return lambda row: rank * row

    assert job_settings(functools.partial(double, k=1)) == job_settings(functools.partial(double, k=1))
    jobs = [double, functools.partial(double, k=1), functools.partial(double, k=2), closure(1), closure(2)]
    assert len({job_settings(job) for job in jobs}) == len(jobs)


def test_settings_do_not_depend_on_addresses() -> None:
    assert job_settings(functools.partial(double, k=object())) == job_settings(functools.partial(double, k=object()))
