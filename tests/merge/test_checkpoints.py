"""Reading experts: sharded checkpoints, PEFT adapters, and everything that must be refused."""

import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from intarsia.errors import InputError, IntarsiaError, ModelError
from intarsia.merge.adapters import LoraExpert
from intarsia.merge.checkpoints import Checkpoint, StateDict, align_keys, open_expert, open_experts
from intarsia.merge.safetensors_io import SafetensorsFile, ShardedWriter, TensorSpec

State = dict[str, torch.Tensor]
TARGETS = ["q_proj", "down_proj"]


def make_state(seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        "encoder.weight": torch.randn(6, 4, generator=generator),
        "encoder.bias": torch.randn(6, generator=generator),
        "position_ids": torch.arange(5),
        "scale": torch.tensor(0.5),
    }


def save(folder: Path, state: State, config: dict[str, object] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config or {}))
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save(tmp_path / "base", make_state())


def test_rows_are_read_without_the_rest(tmp_path: Path) -> None:
    state = {"a": torch.randn(7, 3), "b": torch.randn(5).bfloat16(), "c": torch.arange(4), "d": torch.zeros(0, 3)}
    save_file(state, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    for key, value in state.items():
        assert torch.equal(file.read(key), value)
        assert file.specs[key] == TensorSpec(value.dtype, tuple(value.shape))
    assert torch.equal(file.read("a", slice(2, 5)), state["a"][2:5])
    assert torch.equal(file.read("b", slice(4, 5)), state["b"][4:])


@pytest.mark.parametrize("max_shard_bytes", [10**9, 100, 1])
def test_what_is_written_in_pieces_reads_back(tmp_path: Path, max_shard_bytes: int) -> None:
    state = make_state() | {"half": torch.randn(3, 3).half(), "flag": torch.tensor([True, False, True])}
    writer = ShardedWriter(tmp_path, StateDict(state).specs, max_shard_bytes)
    for key in reversed(state):
        if state[key].dim() == 2:
            writer.write(key, state[key][2:], first_row=2)
            writer.write(key, state[key][:2])
        else:
            writer.write(key, state[key])
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == (1 if max_shard_bytes == 10**9 else len(state) if max_shard_bytes == 1 else len(files))
    read = {key: value for file in files for key, value in load_file(file).items()}
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)
    checkpoint = Checkpoint(tmp_path)
    assert all(torch.equal(checkpoint.read(key), state[key]) for key in state)
    if len(files) > 1:
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == writer.nbytes
        assert set(index["weight_map"]) == set(state)


def test_a_full_expert_is_its_difference(base: Path, tmp_path: Path) -> None:
    tuned = {key: value + 1 for key, value in make_state().items()}
    expert = open_expert(save(tmp_path / "tuned", tuned), base)
    assert expert.kind == "full"
    assert expert.keys() == ["encoder.bias", "encoder.weight", "scale"]  # buffers of integers are not merged
    for key in expert.keys():  # noqa: SIM118 - an expert is no mapping
        torch.testing.assert_close(expert.delta(key), torch.ones_like(tuned[key]))
        assert torch.equal(expert.tensor(key), tuned[key])
        assert expert.low_rank(key) is None
    torch.testing.assert_close(expert.delta("encoder.weight", slice(1, 3)), torch.ones(2, 4))


def test_a_head_can_be_left_out(base: Path, tmp_path: Path) -> None:
    tuned = save(tmp_path / "tuned", make_state(1) | {"classifier.weight": torch.randn(2, 6)})
    with pytest.raises(ModelError, match=r"'classifier.weight', the base model has not"):
        open_expert(tuned, base)
    expert = open_expert(tuned, base, exclude=["classifier.*", "scale"])
    assert expert.keys() == ["encoder.bias", "encoder.weight"]


def test_a_model_prefix_is_seen_through(base: Path, tmp_path: Path) -> None:
    tuned = {f"bert.{key}": value for key, value in make_state(1).items()}
    expert = open_expert(save(tmp_path / "tuned", tuned), base)
    torch.testing.assert_close(expert.tensor("encoder.weight"), make_state(1)["encoder.weight"])
    assert align_keys(["x.weight"], ["bert.x.weight", "bert.y"]) == {"bert.x.weight": "x.weight"}


