from pathlib import Path

import pytest

from intarsia.errors import ModelError, UnknownNameError
from intarsia.models import local_folder, resolve
from intarsia.models.model_card import write_model_card


def test_folder_is_resolved_to_an_absolute_path(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model_folder.parent)
    source = resolve(model_folder.name)
    assert source.kind == "folder"
    assert source.ref == str(model_folder.resolve())
    assert source.path == model_folder.resolve()
    assert local_folder(f"./{model_folder.name}").resolve() == model_folder.resolve()


def test_licence_comes_from_the_model_card(broken: Path) -> None:
    assert resolve(broken).licence is None
    write_model_card(broken, source="somewhere", licence="apache-2.0")
    assert resolve(broken).licence == "apache-2.0"


@pytest.mark.parametrize(
    "card", ["no front matter", "---\nlicense: [\n---\n", "---\n- a list\n---\n", "---\nlicense: 3\n---"]
)
def test_a_strange_model_card_states_no_licence(broken: Path, card: str) -> None:
    (broken / "README.md").write_text(card)
    assert resolve(broken).licence is None


def test_asset_and_hub_id_are_told_apart(cache: Path) -> None:
    asset = resolve("asset:minilm-l6")
    assert (asset.kind, asset.path, asset.licence) == ("asset", None, "apache-2.0")
    assert resolve("owner/some-model_1.5").kind == "hub"
    assert resolve("gpt2").kind == "hub"


def test_unknown_asset_suggests_a_near_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'minilm-l6'"):
        resolve("asset:minilm-16")


@pytest.mark.parametrize("ref", ["./absent", "/absent/model", "~/absent", "weights/absent.gguf", "a/b/c", "absent/"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(ref: str) -> None:
    with pytest.raises(ModelError, match="no such file or folder") as caught:
        resolve(ref)
    assert caught.value.where == ref


def test_a_path_object_is_never_a_hub_id() -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        resolve(Path("gpt2"))


@pytest.mark.parametrize("ref", ["", "two words", "a:b"])
def test_what_nothing_could_be_named(ref: str) -> None:
    with pytest.raises(ModelError, match="is no model"):
        resolve(ref)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    with pytest.raises(ModelError, match=r"a model is a folder or a \.gguf file") as caught:
        resolve(file)
    assert caught.value.where == str(file)
