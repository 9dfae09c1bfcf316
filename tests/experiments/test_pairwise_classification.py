"""The reproduction of pairwise classification in small, on made-up intent sets with made-up embeddings."""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from intarsia.classification import ClassifierConfig
from intarsia.classification.intent_sets import read_intent_set
from intarsia.errors import DataError, UnknownNameError
from intarsia.evals import ScriptedChat
from intarsia.experiments import Context, _pairwise_data, _pairwise_models, registry
from intarsia.experiments import _pairwise_studies as studies
from intarsia.experiments._pairwise_recipe import read_recipe

SLUG = "pairwise-classification"
LABELS = [f"topic_{place}" for place in range(20)]
SMALL = {
    "datasets": ["first", "second"],
    "responder": {"dataset": "first", "options": [2, 4, 0], "replicates": 2, "settings": [[0, 0], [2, 3]]},
    "position": {"options": 8, "places": [0, 7], "content_free": 10},
    "break_even": {"resamples": 50, "replicates": 2},
}


class WordEncoder:
    """Unit vectors that are near for texts with words in common."""

    def __init__(self, ref="", **_):
        pass

    def embed(self, texts):
        rows = np.zeros((len(texts), 32), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row += np.random.default_rng(zlib.crc32(word.encode())).normal(size=32)
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    data = tmp_path / "data" / "intent-options"
    data.mkdir(parents=True)
    (data / "labels.json").write_text(json.dumps({"first": LABELS, "second": LABELS[:8]}))
    for name, labels in (("first", LABELS), ("second", LABELS[:8])):
        rows = [
            {
                "id": f"{name}-{place}",
                "text": f"say {place} {label.replace('_', ' ')} and topic {place}",
                "label": label,
                "hard": place % 2 == 0,
            }
            for place, label in enumerate(labels * 2)
        ]
        rows.append({"id": f"{name}-empty", "text": "", "label": labels[0], "hard": False})
        demos = [{"text": f"show {place} {label}", "label": label} for label in labels for place in range(3)]
        for kind, content in (("dev", rows), ("demos", demos)):
            with gzip.open(data / f"{name}.{kind}.jsonl.gz", "wt") as file:
                file.write("".join(json.dumps(row) + "\n" for row in content))
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(_pairwise_data, "SentenceEncoder", WordEncoder)
    return tmp_path


@pytest.fixture
def run(folder):
    claims = {claim.id: claim for claim in registry.get(SLUG).claims}

    def start(config):
        lines = []
        context = Context(config, 0, "tiny", folder / "run", progress=lines.append, claims=claims)
        return registry.get(SLUG).run(context), lines

    return start


def test_every_study_is_there_and_every_claim_judged_but_that_of_chat_models(run):
    outcome, _ = run(SMALL)
    found = {(row.system, row.dataset, row.metric): row for row in outcome.rows}
    assert found["encoder, nearest label name", "second, hard", "accuracy, %"].n == 8
    assert found["one question", "first, 20 options, g 2, b 3", "responder: calls a text"].measured == 1
    assert found["ITR + king", "first, 20 options, g 2, b 3", "responder: calls a text"].measured == 9
    assert found["CBWR + king", "first, 20 options, g 0, b 0", "responder: calls a text"].measured == 6
    place = ("first, 2 options in the order given, g 1, b 3", "answers changed by the label's place, %")
    assert found["duel, both orders, log-odds", *place].measured == 0
    assert found["duel, one order", *place].measured > 0
    held = {claim.id: claim for claim in outcome.claims}
    assert [*held] == [claim.id for claim in registry.get(SLUG).claims]
    assert held["chat-models-gain"].holds is None
    assert "no chat model was given" in held["chat-models-gain"].evidence
    assert all(claim.holds is not None for id, claim in held.items() if id != "chat-models-gain")
    assert held["two-stages-help"].holds
    assert held["both-orders-help"].holds
    assert any("1 row of first without text" in note for note in outcome.notes)
    assert len(outcome.figures) == 4

    again, lines = run(SMALL)
    assert again.rows == outcome.rows
    assert all(line.endswith("already done") for line in lines)


def test_chat_models_are_judged_when_they_are_given(run, monkeypatch):
    def answer(call):
        options = [line[2:] for line in call.prompt.partition("OPTIONS:\n")[2].split("\n\n")[0].splitlines()]
        text = call.prompt.partition("TEXT: ")[2].partition("\n")[0]
        right = next((label for label in options if f"{label.replace('_', ' ')} and" in text), None)
        if not options:
            return "noted"
        if (
            len(options) > 5
            and "step by step" not in call.prompt
            and "Which" in call.prompt
            and len(call.messages) == 1
        ):
            # One question over many options is beyond it, unless it is asked for one after the other.
            listed = sorted(options, key=lambda label: label != right)
            several = "LABELS" in call.prompt
            return f"LABELS: {', '.join(listed[:5])}" if several else f"LABEL: {options[0]}"
        return f"LABEL: {right or options[0]}"

    monkeypatch.setattr(_pairwise_models, "open_model", lambda ref, recipe, folder: ScriptedChat(answer, name=ref))
    outcome, _ = run({**SMALL, "chat": {"models": ["any/model"], "limit": 6, "concurrency": 3}})
    (claim,) = [claim for claim in outcome.claims if claim.id == "chat-models-gain"]
    assert claim.holds is not None
    assert "any/model: CBWR + PC-CoT" in claim.evidence
    rows = {(row.system, row.dataset): row for row in outcome.rows if row.metric == "accuracy, %"}
    for system in _pairwise_models.SYSTEMS:
        assert rows[f"any/model: {system}", "first, 20 labels"].n == 6
    assert rows["any/model: CBWR + PC-CoT", "first, 20 labels"].measured == 100


def test_the_closed_form_of_king_is_what_duels_give(folder):
    each = read_intent_set(folder / "data" / "intent-options", "first")
    recipe = read_recipe({"break_even": {"replicates": 60}}).break_even
    found = studies.simulated_duels(each, WordEncoder(), recipe, 0.2, 0)
    assert np.mean(found["right"]) == pytest.approx(found["expected"], abs=0.05)


def test_break_even_is_where_duels_equal_the_first_choice():
    ranks = np.array([1] * 4 + [2] * 3 + [3] * 2 + [9])
    share = studies._break_even(ranks, 5)
    assert studies.king_accuracy(ranks, 5, 1 - share) == pytest.approx(0.4)
    assert studies.king_accuracy(ranks, 5, 0.0) == pytest.approx(0.9)
    assert studies._break_even(np.array([1, 1, 9]), 5) == 1
    assert studies._break_even(np.array([2, 3]), 5) == 0.5


def test_missing_data_say_what_to_do(run, monkeypatch, tmp_path):
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"intent sets are not there[\s\S]*set INTARSIA_DATA"):
        run(SMALL)


