"""Quantum information: what a state's Pauli components tell, and what a quantum neural network knows of its data.

`posterior` gives a state's account of information, component by component, with certificates; `qnn` measures mutual
information in quantum neural networks. Names are imported when they are first used.
"""

from importlib import import_module
from typing import Any

from intarsia._lazy import lazy_names

_SUBROOMS = ("posterior", "qnn")
_HOMES = {
    "density_matrix": "states",
    "expectations_of": "paulis",
    "ghz_state": "states",
    "haar_state": "states",
    "labels": "paulis",
    "pauli_expectations": "paulis",
    "pauli_matrix": "paulis",
    "product_state": "states",
    "read_state": "states",
    "real_state": "states",
    "stabilizer_state": "states",
    "state_from_expectations": "paulis",
    "symmetric_state": "states",
    "w_state": "states",
}

__all__ = sorted([*_SUBROOMS, *_HOMES])
_get_name, _ = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    return import_module(f"{__name__}.{name}") if name in _SUBROOMS else _get_name(name)


def __dir__() -> list[str]:
    return list(__all__)
