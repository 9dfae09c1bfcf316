"""Samples with labels: small sets that come with scikit-learn, two from OpenML, or a file of your own."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from intarsia.data.formats import read_records
from intarsia.errors import DataError, InputError, IntarsiaError, UnknownNameError
from intarsia.quantum.qnn.config import DataConfig
from intarsia.quantum.qnn.encodings import check_features

Features = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_OPENML = {"mnist": "mnist_784", "fashion-mnist": "Fashion-MNIST"}
_DEFAULT_CLASSES = {"iris": ("1", "2"), "digits": ("3", "6"), "mnist": ("3", "6"), "fashion-mnist": ("3", "6")}
_SIDE = 16
_MOST_OF_NAMED = 200


class Samples(NamedTuple):
    """Labelled samples.

    Attributes:
        features: (samples, features).
        labels: Class numbers, (samples,).
        classes: Names of the classes.
    """

    features: Features
    labels: Labels
    classes: tuple[str, ...]


class Split(NamedTuple):
    """Training and test samples."""

    train: Samples
    test: Samples


def load_samples(config: DataConfig) -> Samples:
    """Reads the samples of the classes that take part.

    Raises:
        UnknownNameError: If the data are neither a known name nor a file.
        DataError: If a file cannot be read, a value is missing or no number, or a label is not declared.
        InputError: If there is only one class, or a declared one has no samples.
    """
    bundled = _bundled()
    if config.data in bundled:
        features, named = bundled[config.data]()
        names = [str(name) for name in named]
        classes = config.classes or _DEFAULT_CLASSES.get(config.data, ()) or tuple(sorted(set(names)))
        chosen = np.array([name in classes for name in names])
        features, names = features[chosen], [name for name, wanted in zip(names, chosen, strict=True) if wanted]
    else:
        path = Path(config.data)
        if not path.suffix:
            raise UnknownNameError("data set", config.data, [*bundled, "a .csv or .npz file"])
        features, names = _read_npz(path, config.label) if path.suffix == ".npz" else _read_table(path, config.label)
        classes = config.classes or tuple(sorted(set(names)))
        _refuse_undeclared(names, classes, path)
    return labelled_samples(features, names, classes)


def labelled_samples(features: Features, names: Sequence[str], classes: tuple[str, ...]) -> Samples:
    """Returns samples with the labels' names as class numbers.

    Raises:
        InputError: If features are not finite, there is only one class, or one has no samples.
    """
    check_features(features)
    if len(classes) < 2:
        raise InputError(f"there is a single class, {', '.join(classes) or 'none'}; at least two are told apart")
    for name in classes:
        if name not in names:
            raise InputError(f"no sample has the label {name!r}", where="classes", fix=f"labels: {_some(set(names))}")
    numbers = {name: number for number, name in enumerate(classes)}
    return Samples(features.astype(np.float64), np.array([numbers[name] for name in names]), classes)


def split_samples(samples: Samples, config: DataConfig, seed: int) -> Split:
    """Draws training and test samples, with the same shares of classes in both.

    Raises:
        InputError: If there are not enough samples.
    """
    from sklearn.model_selection import train_test_split

    total = len(samples.labels)
    train = config.train or min(round(0.7 * total), _MOST_OF_NAMED if config.data in _bundled() else total)
    test = min(config.test or total, total - train)
    if test < len(samples.classes) or train < len(samples.classes) or np.bincount(samples.labels).min() < 2:
        raise InputError(
            f"{total} samples cannot be split into {train} for training and {test} for the test, with "
            f"{len(samples.classes)} classes in both",
            fix="ask for fewer training samples, or give more data",
        )
    chosen = train_test_split(
        np.arange(total), train_size=train, test_size=test, stratify=samples.labels, random_state=seed
    )
    parts = [Samples(samples.features[rows], samples.labels[rows], samples.classes) for rows in chosen]
    return Split(*parts)


def logistic_regression_accuracy(split: Split) -> float:
    """Returns the test accuracy of plain logistic regression on the same features: what a QNN should at least reach."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(split.train.features, split.train.labels)
    return float(model.score(split.test.features, split.test.labels))


def _bundled() -> dict[str, Callable[[], tuple[Features, Any]]]:
    from sklearn import datasets

    return {
        "iris": lambda: datasets.load_iris(return_X_y=True),
        "digits": lambda: datasets.load_digits(return_X_y=True),
        "breast-cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
        "wine": lambda: datasets.load_wine(return_X_y=True),
        **{name: partial(_from_openml, known) for name, known in _OPENML.items()},
    }


def _from_openml(name: str) -> tuple[Features, Any]:
    """Images of 28 x 28 from OpenML, reduced to 16 x 16 by averaging."""
    import torch
    from sklearn.datasets import fetch_openml

    try:
        images, labels = fetch_openml(name, version=1, return_X_y=True, as_frame=False)
    except OSError as error:
        raise IntarsiaError(
            f"OpenML did not give {name}: {error}", fix="check the network, or give the images as an .npz file"
        ) from None
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(images.reshape(-1, 1, 28, 28)).double(), _SIDE)
    return small.flatten(1).numpy(), labels


def _read_npz(path: Path, label: str) -> tuple[Features, list[str]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in ("X", label) if name not in arrays]
            if missing:
                raise DataError(
                    f"there is no array {missing[0]!r}", file=path, fix=f"arrays: {', '.join(arrays) or 'none'}"
                )
            features, labels = np.asarray(arrays["X"], dtype=np.float64), arrays[label]
    except FileNotFoundError:
        raise DataError("file not found", file=path) from None
    except (ValueError, OSError) as error:
        raise DataError(f"not a .npz file of plain arrays: {error}", file=path) from None
    if len(labels) != len(features) or labels.ndim != 1:
        raise DataError(f"X has {len(features)} samples, but {label!r} has the shape {labels.shape}", file=path)
    return features.reshape(len(features), -1), [str(name) for name in labels.tolist()]


def _read_table(path: Path, label: str) -> tuple[Features, list[str]]:
    rows, names = [], []
    for line, record in read_records(path):
        if label not in record:
            raise DataError(
                f"there is no column {label!r}",
                file=path,
                fix=f"name the column of the labels; columns: {', '.join(record)}",
            )
        names.append(str(record[label]))
        rows.append([_number(value, path, line, name) for name, value in record.items() if name != label])
    return np.array(rows, dtype=np.float64), names


def _number(value: Any, path: Path, line: int, field: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise DataError(
            f"{value!r} is no finite number", file=path, line=line, field=field, fix="fill it in or leave the row out"
        )
    return number


def _refuse_undeclared(names: Sequence[str], classes: tuple[str, ...], path: Path) -> None:
    others = set(names) - set(classes)
    if others:
        raise DataError(
            f"labels that are not declared: {_some(others)}",
            file=path,
            field="label",
            fix=f"declare them as classes too, or leave their rows out; declared: {', '.join(classes)}",
        )


def _some(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(map(repr, listed[:8])) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