def test_a_second_name_of_a_tied_weight_is_dropped(tmp_path: Path) -> None:
    embedding = torch.randn(9, 4)
    config = {"tie_word_embeddings": True, "vocab_size": 9}
    state = {"model.embed_tokens.weight": embedding, "model.norm.weight": torch.ones(4)}
    base = Checkpoint(save(tmp_path / "base", state, config))
    both = save(tmp_path / "both", state | {"lm_head.weight": embedding.clone()}, config)
    assert sorted(Checkpoint(both).specs) == sorted(state)
    assert open_expert(both, base).keys() == sorted(state)


# --- adapters -------------------------------------------------------------------------------------------------------


def make_adapter(base: Path, folder: Path, seed: int = 0, **settings: object) -> Path:
    """Saves a random adapter, and returns its folder."""
    torch.manual_seed(seed)
    settings = {"r": 3, "lora_alpha": 5, "target_modules": TARGETS, "task_type": "CAUSAL_LM"} | settings
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), peft.LoraConfig(**settings))
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.mlp.down_proj": 7}},
        {"target_modules": [*TARGETS, "embed_tokens"]},
        {"modules_to_save": ["norm"]},
    ],
    ids=["plain", "rslora", "patterns", "embedding", "saved whole"],
)
def test_an_adapter_is_what_peft_merges(tiny_llama: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    folder = make_adapter(tiny_llama, tmp_path / "adapter", **settings)
    expert = open_expert(folder, tiny_llama)
    assert isinstance(expert, LoraExpert)
    assert expert.kind == "lora"
    merged = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), folder)
    weights = merged.merge_and_unload().state_dict()
    base = Checkpoint(tiny_llama)
    assert set(expert.keys()) <= set(base.specs)
    for key in base.specs:
        if key in expert.keys():  # noqa: SIM118
            torch.testing.assert_close(expert.tensor(key), weights[key], rtol=0, atol=1e-6)
            assert not torch.equal(weights[key], base.read(key))
            rows = slice(1, 3)
            torch.testing.assert_close(expert.delta(key, rows), expert.delta(key)[rows])
            factors = expert.low_rank(key)
            if "norm" in key:
                assert factors is None
            else:
                assert factors is not None
                torch.testing.assert_close(factors.B @ factors.A, expert.delta(key))
        elif key != "model.embed_tokens.weight":
            assert torch.equal(weights[key], base.read(key)), key


def test_fan_in_fan_out_layers_are_transposed(tmp_path: Path) -> None:
    base = StateDict({"h.c_attn.weight": torch.zeros(4, 6)})  # stored inputs x outputs, as GPT-2 does
    a, b = torch.randn(2, 4), torch.randn(6, 2)
    folder = write_adapter(tmp_path / "adapter", {"h.c_attn": (a, b)}, fan_in_fan_out=True)
    expert = open_expert(folder, base)
    torch.testing.assert_close(expert.delta("h.c_attn.weight"), 2.0 * (b @ a).T)


def test_a_convolution_gets_its_kernel_shape(tmp_path: Path) -> None:
    base = StateDict({"conv.weight": torch.zeros(5, 3, 2, 2)})
    a, b = torch.randn(2, 3, 2, 2), torch.randn(5, 2, 1, 1)
    folder = write_adapter(tmp_path / "adapter", {"conv": (a, b)})
    delta = open_expert(folder, base).delta("conv.weight")
    expected = 2.0 * torch.einsum("or,rihw->oihw", b[:, :, 0, 0], a)
    torch.testing.assert_close(delta, expected)


def write_adapter(folder: Path, factors: dict[str, tuple[torch.Tensor, torch.Tensor]], **config: object) -> Path:
    """Writes an adapter of rank 2 and scale 2 by hand."""
    folder.mkdir(parents=True)
    tensors = {}
    for module, (a, b) in factors.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = a
        tensors[f"base_model.model.{module}.lora_B.weight"] = b
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "tiny/base"} | config
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def plain_adapter(folder: Path, module: str = "encoder", rows: int = 6, columns: int = 4, **config: object) -> Path:
    return write_adapter(folder, {module: (torch.randn(2, columns), torch.randn(rows, 2))}, **config)


