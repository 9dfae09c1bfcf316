"""Posterior information of quantum states: what each Pauli component adds to what others imply.

`posterior_chain(state)` gives the account, `feasible_interval` the certified range of a component. Reconstruction: the
definitions fit the abstracts of "Information upper bounds in composite quantum systems" (arXiv 2411.09150), whose text
was not at hand. Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "Bounds": "bounds",
    "Certificate": "certificates",
    "ChainConfig": "config",
    "Completion": "spectral",
    "Component": "chain",
    "FeasibleInterval": "interval",
    "InfeasibleError": "certificates",
    "MixedStateWarning": "chain",
    "NumericalWarning": "divergences",
    "PosteriorChain": "chain",
    "SearchResult": "searching",
    "SweepSummary": "sweeping",
    "ThetaBound": "theta",
    "extrapolate": "chain",
    "feasible_interval": "interval",
    "information": "divergences",
    "information_bounds": "bounds",
    "least_norm_state": "chain",
    "maximum_entropy_state": "chain",
    "order_components": "orders",
    "posterior_chain": "chain",
    "sweep": "sweeping",
    "theta_bound": "theta",
    "verify_certificate": "certificates",
    "verify_infeasibility": "certificates",
    "worst_case_search": "searching",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
