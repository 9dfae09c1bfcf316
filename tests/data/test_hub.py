"""Hub data sets, without a network: `datasets` reads local Parquet data sets in place of the hub's."""

import pytest

import intarsia.data.hub as hub
from intarsia.data import read, read_rows, splits
from intarsia.errors import DataError, IntarsiaError, UnknownNameError

datasets = pytest.importorskip("datasets")

NAMES = ["negative", "positive"]


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Puts local folders of Parquet files where hub ids point; returns the calls of `load_dataset`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {
            "sentence": datasets.Value("string"),
            "label": datasets.ClassLabel(names=NAMES),
        }
    )
    for split, count in (("train", 60), ("validation", 4), ("test", 2)):
        columns = {
            "sentence": [f"{split} {number}" for number in range(count)],
            "label": [-1 if split == "test" else number % 2 for number in range(count)],
        }
        folder = tmp_path / "owner" / "name" / "data"
        folder.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    calls = []
    real_load, real_names = datasets.load_dataset, datasets.get_dataset_split_names

    def local(id):
        if not (tmp_path / id).exists():
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{id}' doesn't exist on the Hub")
        return str(tmp_path / id)

    def load_dataset(id, config, **options):
        calls.append((id, config, options))
        return real_load(local(id), cache_dir=str(tmp_path / "cache"), **options)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda id, config: real_names(local(id)))
    return calls


FIELDS = {"text": "sentence"}


def test_class_numbers_become_their_names(load):
    rows = read_rows("owner/name", split="dev", fields=FIELDS)
    assert [(row.text, row.label) for row in rows] == [(f"validation {i}", NAMES[i % 2]) for i in range(4)]
    assert rows[0].id == "validation:1"


def test_streamed_where_a_limit_lets_reading_stop(load):
    assert len(read_rows("owner/name:config", split="dev", fields=FIELDS, limit=3)) == 3
    read_rows("owner/name", split="dev", fields=FIELDS, limit=3, seed=0)
    read_rows("owner/name", split="dev", fields=FIELDS)
    assert [(config, options["streaming"]) for _, config, options in load] == [
        ("config", True),
        (None, False),
        (None, False),
    ]


def test_streamed_rows_are_the_same(load):
    whole = read_rows("owner/name", split="dev", fields=FIELDS)
    assert read_rows("owner/name", split="dev", fields=FIELDS, limit=4) == whole


def test_splits(load):
    assert splits("owner/name") == ["train", "dev", "test", "validation"]
    with pytest.raises(UnknownNameError, match="unknown split 'tset'"):
        read("owner/name", split="tset")


def test_a_split_the_hub_lacks_is_cut_from_train(load, monkeypatch):
    monkeypatch.setattr("intarsia.data._sources.hub_splits", lambda id, config: ["train"])
    parts = [{row.text for row in read("owner/name", split=split, fields=FIELDS)} for split in ("train", "dev", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60


def test_hidden_labels(load):
    with pytest.raises(DataError, match="'label' is empty") as error:
        read_rows("owner/name", split="test", fields=FIELDS)
    assert error.value.where == "owner/name/test, line 1, field 'label'"


def test_no_such_dataset(load):
    with pytest.raises(DataError, match="no such dataset on the hub") as error:
        read("owner/other")
    assert error.value.where == "owner/other"


def test_no_such_split_on_the_hub(load):
    with pytest.raises(DataError, match="Unknown split"):
        next(hub.read_hub_records("owner/name", None, "dev", streaming=False))


def test_no_network_is_a_failure_and_not_bad_input(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "get_dataset_split_names", fail)
    with pytest.raises(IntarsiaError, match="could not be fetched: Couldn't reach the Hub") as error:
        read("owner/name")
    assert error.value.exit_code == 1


def test_catalogue_entry_of_the_hub(load, monkeypatch):
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda id, config, **options: (
            load.append((id, config, options))
            or datasets.Dataset.from_dict(
                {"sentence1": ["A.", "C."], "sentence2": ["B.", "D."], "label": [1, 0], "idx": [5, 6]},
                features=datasets.Features(
                    {
                        "sentence1": datasets.Value("string"),
                        "sentence2": datasets.Value("string"),
                        "label": datasets.ClassLabel(names=["not_equivalent", "equivalent"]),
                        "idx": datasets.Value("int32"),
                    }
                ),
            )
        ),
    )
    rows = read_rows("glue-mrpc", split="test")
    assert load[0] == ("nyu-mll/glue", "mrpc", {"split": "validation", "streaming": False})
    assert [(row.text, row.label) for row in rows] == [("A.\nB.", "equivalent"), ("C.\nD.", "not_equivalent")]
