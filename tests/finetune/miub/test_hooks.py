import pytest
import torch
from miub_models import adapted, tiny_bert, tiny_llama, trained
from peft import LoraConfig
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from intarsia.errors import ModelError, UnknownNameError
from intarsia.finetune.miub import adapted_modules, watching


def features_of(model, **inputs):
    found = adapted_modules(model)
    seen = {}
    model.eval()
    with torch.no_grad(), watching(found.modules, found.adapter, lambda name, *pair: seen.update({name: pair})):
        model(**inputs)
    return found, seen


def hooks_of(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


IDS = torch.arange(3, 23).view(2, 10)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("build", [tiny_llama, tiny_bert])
def test_lora_features_are_what_the_adapter_adds(build, rslora):
    model = build(use_rslora=rslora)
    found, seen = features_of(model, input_ids=IDS)
    inputs = {}
    handles = [
        module.register_forward_pre_hook(lambda _, args, name=name: inputs.update({name: args[0]}))
        for name, module in found.modules.items()
    ]
    model(input_ids=IDS)
    for handle in handles:
        handle.remove()
    for name, module in found.modules.items():
        base, lora = seen[name]
        with torch.no_grad():
            on = module(inputs[name])
            module.enable_adapters(False)
            off = module(inputs[name])
            module.enable_adapters(True)
        assert torch.allclose(lora, on - off, atol=1e-6)
        assert torch.allclose(base, off, atol=1e-6)
        assert lora.abs().max() > 1e-3
        assert module.scaling["default"] == (8 / 4**0.5 if rslora else 8 / 4)


def test_lora_features_scale_with_the_scaling(llama):
    name = "model.layers.0.self_attn.q_proj"
    _, first = features_of(llama, input_ids=IDS)
    adapted_modules(llama).modules[name].scaling["default"] *= 3
    _, second = features_of(llama, input_ids=IDS)
    assert torch.allclose(second[name][1], 3 * first[name][1], rtol=1e-5)
    assert torch.equal(second[name][0], first[name][0])


def test_transposed_layers_of_gpt2():
    model = adapted(
        GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=16, n_layer=1, n_head=2, n_positions=32)),
        target_modules=["c_attn"],
        fan_in_fan_out=True,
    )
    _, seen = features_of(model, input_ids=IDS)
    base, lora = seen["transformer.h.0.attn.c_attn"]
    assert base.shape == lora.shape == (2, 10, 48)


def test_names_are_the_base_models_own(llama):
    assert list(adapted_modules(llama).modules) == [
        f"model.layers.{layer}.self_attn.{name}" for layer in range(2) for name in ("q_proj", "v_proj")
    ]


def test_hooks_are_removed_even_after_an_error(llama):
    before = hooks_of(llama)
    found = adapted_modules(llama)

    def fail(*_):
        raise RuntimeError("stop")

    def run():
        with watching(found.modules, found.adapter, fail):
            assert hooks_of(llama) > before
            llama(input_ids=IDS)

    with pytest.raises(RuntimeError, match="stop"):
        run()
    assert hooks_of(llama) == before


def test_the_named_adapter_is_measured():
    model = tiny_llama(adapter="first")
    model.add_adapter("second", LoraConfig(r=2, lora_alpha=2, target_modules=["o_proj"]))
    trained(model, "second")
    assert adapted_modules(model).adapter == "first"
    with pytest.raises(ModelError, match=r"'second' is not active \(active: first\)\n.*set_adapter\('second'\)"):
        adapted_modules(model, "second")
    model.set_adapter("second")
    assert [name.rsplit(".", 1)[1] for name in adapted_modules(model, "second").modules] == ["o_proj"] * 2
    model.base_model.set_adapter(["first", "second"])
    with pytest.raises(ModelError, match=r"2 LoRA adapters are active: first, second\n.*name the one"):
        adapted_modules(model)
    assert len(adapted_modules(model, "first").modules) == 4


def test_unknown_adapter_suggests_the_near_one():
    with pytest.raises(UnknownNameError, match=r"unknown LoRA adapter 'reuter'\n.*'reuters'"):
        adapted_modules(tiny_llama(adapter="reuters"), "reuter")


def test_no_lora_module(llama):
    with pytest.raises(ModelError, match="no LoRA module found in LlamaForCausalLM"):
        adapted_modules(llama.merge_and_unload())


def test_merged_adapter(llama):
    llama.merge_adapter()
    with pytest.raises(ModelError, match=r"'default' is merged into the base weights\n.*layers\.0.*\n.*unmerge"):
        adapted_modules(llama)


def test_disabled_adapter(llama):
    with llama.disable_adapter(), pytest.raises(ModelError, match="adapters are disabled"):
        adapted_modules(llama)
    adapted_modules(llama)


def test_dora_is_refused_by_name():
    with pytest.raises(ModelError, match=r"variant DoRA, whose update is not s B A\n.*q_proj"):
        adapted_modules(tiny_llama(use_dora=True))


def test_adalora_is_refused_by_name(llama):
    from peft import AdaLoraConfig, get_peft_model

    model = get_peft_model(
        llama.unload(), AdaLoraConfig(target_modules=["q_proj"], total_step=10, init_r=4, target_r=2)
    )
    with pytest.raises(ModelError, match="variant AdaLora"):
        adapted_modules(model)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.conv, self.linear = nn.Embedding(9, 6), nn.Conv1d(6, 6, 1), nn.Linear(6, 6)

    def forward(self, input_ids):
        return self.linear(self.conv(self.embedding(input_ids).mT).mT)


def test_embedding_and_convolution_are_skipped():
    found = adapted_modules(adapted(Mixed(), target_modules=["embedding", "conv", "linear"]))
    assert list(found.modules) == ["linear"]
    assert found.skipped == {
        "embedding": "an embedding, not a linear module",
        "conv": "a Conv1d LoRA layer, not a linear module",
    }


def test_nothing_linear_is_an_error():
    with pytest.raises(ModelError, match=r"'default' changes no linear module\n.*embedding"):
        adapted_modules(adapted(Mixed(), target_modules=["embedding", "conv"]))
