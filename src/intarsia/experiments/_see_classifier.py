"""A small classifier of sentences, trained from scratch with one embedding or another."""

import copy
import gzip
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.rivals.svd import SVDEmbedding
from intarsia.compress.see.config import SEEConfig
from intarsia.compress.see.embedding import SEEEmbedding
from intarsia.compress.units import Lexicon, Segmenter
from intarsia.errors import DataError
from intarsia.experiments import _see_systems as systems
from intarsia.experiments._see_recipe import ClassifierRecipe

DENSE, LOW_RANK = "dense", "low rank"

Sentences = list[tuple[int, list[str]]]


def read_sentences(path: str | Path) -> Sentences:
    """Reads `label<TAB>text` lines; the texts are split at spaces.

    Raises:
        DataError: If a line is not of this form.
    """
    found = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line, row in enumerate(file, start=1):
            label, tab, text = row.rstrip("\n").partition("\t")
            if not tab or label not in ("0", "1"):
                raise DataError("a line is 0 or 1, a tab and a text", file=path, line=line)
            found.append((int(label), text.split()))
    return found


class SentenceData:
    """Training, validation and test sentences as ids of their words.

    Args:
        recipe: Where they are.
        lexicon: Senses of words.
        segmenter: Splits words.
    """

    def __init__(self, recipe: ClassifierRecipe, lexicon: Lexicon, segmenter: Segmenter) -> None:
        parts = [read_sentences(path) for path in (recipe.train, recipe.validation, recipe.test)]
        words = sorted({word for part in parts for _, text in part for word in text})
        self.vocabulary = systems.Vocabulary(words, lexicon, segmenter, recipe.units)
        self._index = {word: id for id, word in enumerate(words)}
        self.train, self.validation, self.test = parts

    def tensors(self, sentences: Sentences) -> tuple[Int[Tensor, "rows words"], Int[Tensor, "rows"]]:
        """Word ids, -1 after the end, and labels."""
        longest = max(len(text) for _, text in sentences)
        ids = torch.full((len(sentences), longest), -1)
        for row, (_, text) in enumerate(sentences):
            ids[row, : len(text)] = torch.tensor([self._index[word] for word in text])
        return ids, torch.tensor([label for label, _ in sentences])


class SentenceClassifier(nn.Module):
    """Mean of the words' rows, LayerNorm, one linear layer.

    Args:
        embedding: Of words.
        dim: Length of its rows.
    """

    def __init__(self, embedding: nn.Module, dim: int) -> None:
        super().__init__()
        self.embedding, self.norm, self.linear = embedding, nn.LayerNorm(dim), nn.Linear(dim, 2)

    def forward(self, ids: Int[Tensor, "rows words"]) -> Float[Tensor, "rows labels"]:
        """Logits of the two labels."""
        present = ids >= 0
        rows = self.embedding(ids[present])
        owner = torch.arange(len(ids))[:, None].expand_as(ids)[present]
        sums = torch.zeros(len(ids), rows.shape[1]).index_add(0, owner, rows)
        return self.linear(self.norm(sums / present.sum(1, keepdim=True)))


def make_embedding(
    system: str, vocabulary: systems.Vocabulary, recipe: ClassifierRecipe, ratio: float, seed: int
) -> nn.Module:
    """An untrained embedding of a system with as many numbers as the ratio allows."""
    words, dim = len(vocabulary.tokens), recipe.dim
    generator = torch.Generator().manual_seed(seed)
    if system == DENSE:
        dense = nn.Embedding(words, dim)
        dense.weight.data = torch.randn(words, dim, generator=generator) * dim**-0.5
        return dense
    parameters = int(words * dim / ratio)
    if system == LOW_RANK:
        rank = max(1, (parameters - dim) // (words + dim))
        low = SVDEmbedding(words, dim, rank)
        for factor in (low.left, low.right):
            factor.data = torch.randn(factor.shape, generator=generator) * (rank * dim) ** -0.25
        low.mean.data.zero_()
        return low
    config = SEEConfig(mean=False, seed=seed)
    size = max(config.sizes(dim, vocabulary.config.order))
    return SEEEmbedding.from_table(vocabulary.table(system, parameters // size, seed, recipe.terms), dim, config)


def train_classifier(
    data: SentenceData, system: str, ratio: float, sentences: int, seed: int, recipe: ClassifierRecipe
) -> dict[str, Any]:
    """Trains on the first sentences; the epoch is chosen on the validation sentences, the result is of the test."""
    torch.manual_seed(seed)
    model = SentenceClassifier(make_embedding(system, data.vocabulary, recipe, ratio, seed), recipe.dim)
    parameters = sum(parameter.numel() for parameter in model.embedding.parameters())
    ids, labels = data.tensors(data.train[:sentences])
    validation, test = data.tensors(data.validation), data.tensors(data.test)
    # Few sentences make few steps: small sets are gone over more often, up to as many as a set of four times the size.
    epochs = recipe.epochs * max(1, min(4, max(recipe.sentences) // sentences))
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    best, kept = -1.0, copy.deepcopy(model.state_dict())
    for _ in range(epochs):
        model.train()
        for batch in torch.split(torch.randperm(len(ids), generator=generator), recipe.batch_size):
            loss: Any = nn.functional.cross_entropy(model(ids[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy = sum(_right(model, *validation)) / len(validation[1])
        if accuracy > best:
            best, kept = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return {"parameters": parameters, "validation": best, "right": _right(model, *test)}


@torch.no_grad()
def _right(model: nn.Module, ids: Tensor, labels: Tensor) -> list[int]:
    model.eval()
    found = [
        model(part).argmax(1) == of_part
        for part, of_part in zip(torch.split(ids, 1024), torch.split(labels, 1024), strict=True)
    ]
    return torch.cat(found).int().tolist()