def test_bad_recipes_are_named():
    with pytest.raises(UnknownNameError, match="did you mean 'chat'"):
        read_recipe({"chats": {}})
    with pytest.raises(Exception, match="null control"):
        read_recipe({"responder": {"settings": [[1, 0]]}})
    with pytest.raises(Exception, match="replicates is 1"):
        read_recipe({"responder": {"replicates": 1}})


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_the_recipes_are_valid(scale):
    recipe = read_recipe(registry.recipe(SLUG, scale))
    assert recipe.datasets == ("banking77", "hwu64", "liu54", "clinc150")
    assert bool(recipe.chat.models) == (scale == "paper")


@pytest.mark.slow
def test_nearest_names_on_real_texts_are_as_good_as_they_were():
    from intarsia.classification import Classifier, evaluate
    from intarsia.models import SentenceEncoder

    folder = Path(__file__).parents[2] / "../shared/data/intent-options"
    if not (folder / "labels.json").exists():
        pytest.skip("no shared/data/intent-options beside the repository")
    import asyncio

    each = read_intent_set(folder, "banking77")
    items = each.subset("hard")
    classifier = Classifier(None, each.labels, ClassifierConfig(method="encoder"), encoder=SentenceEncoder())

    async def everything():
        return [await classifier.classify(item) for item in items]

    scores = evaluate(asyncio.run(everything()), each.gold, each.labels.names)
    assert scores.accuracy.value == pytest.approx(0.344, abs=0.01)
    assert scores.top.value == pytest.approx(0.747, abs=0.01)
