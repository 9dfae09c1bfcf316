"""Folders of runs: what a refused run leaves, calls that are too many, results that are kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from intarsia.audit.failures import NOT_ASKED, count_reasons, require_replies, told
from intarsia.audit.run_folder import (
    RECORD,
    RESULTS,
    as_tables,
    asking,
    open_run,
    provenance_of_runs,
    read_record,
    require_calls,
)
from intarsia.errors import DataError, InputError, IntarsiaError, RunExistsError

WANTED: dict[str, Any] = {"settings": {"model": "m", "seed": 0}, "data": {"sha256": "x"}}


class Found:
    def __init__(self, value: int) -> None:
        self._value = value

    def to_json(self) -> dict[str, Any]:
        return {"value": self._value}


def test_a_run_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    record = open_run(tmp_path / "run", "bias", WANTED)
    assert open_run(tmp_path / "run", "bias", WANTED) == record == read_record(tmp_path / "run", "bias")
    other = {**WANTED, "settings": {"model": "n", "seed": 0}}
    with pytest.raises(RunExistsError, match=r"other settings \(model\)"):
        open_run(tmp_path / "run", "bias", other)
    with pytest.raises(RunExistsError, match=r"other settings \(questions\)"):
        open_run(tmp_path / "run", "bias", {**WANTED, "data": {}}, called={"data": "questions"})
    assert open_run(tmp_path / "run", "bias", other, overwrite=True)["settings"]["model"] == "n"
    with pytest.raises(DataError, match="not the record of a causal audit"):
        read_record(tmp_path / "run", "causal")
    with pytest.raises(InputError, match="holds no run"):
        read_record(tmp_path, "bias")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mother.txt").write_text("Dear mother")
    with pytest.raises(RunExistsError, match="files that are not a run"):
        open_run(tmp_path / "letters", "bias", WANTED, overwrite=True)


def test_a_run_without_answers_leaves_nothing_and_one_with_answers_all(tmp_path: Path) -> None:
    for kept in ("", "logs", RESULTS):
        folder = tmp_path / f"run-{kept or 'nothing'}"
        record = open_run(folder, "bias", WANTED)
        if kept:
            (folder / kept).mkdir()
        with pytest.raises(KeyboardInterrupt), asking(folder, record, answers=("logs",)):
            raise KeyboardInterrupt
        assert folder.exists() == bool(kept)


def test_the_time_of_calls_is_added_up(tmp_path: Path) -> None:
    record = open_run(tmp_path / "run", "bias", WANTED)
    record["wall_seconds"] = 100.0
    with asking(tmp_path / "run", record, answers=()):
        pass
    assert json.loads((tmp_path / "run" / RECORD).read_text())["wall_seconds"] >= 100.0


def test_too_many_calls_are_refused_before_the_first() -> None:
    require_calls("m", 10, 10, fewer="roles")
    require_calls("m", 10, None, fewer="roles")
    with pytest.raises(InputError, match=r"(?s)may make 1,100 calls, but only 10 are allowed.*fewer roles") as raised:
        require_calls("m", 1100, 10, fewer="roles")
    assert raised.value.where == "m"


def test_one_run_has_a_provenance_and_several_have_none(tmp_path: Path) -> None:
    open_run(tmp_path / "run", "bias", WANTED, command="intarsia audit")
    found = provenance_of_runs([tmp_path / "run"], without=["data"])
    assert found["command"] == "intarsia audit"
    assert not {"data", "audit"} & found.keys()
    assert provenance_of_runs([tmp_path / "run", tmp_path / "run"], without=[]) == {}
    assert provenance_of_runs([tmp_path / "log.eval"], without=[]) == {}
    assert as_tables([Found(1)]) == {"value": 1}
    assert as_tables([Found(1), Found(2)]) == [{"value": 1}, {"value": 2}]


def test_reasons_are_counted_and_told_where_nothing_was_answered() -> None:
    reasons = count_reasons(["no key\n  where: m", None, "no key"], not_asked=2)
    assert reasons == {"no key": 2, "no reason is given": 1, NOT_ASKED: 2}
    assert told({"no key": 2}) == "no key (2x)"
    require_replies(1, "m", reasons)
    with pytest.raises(IntarsiaError, match=r"(?s)no reply to score: no key \(2x\).*where: m.*run the same command"):
        require_replies(0, "m", {"no key": 2})
