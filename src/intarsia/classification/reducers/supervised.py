"""The two best labels of a classifier trained on the examples."""

from intarsia.classification.reducers.reduction import Reduction

_TOP = 2


async def supervised(reduction: Reduction) -> list[str]:
    """Returns the two most likely options by a logistic regression on the examples' vectors."""
    assert reduction.vectors is not None, "reducers that compare vectors are given an encoder"
    fitted = reduction.vectors.logistic_regression
    (chances,) = fitted.predict_proba(reduction.vectors.of_text(reduction.text)[None])
    of_label = dict(zip(fitted.classes_.tolist(), chances.tolist(), strict=True))
    return sorted(reduction.options, key=of_label.__getitem__, reverse=True)[:_TOP]
