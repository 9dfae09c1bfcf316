"""The nearest labels by sentence embedding: no question asked."""

from intarsia.classification.reducers.reduction import Reduction


async def nearest_labels(reduction: Reduction) -> list[str]:
    """Returns the `k` labels whose names, or whose examples' means, are nearest to the text."""
    config = reduction.questions.config
    return reduction.nearest(reduction.options, config.k, config.prototypes)
