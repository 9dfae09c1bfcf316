import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from intarsia.errors import DataError, InputError, IntarsiaError, RunExistsError, UnknownNameError
from intarsia.experiments import provenance, registry, run_experiment
from intarsia.experiments.records import Claim, Outcome, Row, read_result


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Registers experiments in a bare registry: `toy(run)` gives a function that runs one as `toy`."""
    monkeypatch.setattr(registry, "_experiments", {})
    monkeypatch.setattr(registry, "names", lambda: sorted(registry._experiments))
    monkeypatch.setattr(registry, "recipes", lambda: tmp_path / "recipes")
    (tmp_path / "recipes" / "toy").mkdir(parents=True)
    (tmp_path / "recipes" / "toy" / "laptop.yaml").write_text("value: 2\n")

    def make(run, claims=()):
        registry.experiment("toy", title="A toy", paper="Toy, 2024", claims=claims)(run)
        return lambda **options: run_experiment(
            "toy", runs=tmp_path / "runs", results=tmp_path / "results", progress=lambda line: None, **options
        )

    make.folder = tmp_path
    return make


def one_row(context):
    return Outcome([Row("ours", "toy", "score", 1.0, 2.0)])


def test_result_report_and_run_record(toy):
    path = toy(one_row)(seed=3, engine="ray://10.0.0.1:10001")
    assert path == toy.folder / "results/toy/laptop.json"
    result = read_result(path)
    assert result.command == "intarsia reproduce toy --scale laptop --seed 3 --engine ray"
    assert {"intarsia", "python", "torch"} <= set(result.versions)
    assert set(result.hardware) == {"cpu", "cores", "memory_gib", "gpu"}
    folder = toy.folder / "runs/toy-laptop-seed3"
    assert {"run.json", "run.log", "report.json", "report.html"} <= {file.name for file in folder.iterdir()}
    record = json.loads((folder / "run.json").read_text())
    assert record["config"] == {"value": 2}
    assert str(toy.folder) not in path.read_text()


def test_a_stopped_run_goes_on_where_it_was(toy):
    computed = []

    def run(context):
        first = context.stage("first", lambda: computed.append("first") or [1.5])
        if computed == ["first"]:
            computed.append("stop")
            raise KeyboardInterrupt
        return Outcome([Row("ours", "toy", "score", None, first[0])])

    start = toy(run)
    with pytest.raises(KeyboardInterrupt):
        start()
    assert not (toy.folder / "results").exists()
    result = read_result(start())
    assert computed == ["first", "stop"]
    assert result.rows[0].measured == 1.5
    assert any("2 attempts" in note for note in result.notes)
    record = json.loads((toy.folder / "runs/toy-laptop-seed0/run.json").read_text())
    assert all(attempt["seconds"] is not None for attempt in record["attempts"])


def test_the_time_of_a_killed_attempt_counts_up_to_its_last_file(toy):
    start = toy(one_row)
    start()
    path = toy.folder / "runs/toy-laptop-seed0/run.json"
    record = json.loads(path.read_text())
    begun = datetime.now(UTC) - timedelta(seconds=100)
    record["attempts"] = [{"started": begun.isoformat(), "commit": record["attempts"][0]["commit"], "seconds": None}]
    path.write_text(json.dumps(record))
    assert read_result(start()).wall_seconds == pytest.approx(100, abs=10)


def test_parts_from_another_commit_are_noted(toy, monkeypatch):
    start = toy(one_row)
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    start()
    monkeypatch.setattr(provenance, "commit", lambda: "b" * 40 + "-dirty")
    notes = read_result(start()).notes
    assert any("aaaaaaaaaa, bbbbbbbbbb-dirty" in note for note in notes)


def test_overwrite_starts_anew(toy):
    start = toy(one_row)
    start()
    stray = toy.folder / "runs/toy-laptop-seed0/stages/old.json"
    stray.parent.mkdir()
    stray.write_text("1")
    start()
    assert stray.exists()
    start(overwrite=True)
    assert not stray.exists()


def test_a_recipe_with_numbers_for_keys_resumes(toy):
    (toy.folder / "recipes/toy/laptop.yaml").write_text("ratios: {10: [svd]}\n")
    start = toy(one_row)
    assert start() == start()


def test_another_recipe_does_not_resume(toy):
    start = toy(one_row)
    start()
    (toy.folder / "recipes/toy/laptop.yaml").write_text("value: 3\n")
    with pytest.raises(RunExistsError, match="--overwrite"):
        start()


def test_a_failing_experiment_leaves_the_old_result(toy):
    path = toy(one_row)()
    before = path.read_text()

    def fail(context):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        toy(fail)()
    assert path.read_text() == before


def test_every_declared_claim_is_judged_and_no_other(toy):
    claims = [Claim("a", "A", "T1"), Claim("b", "B", "T2")]
    with pytest.raises(IntarsiaError, match=r"did not judge its claims \['a', 'b'\]"):
        toy(one_row, claims)()

    def judge(context):
        judged = [context.claim("a", True, "yes"), context.claim("b", None, "too small")]
        return Outcome([Row("ours", "toy", "score", 1.0)], judged)

    result = read_result(toy(judge, claims)(overwrite=True))
    assert [(claim.id, claim.holds) for claim in result.claims] == [("a", True), ("b", None)]


def test_nan_is_refused(toy):
    with pytest.raises(DataError, match="measured is nan"):
        toy(lambda context: Outcome([Row("ours", "toy", "score", None, float("nan"))]))()


def test_a_stage_with_nan_leaves_no_file(toy):
    with pytest.raises(ValueError, match="JSON"):
        toy(lambda context: context.stage("bad", lambda: float("nan")))()
    assert not list((toy.folder / "runs").rglob("*bad*"))


def test_unknown_names_are_suggested(toy):
    toy(one_row)
    with pytest.raises(UnknownNameError, match="'toy'"):
        run_experiment("tyo")
    with pytest.raises(UnknownNameError, match="'laptop'"):
        run_experiment("toy", "lapto")


@pytest.mark.parametrize(("text", "message"), [("a: [1", r"laptop\.yaml, line"), ("- 1", "mapping"), ("", "mapping")])
def test_a_broken_recipe_is_named(toy, text, message):
    (toy.folder / "recipes/toy/laptop.yaml").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        toy(one_row)()
    assert "laptop.yaml" in str(caught.value)


def test_an_experiment_without_recipe_is_named(toy):
    toy(one_row)
    (toy.folder / "recipes/toy/laptop.yaml").unlink()
    with pytest.raises(InputError, match="'toy' has no recipe"):
        run_experiment("toy")


def test_every_experiment_of_the_package_is_registered_and_has_a_laptop_recipe():
    for slug in registry.names():
        experiment = registry.get(slug)
        assert experiment.slug == slug
        assert experiment.paper
        assert "laptop" in registry.scales(slug)
        assert registry.recipe(slug, "laptop")


def test_commit_tells_changes_of_code_from_other_changes(tmp_path, monkeypatch):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    monkeypatch.setattr(provenance, "checkout", lambda: tmp_path)
    assert provenance.commit() is None
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "code.py").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD").strip()
    (tmp_path / "notes.txt").write_text("not code")
    assert provenance.commit() == head
    (tmp_path / "src" / "code.py").write_text("2")
    assert provenance.commit() == f"{head}-dirty"


def test_outside_a_checkout_there_is_no_commit(monkeypatch):
    monkeypatch.setattr(provenance, "checkout", lambda: None)
    assert provenance.commit() is None
