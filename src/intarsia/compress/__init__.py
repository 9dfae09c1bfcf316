"""Compressing a model's token embedding: sums of tensor products of sememe and morpheme vectors, and their rivals.

Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "BudgetPlan": "see.budget",
    "Comparison": "comparing",
    "ComparisonRow": "comparing",
    "CompressedConfig": "compressed_config",
    "CompressedEmbedding": "compressed_embedding",
    "CompressedForCausalLM": "modeling",
    "CompressionReport": "compressing",
    "CompressionResult": "running",
    "CurvePoint": "training",
    "FitConfig": "fitting",
    "FitReport": "fitting",
    "METHODS": "registry",
    "NewWord": "adding_tokens",
    "SEEConfig": "see.config",
    "SEEEmbedding": "see.embedding",
    "SEEHead": "see.head",
    "SEESettings": "see.methods",
    "StagesConfig": "stages_config",
    "StoredBytes": "compressed_embedding",
    "TermTable": "see.term_table",
    "UnreachableRatioError": "ratio",
    "add_words_to_model": "new_words",
    "compare": "comparing",
    "compress": "compressing",
    "compress_model": "compressing",
    "entanglement_entropy": "see.entanglement",
    "find_method": "registry",
    "fit_matrix": "fitting",
    "matrix_quality": "evaluating",
    "plan_budget": "see.budget",
    "run_compression": "running",
    "save_compressed": "compressing",
    "schmidt_coefficients": "see.entanglement",
    "schmidt_rank": "see.entanglement",
    "text_quality": "evaluating",
    "token_losses": "evaluating",
    "train_stages": "training",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
