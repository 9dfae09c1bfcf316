"""Units of meaning and form that tokens are made of: sememes, pieces, shapes, and the terms made of them.

Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "COPYINGS": "copies",
    "Copying": "copies",
    "Lexicon": "lexicon",
    "LexiconMismatchWarning": "unit_map",
    "RowRegression": "row_regression",
    "Segmenter": "pieces",
    "Sense": "lexicon",
    "TokenString": "token_strings",
    "TokenStyle": "token_strings",
    "UnitConfig": "config",
    "UnitMap": "unit_map",
    "UnitStatistics": "statistics",
    "assign_copies": "copies",
    "build_lexicon": "wordnet",
    "cycle_terms": "copies",
    "default_lexicon": "wordnet",
    "digit_units": "special_cases",
    "find_wordnet": "wordnet",
    "hash_tokenizer": "unit_map",
    "hashed_copies": "copies",
    "hashed_units": "special_cases",
    "longest_match_segmenter": "pieces",
    "merge_segmenter": "pieces",
    "piece_units": "special_cases",
    "private_units": "special_cases",
    "read_morphemes": "pieces",
    "segmenter_of": "pieces",
    "sememes_of_definition": "definitions",
    "table_segmenter": "pieces",
    "unit_features": "row_regression",
    "word_segmenter": "pieces",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
