import gzip
import json

import pytest

from intarsia.experiments import Context, registry
from intarsia.experiments import miub_lora_scaling as module
from intarsia.finetune.scaling import COMPARED, Run, RunTable, ScalingConfig, analyse, trials

WORDS = {"red": "fire rose blood ruby cherry", "blue": "sea sky ice river sapphire"}


def context(config, folder, seed=0):
    claims = {claim.id: claim for claim in registry.get("miub-lora-scaling").claims}
    return Context(config, seed, "tiny", folder, engine="serial", claims=claims)


@pytest.fixture
def colours(tmp_path):
    folder = tmp_path / "colours"
    folder.mkdir()
    for split in ("train", "test"):
        lines = [
            json.dumps({"text": f"{word} {other}", "label": label})
            for label, words in WORDS.items()
            for word in words.split()
            for other in words.split()[: 3 if split == "train" else 5]
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def config(tiny_llama, colours):
    return {
        "data_folder": "nowhere",
        "models": [{"ref": str(tiny_llama)}],
        "seeds": [0, 1],
        "policies": ["fixed", "proportional"],
        "alpha": 8,
        "alpha_ratio": 2,
        "settings": {"batch_size": 4, "max_length": 16, "held_out": 12, "tokens": 100, "steps": 1, "shuffles": 2},
        "datasets": [
            {
                "name": "sst-polarity",
                "reader": "sst_polarity",
                "instead": str(colours),
                "ranks": [2, 4, 8],
                "rank": 4,
                "sizes": [8, 16],
                "layers": [2, 4],
            }
        ],
        "bootstrap": 5,
    }


def test_the_experiment_runs_judges_every_claim_and_resumes(config, tmp_path, monkeypatch):
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path / "nowhere"))
    experiment = registry.get("miub-lora-scaling")
    outcome = experiment.run(context(config, tmp_path))
    assert {claim.id for claim in outcome.claims} == {claim.id for claim in experiment.claims}
    assert {row.dataset for row in outcome.rows} == {"colours", "all"}
    labels = {row.metric for row in outcome.rows}
    assert set(COMPARED.values()) <= labels
    assert {"concordance along rank", "concordance along data size", "concordance along model size"} <= labels
    assert any("in place of sst-polarity" in note for note in outcome.notes)
    assert len(outcome.figures) == 3

    journal = (tmp_path / "runs.jsonl").read_text()
    # Two policies share rank 4; the axes of data and model size share its largest cell.
    assert len(journal.splitlines()) - 1 == 2 * (3 * 2 - 1 + 1 + 1)
    assert experiment.run(context(config, tmp_path)).rows == outcome.rows
    assert (tmp_path / "runs.jsonl").read_text() == journal


def test_local_files_are_used_when_they_are_there(config, tmp_path, monkeypatch):
    data = tmp_path / "data"
    (data / "sst_polarity").mkdir(parents=True)
    (data / "glue8").mkdir()
    for name in ("judge_train", "dev"):
        with gzip.open(data / "sst_polarity" / f"{name}.tsv.gz", "wt") as file:
            file.write("1\tfine , fine film\n0\tdull\n")
    with gzip.open(data / "glue8" / "glue8.jsonl.gz", "wt") as file:
        for number in range(40):
            for task in ("qqp", "cola"):
                file.write(
                    json.dumps({"task": task, "text_a": f"a{number}", "text_b": "b", "label": number % 2}) + "\n"
                )
    monkeypatch.setenv("INTARSIA_DATA", str(data))
    glue = {**config["datasets"][0], "name": "glue-qqp", "reader": "glue8", "task": "qqp"}
    config = {**config, "datasets": [*config["datasets"], glue]}
    grids, notes = module.sweeps(context(config, tmp_path / "run"))
    assert {grid.dataset for grid in grids} == {"sst-polarity", "glue-qqp"}
    assert notes[0] == "sst-polarity: from the local data folder"
    rows = [json.loads(line) for line in (tmp_path / "run/data/sst-polarity/test.jsonl").read_text().splitlines()]
    assert rows == [{"text": "fine , fine film", "label": "positive"}, {"text": "dull", "label": "negative"}]
    parts = {
        split: (tmp_path / f"run/data/glue-qqp/{split}.jsonl").read_text().splitlines() for split in ("train", "test")
    }
    assert len(parts["train"]) + len(parts["test"]) == 40
    assert len(parts["test"]) > 4


