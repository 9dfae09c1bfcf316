"""Rows predicted from units: the closed form, and what carries over to a token that was left out."""

import pytest
import torch

from intarsia.compress.units import TokenStyle, UnitMap, merge_segmenter
from intarsia.compress.units.row_regression import RowRegression, unit_features
from intarsia.errors import ConfigError, ModelError

from .lexicons import BYTE_LEVEL, LEXICON, MERGES

TOKENS = [*BYTE_LEVEL, None]


@pytest.fixture(scope="module")
def unit_map():
    segmenter = merge_segmenter(MERGES, TokenStyle.BYTE_LEVEL)
    return UnitMap.from_vocabulary(TOKENS, LEXICON, segmenter=segmenter, special=[10])


def test_units_count_once_and_those_of_later_senses_less(unit_map):
    features = unit_features(unit_map).toarray()
    counts = {unit_map.names[unit]: value for unit, value in enumerate(features[4]) if value}
    assert counts == {
        "shape:start lower": 1,
        "piece:dog": 1,
        "piece:s": 1,
        "sememe:animal": 1,
        "sememe:breed": 1,
        "sememe:follow": 0.5,
        "class:verb.motion": 0.5,
    }
    assert not features[10].any()
    assert not features[15].any()


def test_it_is_ridge_regression(unit_map):
    matrix = torch.randn(len(unit_map), 5, generator=torch.Generator().manual_seed(0))
    found = RowRegression.fit(unit_map, matrix, penalty=2.0, stretch=0)
    used = [id for id in range(16) if id != 10]
    features = torch.from_numpy(unit_features(unit_map).toarray())[used]
    target = matrix[used] - matrix[used].mean(0)
    expected = torch.linalg.solve(features.T @ features + 2 * torch.eye(features.shape[1]), features.T @ target)
    assert torch.allclose(found.vectors, expected, atol=1e-5)
    assert torch.allclose(
        found.rows(unit_features(unit_map))[used], matrix[used].mean(0) + features @ expected, atol=1e-5
    )


def test_shrinkage_can_be_undone(unit_map):
    matrix = torch.randn(len(unit_map), 5, generator=torch.Generator().manual_seed(0))
    features = unit_features(unit_map)
    used = unit_map.mask.any(1)

    def length(stretch):
        found = RowRegression.fit(unit_map, matrix, penalty=20.0, stretch=stretch)
        return float((found.rows(features) - found.mean)[used].norm(dim=1).mean())

    trained = float((matrix[used] - matrix[used].mean(0)).norm(dim=1).mean())
    assert length(0) < 0.8 * trained
    assert length(1) == pytest.approx(trained, rel=1e-4)
    assert length(0.5) == pytest.approx((length(0) * trained) ** 0.5, rel=1e-4)


def test_a_row_that_is_a_sum_of_its_units_is_found_without_having_been_seen():
    tokens = [f"{start}{stem}{end}" for start in ("Ġ", "") for stem in ("dog", "cat", "fan") for end in ("", "s", "er")]
    unit_map = UnitMap.from_vocabulary(tokens, LEXICON, segmenter=lambda token: [token.core[:3], token.core[3:] or "0"])
    features = unit_features(unit_map)
    vectors = torch.randn(len(unit_map.names), 6, generator=torch.Generator().manual_seed(1))
    matrix = torch.from_numpy(features @ vectors.numpy())
    left_out = tokens.index("Ġdogs")
    known = torch.arange(len(tokens)) != left_out
    found = RowRegression.fit(unit_map, matrix, penalty=1e-4, tokens=known)
    row = found.rows(features)[left_out]
    assert torch.allclose(row, matrix[left_out], atol=0.01)
    terms = [[unit_map.names[unit] for unit in term] for term in unit_map.units[left_out].tolist()]
    kept = [tuple(term) for term, present in zip(terms, unit_map.mask[left_out].tolist(), strict=True) if present]
    assert torch.allclose(found.row(kept), row, atol=1e-5)
    assert torch.allclose(found.row([("shape:unknown", "piece:unknown")]), found.mean)


def test_what_does_not_fit_is_refused(unit_map):
    with pytest.raises(ModelError, match="the units are of 16 tokens, but the matrix has 15 rows"):
        RowRegression.fit(unit_map, torch.zeros(15, 3))
    with pytest.raises(ConfigError, match="penalty is 0"):
        RowRegression.fit(unit_map, torch.zeros(16, 3), penalty=0)


@pytest.mark.slow
def test_sememes_tell_more_of_smollm2s_new_words_than_their_pieces():
    from intarsia.compress.units import UnitConfig, default_lexicon
    from intarsia.errors import InputError
    from intarsia.experiments._see_studies import known_words, places_of, top_share, vocabulary_of
    from intarsia.experiments._see_systems import PIECES, SEE
    from intarsia.models import load_causal_lm

    try:
        lexicon, loaded = default_lexicon(), load_causal_lm("asset:smollm2-135m-instruct")
    except InputError as error:
        pytest.skip(error.what)
    vocabulary, matrix = vocabulary_of(loaded, 8192, lexicon, UnitConfig())
    known = known_words(vocabulary, 0.2, seed=0)
    shares = {}
    for kind in (SEE, PIECES):
        units = vocabulary.units(kind)
        found = RowRegression.fit(units, matrix, tokens=known)
        shares[kind] = top_share(places_of(found.rows(unit_features(units)), matrix, known, 500, 0))
    assert shares[SEE] > 50
    assert shares[SEE] > shares[PIECES] + 10
