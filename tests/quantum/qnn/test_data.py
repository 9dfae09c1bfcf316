"""Encodings, data sets and files, and what is wrong with them."""

from math import pi
from pathlib import Path

import numpy as np
import pytest

from intarsia.errors import ConfigError, DataError, InputError, IntarsiaError, UnknownNameError
from intarsia.quantum.qnn import (
    CircuitConfig,
    DataConfig,
    Encoder,
    load_samples,
    logistic_regression_accuracy,
    split_samples,
)
from intarsia.quantum.qnn.data import labelled_samples

_ANGLE, _AMPLITUDE = CircuitConfig(qubits=2, reupload=True), CircuitConfig(qubits=2, encoding="amplitude")


def test_angles_go_from_zero_to_pi_and_are_clipped() -> None:
    features = np.array([[0.0, 5.0], [2.0, 15.0], [1.0, 10.0]])
    encoder = Encoder.fit(features, _ANGLE)
    np.testing.assert_allclose(encoder.encode(features), [[0, 0], [pi, pi], [pi / 2, pi / 2]])
    np.testing.assert_allclose(encoder.encode(np.array([[-9.0, 99.0]])), [[0, pi]])


def test_more_features_than_qubits_are_projected_on_principal_components() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(50, 1)) @ np.array([[1.0, 2.0, -3.0]]) + 0.01 * generator.normal(size=(50, 3))
    encoder = Encoder.fit(features, _ANGLE)
    direction = np.array([1.0, 2.0, -3.0]) / 14**0.5
    assert abs(encoder.components[0] @ direction) == pytest.approx(1, abs=1e-4)
    # The sign is fixed: the largest entry is positive.
    assert encoder.components[0][np.abs(encoder.components[0]).argmax()] > 0


def test_a_constant_feature_is_the_angle_zero() -> None:
    encoder = Encoder.fit(np.array([[0.0, 7.0], [1.0, 7.0]]), _ANGLE)
    assert encoder.encode(np.array([[1.0, 7.0]]))[0, 1] == 0


def test_amplitudes_have_length_one_and_are_padded() -> None:
    states = Encoder.fit(np.array([[3.0, 0.0, 4.0]]), _AMPLITUDE).encode(np.array([[3.0, 0.0, 4.0]]))
    assert states.tolist() == [[0.6, 0, 0.8, 0]]


