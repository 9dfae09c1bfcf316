"""The order in which a state's components become known."""

from collections.abc import Mapping, Sequence

import numpy as np

from intarsia.errors import InputError, UnknownNameError
from intarsia.quantum.paulis import check_label, labels, weight

ORDERS = ("desc", "asc", "weight", "random")


def order_components(values: Mapping[str, float], order: str | Sequence[str], *, seed: int = 0) -> list[str]:
    """All strings in an order.

    Args:
        values: Every string but the identity, with its expectation value.
        order: `"desc"` or `"asc"` by absolute value, `"weight"` (few-qubit strings first), `"random"`, or all strings
            in an order of your own. Ties, up to 1e-9, are lexicographic.
        seed: Of `"random"`.

    Raises:
        UnknownNameError: If there is no such order.
        InputError: If your own order is no permutation of all strings.
    """
    strings = sorted(values)
    if not isinstance(order, str):
        return _checked(list(order), len(strings[0]))
    if order not in ORDERS:
        raise UnknownNameError("order", order, ORDERS)
    if order == "weight":
        return sorted(strings, key=lambda label: (weight(label), label))
    if order == "random":
        return [strings[index] for index in np.random.default_rng(seed).permutation(len(strings))]
    sign = -1 if order == "desc" else 1
    return sorted(strings, key=lambda label: (sign * round(abs(values[label]), 9), label))


def _checked(order: list[str], n: int) -> list[str]:
    for label in order:
        check_label(label, n)
    missing, twice = set(labels(n)) - set(order), {label for label in order if order.count(label) > 1}
    if missing or twice:
        what = f"{min(missing)} is missing" if missing else f"{min(twice)} comes twice"
        raise InputError(
            f"the order is not a permutation of the {4**n - 1} Pauli strings of {n} qubits: {what}",
            fix="list every string but the identity once; expectations_of(state) has them all",
        )
    return order
