"""Recipes are read strictly: a misspelt key or a wrong value is named, with where it stands."""

from importlib.resources import files
from pathlib import Path

import pytest

from intarsia.errors import InputError
from intarsia.pipeline import Recipe

WHOLE = """
model: some/model
name: Mine
tasks:
  one:
    data: one.jsonl
    labels: {a: b}
    train: 10
  two: {data: two.csv, fields: {text: body, label: tag}}
expert: {rank: 4, alpha: 8, target_modules: [q_proj], top_layers: null, learning_rate: 1}
merge:
  rank: 4
  ranks: [0, 4]
  baselines: {ties: {density: [0.3], weight: [0.5, 1]}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_recipe(tmp_path):
    recipe = Recipe.from_file(write(tmp_path, WHOLE))
    assert recipe.model == "some/model"
    assert recipe.tasks["one"].labels == {"a": "b"}
    assert recipe.tasks["two"].fields == {"text": "body", "label": "tag"}
    assert recipe.expert.target_modules == ("q_proj",)
    assert recipe.expert.learning_rate == 1.0
    assert recipe.expert.top_layers is None
    assert recipe.merge.ranks == (0, 4)
    assert recipe.merge.baselines["ties"]["weight"] == [0.5, 1.0]


def test_the_quickstart_recipe_is_one():
    recipe = Recipe.from_file(Path(str(files("intarsia.pipeline") / "quickstart.yaml")))
    assert len(recipe.tasks) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: m\ntasks: {a: {data: d, trian: 5}}", r"unknown key 'trian'(.|\n)*tasks: a(.|\n)*'train'"),
        ("modle: m\ntasks: {a: {data: d}}", r"unknown key 'modle'(.|\n)*'model'"),
        ("model: m\ntasks: {a: {data: d}}\nexpert: {rnak: 3}", r"unknown key 'rnak'(.|\n)*'rank'"),
        ("tasks: {a: {data: d}}", "does not say 'model'"),
        ("model: m", "does not say 'tasks'"),
        ("model: m\ntasks: {a: {}}", "does not say 'data'"),
        ("model: m\ntasks: {}", "at least one task"),
        ("model: m\ntasks: {a: {data: d, train: many}}", "train is 'many'.*int"),
        ("model: m\ntasks: {a: {data: d, train: true}}", "train is True.*int"),
        ("model: m\ntasks: {a: {data: d, train: 0}}", "train is 0.*at least 1"),
        ("model: m\ntasks: {a: {data: d, schema: tags}}", "schema is 'tags'"),
        ("model: m\ntasks: [a]", "tasks is"),
        ("model: m\ntasks: {../a: {data: d}}", "name folders"),
        ("model: m\ntasks: {a: {data: d}}\nmerge: {rank: 4, ranks: [8]}", "ranks is 8.*from 0 to 4"),
        ("model: [m", "not valid YAML"),
        ("just text", "mapping"),
    ],
)
def test_a_bad_recipe_is_explained(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        Recipe.from_file(write(tmp_path, text))
    assert "recipe.yaml" in str(caught.value)


def test_a_missing_recipe(tmp_path):
    with pytest.raises(InputError, match="no such recipe"):
        Recipe.from_file(tmp_path / "none.yaml")