# --- bad input ------------------------------------------------------------------------------------------------------


def expect(message: str, folder: Path, base: Path, **keywords: object) -> IntarsiaError:
    with pytest.raises(InputError) as caught:
        open_experts(base, {"one": folder}, **keywords)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    return caught.value


def test_a_missing_tensor_is_named(base: Path, tmp_path: Path) -> None:
    state = make_state()
    del state["encoder.bias"]
    error = expect("the expert lacks tensor 'encoder.bias'", save(tmp_path / "one", state), base)
    assert str(tmp_path / "one") in str(error)


def test_a_missing_integer_buffer_is_no_matter(base: Path, tmp_path: Path) -> None:
    state = make_state()
    del state["position_ids"]
    assert open_expert(save(tmp_path / "one", state), base).keys()


def test_an_extra_tensor_is_named(base: Path, tmp_path: Path) -> None:
    expect(
        "the expert has tensor 'new.weight'", save(tmp_path / "one", make_state() | {"new.weight": torch.ones(2)}), base
    )


def test_another_shape_is_named(base: Path, tmp_path: Path) -> None:
    state = make_state() | {"encoder.weight": torch.zeros(7, 4)}
    expect(
        "tensor 'encoder.weight' has shape [7, 4], in the base model it has [6, 4]", save(tmp_path / "one", state), base
    )


def test_a_coarser_dtype_is_named(base: Path, tmp_path: Path) -> None:
    state = make_state() | {"encoder.weight": torch.zeros(6, 4).bfloat16()}
    expect("tensor 'encoder.weight' is bfloat16, coarser", save(tmp_path / "one", state), base)


def test_an_expert_may_be_finer_than_its_base(tmp_path: Path) -> None:
    half = {key: value.bfloat16() if value.is_floating_point() else value for key, value in make_state().items()}
    base = save(tmp_path / "base", half)
    expert = open_expert(save(tmp_path / "one", make_state()), base)
    expected = make_state()["encoder.weight"] - half["encoder.weight"].float()
    assert torch.equal(expert.delta("encoder.weight"), expected)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_nan_is_found_where_it_is(base: Path, tmp_path: Path, broken: float) -> None:
    state = make_state()
    state["encoder.weight"][3, 2] = broken
    bad = save(tmp_path / "bad", state)
    for expert, culprit in ((open_expert(bad, base), "bad"), (open_expert(base, bad), "bad")):
        with pytest.raises(ModelError, match=r"tensor 'encoder.weight' has a NaN or an infinity") as caught:
            expert.delta("encoder.weight")
        assert caught.value.where == str(tmp_path / culprit)
    adapter = write_adapter(tmp_path / "adapter", {"encoder": (torch.full((2, 4), broken), torch.zeros(6, 2))})
    with pytest.raises(ModelError, match=r"'encoder.weight'(.|\n)*adapter"):
        open_expert(adapter, base).delta("encoder.weight")


def test_large_finite_values_are_no_nan(base: Path, tmp_path: Path) -> None:
    state = make_state()
    state["encoder.weight"][:] = 3e38
    assert open_expert(save(tmp_path / "one", state), base).delta("encoder.weight").isfinite().all()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_a_pickle_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    torch.save(make_state(), folder / name)
    expect(f"the weights are a pickle ({name})", folder, base)


def test_an_adapter_pickle_is_refused(base: Path, tmp_path: Path) -> None:
    folder = plain_adapter(tmp_path / "one")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    expect("the weights are a pickle (adapter_model.bin)", folder, base)


def test_a_folder_without_weights_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    expect("there is no model.safetensors", tmp_path / "one", base)


def test_a_cut_file_is_refused(base: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "one", make_state())
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-10])
    expect("not a readable safetensors file", folder, base)


