"""Mutual information in quantum neural networks: where information about labels goes while a circuit is trained.

Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "Circuit": "circuits",
    "CircuitConfig": "config",
    "Comparison": "criteria",
    "DataConfig": "config",
    "Encoder": "encodings",
    "GateCircuit": "importing",
    "Holevo": "information",
    "Information": "information",
    "Judgement": "criteria",
    "QNNModel": "model",
    "Samples": "data",
    "TrainingConfig": "config",
    "TrainingResult": "training",
    "amplitude_states": "encodings",
    "analyse": "tracking",
    "angle_states": "encodings",
    "bootstrap_information": "bootstrap",
    "choi_information": "information",
    "choi_measured_information": "information",
    "compare_with_null": "criteria",
    "data_information": "information",
    "fano_accuracy_bound": "information",
    "holevo_information": "information",
    "import_circuit": "importing",
    "input_root": "information",
    "judge": "criteria",
    "load_samples": "data",
    "logistic_regression_accuracy": "data",
    "qnn_report": "page",
    "run_trial": "trials",
    "seed_trials": "trials",
    "split_samples": "data",
    "train": "training",
    "verdict_text": "verdict",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