@pytest.mark.parametrize(
    ("features", "config", "message"),
    [
        (
            [[1.0] * 5],
            _AMPLITUDE,
            r"2 qubits have 4 amplitudes, but the samples have 5[\s\S]*use 3 qubits",
        ),
        ([[1.0]], _ANGLE, r"a feature for each of 2 qubits, but the samples have 1[\s\S]*at most 1 qubits"),
        ([[1.0, float("nan")]], _ANGLE, r"feature 1 is nan[\s\S]*sample 0[\s\S]*missing values"),
        ([[1.0, 2.0], [float("inf"), 1.0]], _AMPLITUDE, r"feature 0 is inf[\s\S]*sample 1"),
        ([[0.1, 0.2, 0.3]], _ANGLE, r"1 training samples have only 1 principal components, not 2"),
        ([[], []], _ANGLE, r"shape \(2, 0\)"),
    ],
)
def test_features_that_do_not_fit_are_refused(features: list[list[float]], config: CircuitConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Encoder.fit(np.array(features), config)


def test_a_sample_of_zeros_has_no_amplitudes() -> None:
    features = np.array([[1.0, 2.0], [0.0, 0.0]])
    with pytest.raises(InputError, match=r"features are all 0[\s\S]*sample 1[\s\S]*'angle'"):
        Encoder.fit(features, _AMPLITUDE).encode(features)


def test_other_features_than_fitted_are_refused() -> None:
    with pytest.raises(InputError, match="fitted to 2 features, but the samples have 3"):
        Encoder.fit(np.eye(2), _ANGLE).encode(np.eye(3))


# Data sets


def test_bundled_sets_and_their_classes() -> None:
    iris = load_samples(DataConfig("iris"))
    assert iris.features.shape == (100, 4)
    assert iris.classes == ("1", "2")
    digits = load_samples(DataConfig("digits", classes=("8", "0")))
    assert digits.features.shape[1] == 64
    assert digits.classes == ("8", "0")
    assert set(digits.labels) == {0, 1}
    assert load_samples(DataConfig("wine")).classes == ("0", "1", "2")


def test_a_split_keeps_the_shares_and_no_sample_is_in_both() -> None:
    config = DataConfig("iris", train=70)
    samples = load_samples(config)
    split = split_samples(samples, config, 3)
    assert [len(part.labels) for part in split] == [70, 30]
    assert split.train.labels.mean() == split.test.labels.mean() == 0.5
    again = split_samples(samples, config, 3)
    np.testing.assert_array_equal(split.test.features, again.test.features)
    assert not np.array_equal(split.test.features, split_samples(samples, config, 4).test.features)
    assert logistic_regression_accuracy(split) > 0.8


def test_named_sets_train_on_two_hundred_samples_and_files_on_seven_tenths(tmp_path: Path) -> None:
    for name, train in (("iris", 70), ("digits", 200), ("wine", 125)):
        config = DataConfig(name)
        assert len(split_samples(load_samples(config), config, 0).train.labels) == train
    np.savez(tmp_path / "mine.npz", X=np.random.default_rng(0).normal(size=(400, 2)), y=np.arange(400) % 2)
    config = DataConfig(str(tmp_path / "mine.npz"))
    assert [len(part.labels) for part in split_samples(load_samples(config), config, 0)] == [280, 120]


def test_csv_and_npz_hold_the_same(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("a,kind,b\n1,cat,2\n3,dog,4.5\n", encoding="utf-8")
    np.savez(tmp_path / "mine.npz", X=np.array([[1, 2], [3, 4.5]]), kind=np.array(["cat", "dog"]))
    for name in ("mine.csv", "mine.npz"):
        samples = load_samples(DataConfig(str(tmp_path / name), label="kind"))
        assert samples.features.tolist() == [[1, 2], [3, 4.5]]
        assert (samples.classes, samples.labels.tolist()) == (("cat", "dog"), [0, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,x\n,z\n", r"'' is no finite number[\s\S]*line 3, field 'a'"),
        ("a,y\n1,x\nnan,z\n", r"'nan' is no finite number[\s\S]*line 3, field 'a'"),
        ("a,y\nsmall,x\n", r"'small' is no finite number"),
        ("a,b\n1,2\n", r"no column 'y'[\s\S]*columns: a, b"),
        ("a,y\n1,x\n2,x\n", "single class, x"),
    ],
)
def test_csv_files_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_samples(DataConfig(str(path)))


def test_labels_that_were_not_declared(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("a,y\n1,x\n2,z\n3,w\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"not declared: 'w'[\s\S]*declared: x, z"):
        load_samples(DataConfig(str(path), classes=("x", "z")))
    with pytest.raises(InputError, match="no sample has the label '7'"):
        load_samples(DataConfig("iris", classes=("1", "7")))
    with pytest.raises(ConfigError, match=r"classes is .*different labels"):
        DataConfig(classes=("1", "1"))


def test_npz_files_that_cannot_be_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "names.npz", features=np.eye(2))
    np.savez(tmp_path / "lengths.npz", X=np.eye(2), y=np.arange(3))
    np.savez(tmp_path / "objects.npz", X=np.array([[1, None]], dtype=object), y=np.arange(1))
    for name, message in {
        "names": "no array 'X'",
        "lengths": r"2 samples, but 'y' has the shape \(3,\)",
        "objects": "not a .npz file of plain arrays",
        "absent": "file not found",
    }.items():
        with pytest.raises(DataError, match=message):
            load_samples(DataConfig(str(tmp_path / f"{name}.npz")))


def test_unknown_sets_and_splits_that_cannot_be_made() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown data set 'irish'[\s\S]*'iris'"):
        load_samples(DataConfig("irish"))
    config = DataConfig("iris", train=100)
    with pytest.raises(InputError, match="100 samples cannot be split into 100 for training and 0"):
        split_samples(load_samples(config), config, 0)
    with pytest.raises(ConfigError, match="train is -1"):
        DataConfig(train=-1)
    with pytest.raises(InputError, match="single class"):
        labelled_samples(np.eye(2), ["a", "a"], ("a",))


def test_openml_out_of_reach_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", unreachable)
    with pytest.raises(IntarsiaError, match=r"OpenML did not give mnist_784: no route[\s\S]*\.npz"):
        load_samples(DataConfig("mnist"))


def test_openml_images_are_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((4, 784))
    images[:, :28] = 8.0
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *_, **__: (images, ["3", "6", "1", "3"]))
    samples = load_samples(DataConfig("mnist"))
    assert samples.features.shape == (3, 256)
    assert samples.labels.tolist() == [0, 1, 0]
    assert samples.features[0, :16].min() > 0 == samples.features[0, 32:].max()
