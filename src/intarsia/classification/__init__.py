"""Text classification by a chat model over many confusable labels, without training.

The model first reduces the options to a few (self-reduction), then decides between them two at a time, reasoning on
what two labels share and what sets them apart (pairwise contrastive chain of thought, arXiv 2406.07001).
`PairwiseClassifier` is the scikit-learn estimator, `Classifier` the asynchronous core. Names are imported when they
are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "CallEstimate": "costs",
    "Classification": "results",
    "Classifier": "classifier",
    "ClassifierConfig": "config",
    "Cost": "costs",
    "Demonstrations": "demonstrations",
    "Evaluation": "evaluation",
    "Item": "results",
    "LabelSet": "labels",
    "PairwiseClassifier": "estimator",
    "UnmappedError": "asking",
    "UtilityResponder": "responder",
    "arrange_options": "options",
    "estimate_calls": "costs",
    "evaluate": "evaluation",
    "map_answer": "answers",
    "map_answers": "answers",
    "observed_labels": "options",
    "read_examples": "reading",
    "read_labels": "reading",
    "read_texts": "reading",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