@pytest.mark.parametrize("shard", ["model-00002-of-00002.safetensors", "../base/model.safetensors"])
def test_a_missing_or_outside_shard_is_refused(base: Path, tmp_path: Path, shard: str) -> None:
    folder = save(tmp_path / "one", make_state())
    (folder / "model.safetensors").unlink()
    index = {"weight_map": dict.fromkeys(make_state(), shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    expect(f"shard {shard!r} is not in the folder", folder, base)


def test_an_index_that_lies_is_refused(base: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "one", make_state())
    (folder / "model.safetensors").rename(folder / "shard.safetensors")
    index = {"weight_map": {"ghost": "shard.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    expect("tensor 'ghost' is not in shard", folder, base)


@pytest.mark.parametrize(
    ("extra", "config"),
    [
        ({}, {"quantization_config": {"quant_method": "bitsandbytes"}}),
        ({"encoder.weight": torch.zeros(6, 4, dtype=torch.int8)}, {}),
        ({"encoder.weight": torch.zeros(6, 4).to(torch.float8_e4m3fn)}, {}),
        ({"encoder.weight.absmax": torch.zeros(2)}, {}),
    ],
)
def test_quantised_weights_are_refused(tmp_path: Path, extra: State, config: dict[str, object]) -> None:
    base = save(tmp_path / "base", make_state() | extra, config)
    expect("the weights are quantised", base, base)


def test_adapters_of_different_bases_are_refused(base: Path, tmp_path: Path) -> None:
    experts = {
        "one": plain_adapter(tmp_path / "one"),
        "two": plain_adapter(tmp_path / "two", base_model_name_or_path="tiny/other"),
    }
    with pytest.raises(InputError, match="adapter 'one' was trained on 'tiny/base', adapter 'two' on 'tiny/other'"):
        open_experts(base, experts)


def test_adapters_of_different_target_modules_are_refused(tmp_path: Path) -> None:
    base = StateDict({"x.weight": torch.zeros(6, 4), "y.weight": torch.zeros(6, 4)})
    experts = {"one": plain_adapter(tmp_path / "one", "x"), "two": plain_adapter(tmp_path / "two", "y")}
    with pytest.raises(InputError, match=r"different target modules: 'one' changes 'x.weight', 'two' does not"):
        open_experts(base, experts)


def test_an_adapter_of_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other", make_state(), {"model_type": "other"})
    adapter = plain_adapter(tmp_path / "one", base_model_name_or_path=str(other))
    expect("which is another model than the base", adapter, base)
    copy = shutil.copytree(other, tmp_path / "copy")
    assert open_expert(adapter, copy).keys() == ["encoder.weight"]  # the same model elsewhere


def test_an_adapter_that_does_not_fit_is_refused(base: Path, tmp_path: Path) -> None:
    expect(
        "changes tensor 'decoder.weight', which the base model has not", plain_adapter(tmp_path / "a", "decoder"), base
    )
    expect(
        "update of tensor 'encoder.weight' is 6 x 5, the tensor is 6 x 4",
        plain_adapter(tmp_path / "b", columns=5),
        base,
    )
    expect("'encoder.weight' has rank 2, adapter_config.json says 3", plain_adapter(tmp_path / "c", r=3), base)


@pytest.mark.parametrize("setting", ["use_dora", "lora_bias", "layer_replication", "target_parameters"])
def test_more_than_plain_lora_is_refused(base: Path, tmp_path: Path, setting: str) -> None:
    expect(f"the adapter was trained with {setting}", plain_adapter(tmp_path / "one", **{setting: [1]}), base)


def test_other_adapters_are_refused(base: Path, tmp_path: Path) -> None:
    expect("of type 'IA3'", plain_adapter(tmp_path / "one", peft_type="IA3"), base)


def test_half_an_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    folder = plain_adapter(tmp_path / "one")
    save_file({"base_model.model.encoder.lora_A.weight": torch.zeros(2, 4)}, folder / "adapter_model.safetensors")
    expect("the adapter lacks tensor 'base_model.model.encoder.lora_B.weight'", folder, base)


def test_no_experts_are_refused(base: Path) -> None:
    with pytest.raises(InputError, match="there is no expert to merge"):
        open_experts(base, {})


def test_a_tensor_that_is_not_there_is_named(base: Path) -> None:
    with pytest.raises(ModelError, match="there is no tensor 'ghost'"):
        Checkpoint(base).read("ghost")
