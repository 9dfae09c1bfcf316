"""The studies of a trained matrix: closed forms, fits of one size, and rows of tokens that no fit has seen."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from intarsia.compress.compressed_embedding import CompressedEmbedding
from intarsia.compress.evaluating import matrix_quality, text_quality
from intarsia.compress.fitting import fit_matrix
from intarsia.compress.rivals.kronecker import KroneckerEmbedding
from intarsia.compress.rivals.quantized import QuantizedEmbedding
from intarsia.compress.rivals.svd import SVDEmbedding
from intarsia.compress.rivals.tensor_train import TTEmbedding
from intarsia.compress.texts import read_texts, token_rows
from intarsia.compress.units import Lexicon, UnitMap, segmenter_of
from intarsia.compress.units.row_regression import RowRegression, unit_features
from intarsia.experiments import _see_systems as systems
from intarsia.experiments._see_recipe import FitsRecipe, MatrixRecipe, UnseenRecipe
from intarsia.models import CausalLM

MEAN_ROW, PARTS_ROW, TRUE_ROW = "mean row", "mean of its parts' rows", "its own row"


def tied_matrix(loaded: CausalLM) -> Float[Tensor, "vocab dim"]:
    """The model's embedding."""
    matrix: Tensor = loaded.model.get_input_embeddings().weight
    return matrix.detach().float().clone()


def text_rows(loaded: CausalLM, text: str, rows: int, length: int) -> Int[Tensor, "rows length"]:
    """The first rows of a text."""
    return token_rows(loaded.tokenizer, read_texts(text), length, limit=rows)


# A: closed forms and rounding of the whole matrix


def matrix_study(loaded: CausalLM, recipe: MatrixRecipe, text: str) -> dict[str, Any]:
    """Raw and centred errors of closed forms and rounding, and the perplexity of some of them without training."""
    matrix = tied_matrix(loaded)
    found: dict[str, Any] = {"errors": {}, "perplexity": {}}
    rows = text_rows(loaded, text, recipe.rows, recipe.length) if text else None
    if rows is not None:
        found["perplexity"]["original"] = text_quality(loaded.model, rows).perplexity
    found["tokens"] = 0 if rows is None else int(rows.shape[0] * (rows.shape[1] - 1))
    for name, make in _closed_forms(matrix, recipe):
        dense = make()
        difference = (dense - matrix).norm()
        raw, centred = difference / matrix.norm(), difference / (matrix - matrix.mean(0)).norm()
        found["errors"][name] = [float(raw), float(centred)]
        if rows is not None and name in recipe.perplexity:
            with _rows_replaced(loaded.model, dense):
                found["perplexity"][name] = text_quality(loaded.model, rows).perplexity
    return found


def _closed_forms(matrix: Tensor, recipe: MatrixRecipe) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    yield "mean row", partial(matrix.mean(0).expand_as, matrix)
    for ratio in recipe.svd:
        yield f"SVD {ratio:g}x", SVDEmbedding.from_matrix(matrix, ratio=ratio).to_dense
    if recipe.kronecker:
        # The best approximations of lower rank are its first products: one decomposition serves all.
        whole = KroneckerEmbedding.from_matrix(matrix, ratio=min(recipe.kronecker))
        for ratio in recipe.kronecker:
            yield f"word2ketXS {ratio:g}x", _first_products(whole, ratio).to_dense
    for ratio in recipe.tt:
        yield f"TT {ratio:g}x", TTEmbedding.from_matrix(matrix, ratio=ratio).to_dense
    for bits in recipe.bits:
        yield f"int{bits}", QuantizedEmbedding.from_matrix(matrix, bits=bits).to_dense


def _first_products(whole: KroneckerEmbedding, ratio: float) -> KroneckerEmbedding:
    vocab, dim = whole.num_embeddings, whole.embedding_dim
    (t1, t2), (q1, q2) = whole.row_factors, whole.column_factors
    rank = int((vocab * dim / ratio - dim) / (t1 * q1 + t2 * q2))
    made = KroneckerEmbedding(vocab, dim, rank, whole.row_factors, whole.column_factors)
    with torch.no_grad():
        made.mean.copy_(whole.mean)
        made.first.copy_(whole.first[..., :rank])
        made.second.copy_(whole.second[:, :rank])
    return made


@contextmanager
def _rows_replaced(model: Any, matrix: Float[Tensor, "vocab dim"]) -> Iterator[None]:
    """Gives a model with a tied head other rows for a while."""
    weight = model.get_input_embeddings().weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.copy_(matrix)
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


# B: fits of one size


def vocabulary_of(loaded: CausalLM, count: int, lexicon: Lexicon, config: Any) -> tuple[systems.Vocabulary, Tensor]:
    """The first `count` ordinary tokens, which a byte-pair vocabulary orders by frequency, and their rows."""
    tokenizer = loaded.tokenizer
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    strings = {int(id): str(token) for token, id in tokenizer.get_vocab().items()}
    ids = [id for id in sorted(strings) if id not in special][:count]
    vocabulary = systems.Vocabulary(
        [strings[id] for id in ids], lexicon, segmenter_of(tokenizer, config.merges), config
    )
    return vocabulary, tied_matrix(loaded)[ids]


