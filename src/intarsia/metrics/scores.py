"""Scores of predictions against references, each in [0, 1] or [-1, 1] as its definition has it.

scikit-learn and SciPy are imported where they are used: importing them takes longer than most scores take.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.errors import InputError


def accuracy(references: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Returns the share of predictions that equal their reference.

    Raises:
        InputError: If there are none, or not as many predictions as references (so for every score here).
    """
    from sklearn.metrics import accuracy_score

    _check_pairs(references, predictions)
    return float(accuracy_score(references, predictions))


def macro_f1(references: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Returns the unweighted mean of the F1 scores of all labels on either side; 0 for a label never right."""
    from sklearn.metrics import f1_score

    _check_pairs(references, predictions)
    return float(f1_score(references, predictions, average="macro", zero_division=0.0))


def accuracy_and_f1(references: Sequence[Any], predictions: Sequence[Any], positive: Any) -> float:
    """Returns the mean of accuracy and the F1 score of the label `positive`: GLUE's score of MRPC and QQP."""
    from sklearn.metrics import f1_score

    _check_pairs(references, predictions)
    hits = [reference == positive for reference in references]
    calls = [prediction == positive for prediction in predictions]
    return (accuracy(references, predictions) + float(f1_score(hits, calls, zero_division=0.0))) / 2


def matthews(references: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Returns Matthews' correlation coefficient, GLUE's score of CoLA; 0 where a side has one label only."""
    from sklearn.metrics import matthews_corrcoef

    _check_pairs(references, predictions)
    if len(set(references)) == 1 or len(set(predictions)) == 1:
        return 0.0
    return float(matthews_corrcoef(references, predictions))


def exact_match(references: Sequence[str], predictions: Sequence[str]) -> float:
    """Returns the share of predictions that are their reference, word for word; white space does not count."""
    return float(np.mean(exact_matches(references, predictions)))


def exact_matches(references: Sequence[str], predictions: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Returns for each row whether it is an exact match (see `exact_match`): what intervals are computed from."""
    _check_pairs(references, predictions)
    pairs = zip(references, predictions, strict=True)
    return np.array([reference.split() == prediction.split() for reference, prediction in pairs])


def pearson(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Returns Pearson's correlation; NaN where a side is constant, as it is not defined there."""
    from scipy.stats import pearsonr

    _check_pairs(references, predictions)
    return _correlation(pearsonr, references, predictions)


def spearman(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Returns Spearman's rank correlation; NaN where a side is constant, as it is not defined there."""
    from scipy.stats import spearmanr

    _check_pairs(references, predictions)
    return _correlation(spearmanr, references, predictions)


def pearson_spearman(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Returns the mean of Pearson's and Spearman's correlation, GLUE's score of STS-B."""
    return (pearson(references, predictions) + spearman(references, predictions)) / 2


def _correlation(function: Any, references: Sequence[float], predictions: Sequence[float]) -> float:
    if np.ptp(references) == 0 or np.ptp(predictions) == 0:
        return float("nan")
    return float(function(references, predictions).statistic)


def _check_pairs(references: Sequence[Any], predictions: Sequence[Any]) -> None:
    if len(references) != len(predictions):
        raise InputError(f"{len(references)} references but {len(predictions)} predictions")
    if len(references) == 0:
        raise InputError("there is nothing to score: no rows")
