"""Static merge methods: one small file each, a pure function from the experts' task vectors to the merged one.

Every method here is a function of task vectors alone (`tau_t = theta_t - theta_0`), so the merged weight is always
`theta_0` plus what the function returns. A method declares what it needs beyond the tensor at hand: statistics of all
task vectors (TIES' global threshold) or of the experts' data (Fisher, RegMean, AdaMerging).
"""

from intarsia.merge.methods import (  # noqa: F401 - importing a method registers it
    adamerging,
    average,
    dare,
    fisher,
    linear,
    regmean,
    task_arithmetic,
    ties,
)
from intarsia.merge.methods.registry import MergeMethod, find_method, list_methods, merge_method

__all__ = ["MergeMethod", "find_method", "list_methods", "merge_method"]
