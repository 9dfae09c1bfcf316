"""Where rows and trials run: this process, threads, worker processes or a Ray cluster, with one call for all.

`map` runs a function over rows, `sweep` over trials of settings. Both give one `Outcome` an item, in the order of the
input and equal whatever the backend. Errors are captured per item; a stopped run continues from its output.
"""

from intarsia.engine.keys import stable_key
from intarsia.engine.mapping import map
from intarsia.engine.outcomes import FailedItemError, Outcome
from intarsia.engine.sweeping import sweep

__all__ = ["FailedItemError", "Outcome", "map", "stable_key", "sweep"]