@pytest.mark.parametrize(("scale", "count"), [("laptop", 61), ("paper", None)])
def test_the_recipes_are_valid(scale, count, tmp_path, monkeypatch):
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path))
    grids, _ = module.sweeps(context(registry.recipe("miub-lora-scaling", scale), tmp_path, seed=7))
    found = {json.dumps(trial, sort_keys=True) for grid in grids for trial in trials(grid)}
    assert count in (None, len(found))
    assert len({grid.dataset for grid in grids}) == (3 if scale == "laptop" else 7)
    assert min(seed for grid in grids for seed in grid.seeds) == 7


def made_table(headline_fixed, *, ce=(0.5, 0.52, 0.49, 0.51), null=0.03, bias=1.0, sizes=False):
    """Runs with a chosen headline along rank under a fixed alpha, and its mirror image under the other policy."""
    runs = []
    for policy in ("fixed", "proportional"):
        for seed in range(3):
            for index, rank in enumerate((2, 8, 32, 128)):
                value = headline_fixed[index if policy == "fixed" else -1 - index] * (1 + 1e-3 * seed)
                loss = ce[index] + 0.05 * seed
                metrics = dict.fromkeys(COMPARED, value) | {"ce": loss, "ppl": 2.0**loss, "accuracy": 0.8}
                metrics |= {"miub_null": null * value, "miub_bias": null * value * bias, "stable_rank": rank**0.25}
                alpha = 16.0 if policy == "fixed" else 2.0 * rank
                runs.append(
                    Run(N=1e6, R=rank, D=100, alpha=alpha, policy=policy, seed=seed, dataset="sst", metrics=metrics)
                )
    return RunTable(tuple(runs))


def verdicts(table, tmp_path):
    found = analyse(table, config=ScalingConfig(bootstrap=0))
    return {claim.id: claim for claim in module.claims(context({}, tmp_path), table, found)}


def test_claims_hold_where_the_numbers_say_so(tmp_path):
    judged = verdicts(made_table((0.5, 0.4, 0.3, 0.28)), tmp_path)
    assert judged["fixed-alpha"].holds is True
    assert judged["proportional-alpha"].holds is True
    assert judged["seed-stability"].holds is True
    assert judged["permutation-null"].holds is True
    assert "Mean 1.00" in judged["fixed-alpha"].evidence


def test_a_direction_that_depends_on_alpha_is_left_open(tmp_path):
    judged = verdicts(made_table((0.5, 0.4, 0.3, 0.28)), tmp_path)
    assert judged["falls-with-rank"].holds is None
    assert "depends on alpha" in judged["falls-with-rank"].evidence
    assert judged["falls-with-model"].holds is None
    assert "does not vary" in judged["falls-with-model"].evidence


def test_claims_fail_where_the_numbers_say_so(tmp_path):
    judged = verdicts(made_table((0.28, 0.5, 0.3, 0.4), null=0.2), tmp_path)
    assert judged["fixed-alpha"].holds is False
    assert "Below 0.8 on sst" in judged["fixed-alpha"].evidence
    assert judged["permutation-null"].holds is False
    assert judged["falls-with-rank"].holds is False
    assert judged["law-fits-better"].holds is False
    assert verdicts(made_table((4, 3, 2, 1), bias=1.5), tmp_path)["permutation-null"].holds is False


def test_rank_rows_hold_the_rules_and_the_growth_of_the_stable_rank():
    table = made_table((0.5, 0.4, 0.3, 0.28))
    rows = module.rank_rows(analyse(table, config=ScalingConfig(bootstrap=0)))
    slope = next(row for row in rows if row.metric == "exponent in r")
    assert slope.measured == pytest.approx(0.25)
    assert any(row.system.startswith("one standard error") for row in rows)
