import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from intarsia.errors import ModelError
from intarsia.models import check_finite, load_causal_lm, local_folder, weight_files


def shard(folder: Path) -> None:
    """Splits the weights of `folder` into two shards with an index."""
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the model folder is empty") as caught:
        local_folder(tmp_path)
    assert caught.value.where == str(tmp_path)


def test_folder_without_config(broken: Path) -> None:
    (broken / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        local_folder(broken)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "not a JSON object")])
def test_broken_config(broken: Path, text: str, message: str) -> None:
    (broken / "config.json").write_text(text)
    with pytest.raises(ModelError, match=message) as caught:
        local_folder(broken)
    assert caught.value.where == str(broken / "config.json")


def test_config_of_an_unknown_architecture(broken: Path) -> None:
    (broken / "config.json").write_text('{"model_type": "perceptron-9000"}')
    with pytest.raises(ModelError, match="perceptron-9000"):
        load_causal_lm(broken)


@pytest.mark.parametrize("keep", [0, 5, 100, 20_000])
def test_truncated_weights_are_noticed_before_loading(broken: Path, keep: int) -> None:
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match="the weight file is damaged") as caught:
        local_folder(broken)
    assert caught.value.where == str(file)


def test_pickled_weights_are_refused_with_advice(broken: Path) -> None:
    weights = load_file(broken / "model.safetensors")
    (broken / "model.safetensors").unlink()
    torch.save(weights, broken / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickle \(pytorch_model\.bin\)") as caught:
        load_causal_lm(broken)
    assert "safetensors" in str(caught.value.fix)


def test_missing_weights(broken: Path) -> None:
    (broken / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        local_folder(broken)


def test_shards_are_found_and_a_missing_one_is_named(broken: Path) -> None:
    whole = load_causal_lm(broken).model.state_dict()
    shard(broken)
    assert [file.name for file in weight_files(broken)] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert all(torch.equal(whole[name], tensor) for name, tensor in load_causal_lm(broken).model.state_dict().items())
    (broken / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="model-00002-of-00002"):
        local_folder(broken)


def test_an_index_cannot_lead_out_of_the_folder(broken: Path, tmp_path: Path) -> None:
    shutil.copy(broken / "model.safetensors", tmp_path / "elsewhere.safetensors")
    shard(broken)
    index = broken / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    with pytest.raises(ModelError, match=r"elsewhere\.safetensors is missing"):
        local_folder(broken)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_broken_index(broken: Path, text: str) -> None:
    (broken / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match="index of the weights cannot be read"):
        local_folder(broken)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_weight_that_is_not_finite_is_named(broken: Path, value: float) -> None:
    check_finite(broken)
    file = broken / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    save_file(weights, file, metadata={"format": "pt"})
    for check in (check_finite, load_causal_lm):
        with pytest.raises(ModelError, match=r"1 of 2048 weights of model\.layers\.1\.mlp\.up_proj\.weight"):
            check(broken)


def test_finite_weights_whose_sum_overflows_are_fine(broken: Path) -> None:
    file = broken / "model.safetensors"
    weights = {name: tensor.half() for name, tensor in load_file(file).items()}
    weights["model.embed_tokens.weight"].fill_(6e4)
    save_file(weights, file, metadata={"format": "pt"})
    check_finite(broken)