def fit_study(
    vocabulary: systems.Vocabulary, matrix: Tensor, system: str, parameters: int, seed: int, recipe: FitsRecipe
) -> dict[str, Any]:
    """One fit: error, neighbours kept, and how many numbers it has."""
    embedding = systems.build(system, vocabulary, matrix, parameters, seed, lowrank_share=recipe.lowrank_share)
    losses: list[float] = []
    if system not in systems.CLOSED_FORMS:
        losses = fit_matrix(embedding, matrix, replace(recipe.fit, seed=seed)).losses
    quality = matrix_quality(matrix, embedding.to_dense(), seed=seed)
    return {
        "centred": quality.centred_error,
        "overlap": quality.neighbour_overlap,
        "parameters": embedding.parameter_count(),
        "losses": losses[:: max(1, len(losses) // 25)],
    }


# C: rows of tokens that no fit has seen


def known_tokens(units: UnitMap, share: float, seed: int) -> Bool[Tensor, "vocab"]:
    """Leaves out a share of the tokens that are in the lexicon, whatever other forms of the same word there are."""
    candidates = units.found.nonzero().flatten()
    order = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(seed))
    known = torch.ones(len(units), dtype=torch.bool)
    known[candidates[order[: int(share * len(candidates))]]] = False
    return known


def known_words(vocabulary: systems.Vocabulary, share: float, seed: int) -> Bool[Tensor, "vocab"]:
    """Leaves out a share of the words of the lexicon with all their forms."""
    from intarsia.compress.units.token_strings import read_token

    units = vocabulary.units(systems.SEE)
    lemmas: dict[str, list[int]] = {}
    for id in units.found.nonzero().flatten().tolist():
        lemma = vocabulary.lexicon.lemma(read_token(vocabulary.tokens[id], units.style).core)
        lemmas.setdefault(str(lemma), []).append(id)
    names = sorted(lemmas)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    known = torch.ones(len(units), dtype=torch.bool)
    for place in order[: int(share * len(names))]:
        known[lemmas[names[place]]] = False
    return known


def unseen_fit(
    vocabulary: systems.Vocabulary, matrix: Tensor, system: str, known: Tensor, seed: int, recipe: UnseenRecipe
) -> dict[str, Any]:
    """Fits a system to the known tokens and looks how it places the others."""
    embedding = systems.build(system, vocabulary, matrix, recipe.parameters, seed)
    _fit_known(embedding, matrix, known, recipe, seed)
    places = places_of(embedding.to_dense(), matrix, known, recipe.candidates, seed)
    return {"places": places, "parameters": embedding.parameter_count()}


def _fit_known(embedding: CompressedEmbedding, matrix: Tensor, known: Tensor, recipe: UnseenRecipe, seed: int) -> None:
    """Fits to some rows: the others' errors do not count."""
    fit_matrix(_Part(embedding, known.nonzero().flatten()), matrix[known], replace(recipe.fit, seed=seed))


class _Part(CompressedEmbedding):
    """Some tokens of an embedding, under new ids."""

    ids: Int[Tensor, "tokens"]

    def __init__(self, whole: CompressedEmbedding, ids: Int[Tensor, "tokens"]) -> None:
        super().__init__(len(ids), whole.embedding_dim)
        self.whole = whole
        self.register_buffer("ids", ids)

    def rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        return self.whole.rows(self.ids[ids])


def places_of(
    predicted: Float[Tensor, "vocab dim"],
    matrix: Float[Tensor, "vocab dim"],
    known: Bool[Tensor, "vocab"],
    candidates: int,
    seed: int,
) -> list[int]:
    """Places of the right rows, by cosine without the mean row, among rows of `candidates` unknown tokens."""
    unknown = (~known).nonzero().flatten()
    chosen = unknown[torch.randperm(len(unknown), generator=torch.Generator().manual_seed(seed))][:candidates]
    mean = matrix[known].mean(0)
    guesses = nn.functional.normalize(predicted[chosen] - mean, dim=1)
    cosines = guesses @ nn.functional.normalize(matrix[chosen] - mean, dim=1).T
    return (1 + (cosines > cosines.diag()[:, None]).sum(1)).tolist()


REGRESSIONS = {
    "sememes and pieces": systems.SEE,
    "pieces": systems.PIECES,
    "pieces and shuffled senses": systems.SHUFFLED,
}


def new_word_study(
    loaded: CausalLM, vocabulary: systems.Vocabulary, matrix: Tensor, seed: int, recipe: UnseenRecipe
) -> dict[str, Any]:
    """Predicts rows of words of which no form is known, by regression on units, and what the model makes of them."""
    known = known_words(vocabulary, recipe.share, seed)
    # A part of the known words chooses the penalty.
    inner = known & known_words(vocabulary, recipe.share, seed + 1000)
    predicted: dict[str, Tensor] = {MEAN_ROW: matrix[known].mean(0).expand_as(matrix)}
    predicted[PARTS_ROW] = _mean_of_parts(vocabulary, matrix, known)
    penalties = {}
    for name, kind in REGRESSIONS.items():
        units = vocabulary.units(kind)
        features = unit_features(units)

        def rows(penalty: float, tokens: Tensor, units: UnitMap = units, features: Any = features) -> Tensor:
            return RowRegression.fit(units, matrix, penalty=penalty, tokens=tokens).rows(features)

        trials = {
            penalty: _mean_cosine(rows(penalty, inner), matrix, known & ~inner, matrix[inner].mean(0))
            for penalty in recipe.penalties
        }
        penalties[name] = max(trials, key=lambda penalty: trials[penalty])
        predicted[name] = rows(penalties[name], known)
    found: dict[str, Any] = {
        "penalties": penalties,
        "unknown": int((~known).sum()),
        "places": {
            name: places_of(rows, matrix, known, recipe.candidates, seed)
            for name, rows in predicted.items()
            if name != MEAN_ROW  # every direction is as near to no direction
        },
    }
    if recipe.text:
        found["text"] = _in_text(loaded, vocabulary, predicted, known, recipe)
    return found


def _mean_cosine(predicted: Tensor, matrix: Tensor, chosen: Tensor, mean: Tensor) -> float:
    return float(nn.functional.cosine_similarity(predicted[chosen] - mean, matrix[chosen] - mean).mean())


def _mean_of_parts(vocabulary: systems.Vocabulary, matrix: Tensor, known: Tensor) -> Tensor:
    """What is usually done for a new token: the mean of the rows of the known tokens it would be split into."""
    from intarsia.compress.units.token_strings import read_token, write_token

    style = vocabulary.units(systems.SEE).style
    index = {token: id for id, token in enumerate(vocabulary.tokens) if bool(known[id])}
    mean = matrix[known].mean(0)
    made = mean.expand_as(matrix).clone()
    for id in (~known).nonzero().flatten().tolist():
        token = read_token(vocabulary.tokens[id], style)
        pieces = list(vocabulary.segmenter(token))
        # A part that is one of the words left out is split further, down to letters.
        strings = [
            write_token(piece, style, starts_word=token.starts_word and place == 0)
            for place, piece in enumerate(pieces)
        ]
        ids = [part for string in strings for part in _longest_known(string, index)]
        if ids:
            made[id] = matrix[ids].mean(0)
    return made


def _longest_known(string: str, index: dict[str, int]) -> list[int]:
    found, start = [], 0
    while start < len(string):
        end = next((end for end in range(len(string), start, -1) if string[start:end] in index), None)
        if end is None:
            start += 1
        else:
            found.append(index[string[start:end]])
            start = end
    return found


def _in_text(
    loaded: CausalLM,
    vocabulary: systems.Vocabulary,
    predicted: dict[str, Tensor],
    known: Tensor,
    recipe: UnseenRecipe,
) -> dict[str, Any]:
    """Cross-entropy of text when the unknown words' rows, in and out, are predicted ones."""
    ids = torch.tensor(loaded.tokenizer.convert_tokens_to_ids(list(vocabulary.tokens)))
    new = torch.zeros(len(loaded.tokenizer), dtype=torch.bool)
    new[ids[~known]] = True
    tokens = text_rows(loaded, recipe.text, recipe.text_rows, recipe.length)
    is_new = new[tokens[:, 1:]]
    after = new[tokens[:, :-1]] & ~is_new
    matrix = tied_matrix(loaded)
    found: dict[str, Any] = {"new": int(is_new.sum()), "after": int(after.sum()), "losses": {}}
    for name, rows in [(TRUE_ROW, None), *predicted.items()]:
        replaced = matrix.clone()
        if rows is not None:
            replaced[ids[~known]] = rows[~known]
        with _rows_replaced(loaded.model, replaced):
            losses = _token_losses(loaded.model, tokens)
        found["losses"][name] = {
            "new": losses[is_new].tolist(),
            "after": losses[after].tolist(),
            "all": float(losses.mean()),
        }
    return found


@torch.no_grad()
def _token_losses(model: Any, tokens: Int[Tensor, "rows length"]) -> Float[Tensor, "rows predicted"]:
    losses = []
    for batch in torch.split(tokens, 4):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
        flat = nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten(), reduction="none")
        losses.append(flat.view(len(batch), -1))
    return torch.cat(losses)


def top_share(places: Sequence[int], top: int = 10) -> float:
    """Share of the right rows that are among the first, in percent."""
    return 100 * sum(place <= top for place in places) / len(places)
