"""The intent sets of the reproduction, and their embeddings, computed once and kept."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from intarsia.classification.config import ClassifierConfig
from intarsia.classification.intent_sets import IntentSet, read_intent_set
from intarsia.classification.labels import label_texts
from intarsia.classification.limits import one_line
from intarsia.classification.results import Item
from intarsia.errors import DataError
from intarsia.experiments._local_data import data_folder
from intarsia.experiments._pairwise_recipe import PairwiseRecipe
from intarsia.files import atomic_file
from intarsia.models.sentence_encoder import SentenceEncoder, Vectors

CONTENT_FREE = "N/A"
"""A text that says nothing."""


def read_sets(recipe: PairwiseRecipe) -> dict[str, IntentSet]:
    """Reads the sets.

    Raises:
        DataError: If they are not there.
    """
    folder = data_folder(recipe.data_folder)
    if folder is None or not (folder / "intent-options" / "labels.json").is_file():
        raise DataError(
            "the intent sets are not there: no intent-options/labels.json",
            file=folder,
            field="data_folder",
            fix="set INTARSIA_DATA to the folder that holds intent-options; the sets are those of Chuge0335/PC-CoT",
        )
    return {name: read_intent_set(folder / "intent-options", name) for name in recipe.datasets}


class StoredEncoder:
    """Embeddings of all texts of the sets, kept in a file over a stop and a restart.

    Args:
        vectors: Text -> its unit vector.
    """

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        self._rows = {text: row for row, text in enumerate(texts)}
        self._vectors = vectors

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Returns the vectors of texts, (texts, dim), each of length 1."""
        chosen: Vectors = self._vectors[[self._rows[text] for text in texts]]
        return chosen


def embed_sets(
    sets: dict[str, IntentSet], recipe: PairwiseRecipe, folder: Path, progress: Callable[[str], None]
) -> StoredEncoder:
    """Encodes all texts, examples and labels of the sets once."""
    texts = sorted({text for each in sets.values() for text in _texts(each)} | {CONTENT_FREE})
    name = hashlib.sha256("\n".join([recipe.encoder, *texts]).encode()).hexdigest()[:16]
    path = folder / "embeddings" / f"{name}.npy"
    if not path.is_file():
        progress(f"{len(texts)} texts are encoded ...")
        vectors = SentenceEncoder(recipe.encoder).embed(texts)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
    return StoredEncoder(texts, np.load(path, allow_pickle=False))


def plain(item: Item) -> str:
    """Returns the text of an item as a classification reads it."""
    return one_line(item, ClassifierConfig().max_characters)[0]


def _texts(each: IntentSet) -> list[str]:
    examples = (" ".join(text.split()) for text, _ in each.examples)
    return [*map(plain, each.items), *examples, *label_texts(each.labels.names)]
