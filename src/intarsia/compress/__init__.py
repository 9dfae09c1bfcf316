"""Compressing a model's token embedding: sums of tensor products of sememe and morpheme vectors, and their rivals.

Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "BudgetPlan": "budget",
    "CompressedEmbedding": "compressed_embedding",
    "FitConfig": "fitting",
    "FitReport": "fitting",
    "SEEConfig": "config",
    "SEEEmbedding": "see_embedding",
    "SEEHead": "see_head",
    "StoredBytes": "compressed_embedding",
    "TermTable": "term_table",
    "entanglement_entropy": "entanglement",
    "fit_matrix": "fitting",
    "plan_budget": "budget",
    "schmidt_coefficients": "entanglement",
    "schmidt_rank": "entanglement",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
