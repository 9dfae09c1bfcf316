"""One audit of a real model: that everything fits together, not what it can do, which is next to nothing."""

import pytest

from intarsia.audit.causal.auditing import read_audit, run_audit
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.layout import RECORDING, AuditConfig

pytestmark = pytest.mark.slow


def test_a_small_model_is_asked_through_inspect(tmp_path):
    pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")
    benchmark = BenchmarkConfig(levels=(1,), path_iters=(3,), graphs=1, what_ifs=(1,), minimal_sets=False)
    config = AuditConfig("asset:smollm2-135m-instruct", max_tokens=24, concurrency=4)
    run = run_audit(tmp_path / "run", config, benchmark=benchmark)
    assert (run.result.questions, run.result.unanswered) == (4, 0)
    assert sum(row["n"] for row in run.result.by_task) == 4
    # Every reply is recorded as soon as it is there, and the log says what it cost.
    assert len((tmp_path / "run" / RECORDING).read_text().splitlines()) == 4
    assert read_audit(run.folder) == run.result
    assert run_audit(tmp_path / "run", config, benchmark=benchmark).result == run.result
