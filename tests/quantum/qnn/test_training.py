"""Training: it learns, resumes to the bit, keeps its streams apart, and saves what it made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from intarsia.errors import ConfigError, InputError, ModelError, RunExistsError, UnknownNameError
from intarsia.quantum.qnn import (
    Circuit,
    CircuitConfig,
    DataConfig,
    QNNModel,
    TrainingConfig,
    choi_information,
    fano_accuracy_bound,
    load_samples,
    run_trial,
    seed_trials,
    split_samples,
    train,
)
from intarsia.quantum.qnn.data import Samples, Split
from intarsia.quantum.qnn.training import initial_theta, training_labels

SMALL = CircuitConfig(qubits=2, layers=2)
QUICK = TrainingConfig(epochs=4, learning_rate=0.1)


@pytest.fixture(scope="module")
def split() -> Split:
    config = DataConfig("iris", train=40, test=20)
    return split_samples(load_samples(config), config, 0)


def test_it_learns_and_tracks_every_epoch(split: Split) -> None:
    seen: list[tuple[int, int]] = []
    result = train(split, SMALL, replace(QUICK, epochs=12), progress=lambda done, total: seen.append((done, total)))
    assert [record["epoch"] for record in result.history] == list(range(13))
    assert result.history[-1]["loss"] < 0.6 * result.history[0]["loss"]
    assert result.history[-1]["test_accuracy"] > 0.7
    assert seen == [(done, 12) for done in range(13)]
    last = result.history[-1]
    found = choi_information(result.model.unitary(), (0,))
    assert (last["choi_di_mo"], last["choi_mi_mo"]) == pytest.approx(found[:2])
    assert result.history[0]["choi_di_mo"] == pytest.approx(
        choi_information(Circuit(SMALL).unitary(result.start), (0,)).di_mo
    )
    shares = torch.tensor([0.5, 0.5], dtype=torch.float64)
    for record in result.history:
        assert record["single_shot_accuracy"] <= fano_accuracy_bound(record["chi_labels"], shares)
        assert record["chi_labels"] <= record["chi_inputs"] + 1e-12 <= 1


def test_the_same_seed_gives_the_same_run(split: Split) -> None:
    once, again = (train(split, SMALL, QUICK) for _ in range(2))
    assert once.history == again.history
    assert torch.equal(once.model.theta, again.model.theta)
    assert train(split, SMALL, replace(QUICK, seed=1)).history != once.history


def test_training_leaves_the_global_generator_alone(split: Split) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    train(split, SMALL, QUICK)
    assert torch.equal(before, torch.get_rng_state())


def test_a_stopped_run_resumes_to_the_same_result(split: Split, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(split, SMALL, QUICK, folder=tmp_path, progress=stop)
    assert not (tmp_path / "history.json").exists()
    started: list[int] = []
    resumed = train(split, SMALL, QUICK, folder=tmp_path, progress=lambda done, _: started.append(done))
    assert started == [2, 3, 4]
    whole = train(split, SMALL, QUICK)
    assert resumed.history == whole.history
    assert torch.equal(resumed.model.theta, whole.model.theta)
    # A finished run is only read.
    assert train(split, SMALL, QUICK, folder=tmp_path).history == whole.history


def test_a_folder_with_another_run_is_refused(split: Split, tmp_path: Path) -> None:
    train(split, SMALL, replace(QUICK, epochs=1), folder=tmp_path)
    with pytest.raises(RunExistsError, match="already holds a run with other settings or samples"):
        train(split, SMALL, replace(QUICK, epochs=1, seed=5), folder=tmp_path)


def test_a_model_is_saved_and_read_back(split: Split, tmp_path: Path) -> None:
    model = train(split, SMALL, replace(QUICK, epochs=1), folder=tmp_path).model
    loaded = QNNModel.load(tmp_path)
    assert loaded.encoder.config == SMALL
    torch.testing.assert_close(loaded.probabilities(split.test.features), model.probabilities(split.test.features))
    assert set(loaded.predict(split.test.features)) <= {"1", "2"}
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="not a saved quantum neural network"):
        QNNModel.load(tmp_path)


def test_shuffled_labels_are_the_same_labels_in_another_order() -> None:
    labels = torch.arange(50) % 2
    shuffled = training_labels(labels, replace(QUICK, shuffle_labels=True))
    assert not torch.equal(labels, shuffled)
    assert shuffled.sum() == labels.sum()
    assert torch.equal(training_labels(labels, QUICK), labels)


def test_real_and_shuffled_runs_start_alike(split: Split) -> None:
    real, null = (train(split, SMALL, replace(QUICK, epochs=1, shuffle_labels=each)) for each in (False, True))
    assert torch.equal(real.start, null.start)
    for key in ("choi_di_mo", "data_di_mo", "test_accuracy"):
        assert real.history[0][key] == null.history[0][key]
    assert real.history[0]["chi_labels"] != null.history[0]["chi_labels"]


def test_initialisations() -> None:
    config = CircuitConfig(qubits=8, layers=20)
    uniform = initial_theta(config, TrainingConfig())
    assert 0 <= float(uniform.min()) < float(uniform.max()) <= 2 * np.pi
    assert float(uniform.max()) > 6
    small = initial_theta(config, TrainingConfig(initialisation="small"))
    assert float(small.std()) == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_more_than_two_classes(loss: str) -> None:
    config = DataConfig("iris", classes=("0", "1", "2"), train=60, test=30)
    three = split_samples(load_samples(config), config, 0)
    circuit = CircuitConfig(qubits=4, layers=3, measured=(0, 1))
    history = train(three, circuit, TrainingConfig(loss=loss, epochs=8, learning_rate=0.1, every=8)).history
    assert [record["epoch"] for record in history] == [0, 8]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["test_accuracy"] > 0.5
    with pytest.raises(ConfigError, match="at least 2 qubits, to tell 3 classes apart"):
        train(three, CircuitConfig(qubits=4))


@pytest.mark.parametrize("circuit", [CircuitConfig(qubits=2, reupload=True), CircuitConfig(precision="single")])
def test_other_kinds_of_circuits_train(split: Split, circuit: CircuitConfig) -> None:
    definitions = ("holevo",) if circuit.reupload else ("choi", "data", "holevo")
    history = train(split, circuit, replace(QUICK, epochs=8, definitions=definitions)).history
    assert history[-1]["chi_labels"] > history[0]["chi_labels"]
    assert ("choi_di_mo" in history[0]) is not circuit.reupload


# Bad input


@pytest.mark.parametrize("definition", ["choi", "data"])
def test_reuploading_has_no_reference(split: Split, definition: str) -> None:
    with pytest.raises(ConfigError, match=rf"only 'holevo' with re-uploading: '{definition}' needs one unitary"):
        train(split, CircuitConfig(qubits=2, reupload=True), replace(QUICK, definitions=(definition, "holevo")))


def test_labels_that_are_no_class_numbers(split: Split) -> None:
    wrong = split.train._replace(labels=split.train.labels * 2)
    with pytest.raises(InputError, match=r"training labels \[2\] are no class numbers[\s\S]*labels are 0 to 1"):
        train(Split(wrong, split.test), SMALL)
    short = split.test._replace(labels=split.test.labels[:-1])
    with pytest.raises(InputError, match="20 test samples, but 19 labels"):
        train(Split(split.train, short), SMALL)


def test_a_single_class_is_refused(split: Split) -> None:
    one = Samples(split.train.features, np.zeros_like(split.train.labels), split.train.classes)
    with pytest.raises(InputError, match="all training samples have the same label"):
        train(Split(one, split.test), SMALL)


def test_missing_values_are_refused(split: Split) -> None:
    features = split.train.features.copy()
    features[3, 1] = np.nan
    with pytest.raises(InputError, match=r"feature 1 is nan[\s\S]*sample 3"):
        train(Split(split.train._replace(features=features), split.test), SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"every": 0}, "every is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"loss": "hinge"}, {"initialisation": "zero"}, {"definitions": ("binned",)}])
def test_unknown_names_are_named(settings: dict[str, str]) -> None:
    with pytest.raises(UnknownNameError, match="unknown"):
        TrainingConfig(**settings)  # type: ignore[arg-type]


def test_a_trial_is_json_and_equals_training(split: Split) -> None:
    import json

    data = DataConfig("iris", train=40, test=20)
    trials = seed_trials(data, SMALL, replace(QUICK, epochs=2), [0, 1], resamples=4)
    assert [(trial["training"]["seed"], trial["training"]["shuffle_labels"]) for trial in trials] == [
        (0, False),
        (1, False),
        (0, True),
        (1, True),
    ]
    threads = torch.get_num_threads()
    found = run_trial(**json.loads(json.dumps(trials[2])))
    assert torch.get_num_threads() == threads
    assert json.loads(json.dumps(found)) == found
    assert (found["labels"], found["train"], found["classes"]) == ("shuffled", 40, ["1", "2"])
    assert set(found["intervals"]) == {"di_mo", "mi_mo", "di_mo_change", "mi_mo_change"}
