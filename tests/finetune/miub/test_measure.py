import io
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from miub_models import adapted, tiny_bert, tiny_llama, token_batches, trained
from peft import LoraConfig
from rich.console import Console
from torch.utils.data import DataLoader
from transformers import AlbertConfig, AlbertModel

from intarsia.errors import ConfigError, DataError, ModelError
from intarsia.finetune.miub import MIUBConfig, ModuleAccumulator, adapted_modules, kind_of, layer_of, miub_report
from intarsia.finetune.miub.batches import forwards, token_mask

Q0 = "model.layers.0.self_attn.q_proj"


def numbers(report):
    return {module.name: module.scores for module in report.modules}


def close(first, second, tolerance):
    assert numbers(first).keys() == numbers(second).keys()
    for name, scores in numbers(first).items():
        for normalization, values in scores.items():
            assert values == pytest.approx(numbers(second)[name][normalization], rel=tolerance, abs=1e-9)


def test_report_by_hand(llama):
    """The whole path against features read without any of our hooks."""
    batches = token_batches(left=True)
    report = miub_report(llama, batches, config=MIUBConfig(normalizations=("zscore",)))
    module = adapted_modules(llama).modules[Q0]
    llama.eval()
    accumulator = ModuleAccumulator(Q0, MIUBConfig(normalizations=("zscore",)))
    seen = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        for batch in batches:
            llama(**batch)
            x = seen.pop()[batch["attention_mask"].bool()]
            lora = module.lora_B["default"](module.lora_A["default"](x)) * 2.0
            accumulator.update(module.base_layer(x), lora)
    handle.remove()
    assert report.tokens == accumulator.tokens == sum(int(batch["attention_mask"].sum()) for batch in batches)
    assert report.modules[0].name == Q0
    assert report.modules[0].scores["zscore"] == pytest.approx(
        accumulator.statistics()["zscore"].scores, rel=1e-4, abs=1e-9
    )
    assert report.modules[0].lora_to_base == pytest.approx(accumulator.lora_to_base, rel=1e-5)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("build", [tiny_llama, tiny_bert])
def test_merging_batches_changes_nothing(build, left):
    model, batches = build(), token_batches(left=left)
    merged = miub_report(model, batches, config=MIUBConfig(permutations=0))
    apart = miub_report(model, batches, config=MIUBConfig(permutations=0, tokens_per_forward=1))
    close(merged, apart, 1e-4)
    assert merged.errors() == pytest.approx(apart.errors(), rel=1e-3, abs=1e-8)
    assert merged.modules[0].block_sizes.tolist() == apart.modules[0].block_sizes.tolist()


def test_merging_is_one_pass_only_where_it_saves_memory():
    batches = token_batches(count=2, length=12) + token_batches(count=1, length=40)
    accepted = {"input_ids", "attention_mask"}
    passes = [
        len(list(forwards(batches, config, accepted=accepted, causal=True)))
        for config in (MIUBConfig(), MIUBConfig().light(), MIUBConfig(tokens_per_forward=70))
    ]
    assert passes == [1, 2, 3]


def test_light_form_gives_the_same_scores(llama):
    batches = token_batches()
    full, light = (miub_report(llama, batches, config=config) for config in (MIUBConfig(), MIUBConfig().light()))
    close(full, light, 1e-4)
    assert light.errors() is None
    assert full.errors().dpi > 0


def test_padding_does_not_count(llama):
    batches = token_batches()
    noisy = [{**batch, "input_ids": batch["input_ids"] + 5 * (1 - batch["attention_mask"])} for batch in batches]
    close(miub_report(llama, batches), miub_report(llama, noisy), 1e-5)


def test_embeddings_may_replace_token_ids(llama):
    batches = token_batches()
    embed = llama.get_input_embeddings()
    states = [
        {"inputs_embeds": embed(batch["input_ids"]).detach(), "attention_mask": batch["attention_mask"]}
        for batch in batches
    ]
    close(miub_report(llama, batches), miub_report(llama, states), 1e-5)


def test_first_tokens_only(llama):
    batches = token_batches(count=6)
    config = MIUBConfig(max_tokens=100)
    report = miub_report(llama, batches, config=config)
    assert report.tokens == 100
    assert all(module.tokens == 100 for module in report.modules)

    def endless():
        yield from batches
        raise AssertionError("read further than needed")

    close(report, miub_report(llama, endless(), config=config), 1e-6)


def test_untrained_adapter_scores_zero_and_says_so(llama):
    for name, parameter in llama.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    report = miub_report(llama, token_batches())
    for normalization in ("zscore", "softmax"):
        assert max(report.mean(normalization)[:7]) <= 1e-12
    assert any("untrained" in warning for warning in report.warnings)
    assert not miub_report(tiny_llama(), token_batches()).warnings


def test_modules_that_run_several_times_a_pass_accumulate():
    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=97,
        embedding_size=8,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
    )
    model = adapted(AlbertModel(config), target_modules=["query"])
    batches = token_batches()
    report = miub_report(model, batches)
    (module,) = report.modules
    assert module.tokens == 3 * report.tokens
    assert module.errors is not None
    close(report, miub_report(model, batches, config=MIUBConfig(tokens_per_forward=1)), 1e-4)


def test_model_and_random_state_are_left_as_they_were(llama):
    llama.train()
    llama.get_submodule("base_model.model.model.layers.1").eval()
    modes = [module.training for module in llama.modules()]
    loader = DataLoader(token_batches(), batch_size=None, shuffle=True)
    state = torch.get_rng_state()
    miub_report(llama, loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in llama.modules()] == modes
    assert all(parameter.grad is None for parameter in llama.parameters())


def test_dropout_is_off(llama):
    llama.train()
    close(miub_report(llama, token_batches()), miub_report(llama, token_batches()), 1e-12)


def test_mode_and_hooks_are_restored_after_an_error(llama):
    llama.train()
    hooks = sum(len(module._forward_hooks) for module in llama.modules())
    adapted_modules(llama).modules[Q0].lora_A["default"].weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match=rf"LoRA features hold NaN or infinity\n.*{Q0}"):
        miub_report(llama, token_batches())
    assert llama.training
    assert sum(len(module._forward_hooks) for module in llama.modules()) == hooks


def test_labels_select_the_positions_that_predict_them():
    labels = torch.tensor([[-100, -100, 7, 8], [-100, 5, -100, 9]])
    batch = {
        "input_ids": torch.ones(2, 4, dtype=torch.long),
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
        "labels": labels,
    }
    config = MIUBConfig(token_mask="labels")
    assert token_mask(batch, config, causal=True).int().tolist() == [[0, 0, 1, 0], [1, 0, 1, 0]]
    assert token_mask(batch, config, causal=False).int().tolist() == [[0, 0, 1, 1], [0, 1, 0, 1]]
    assert token_mask(batch, MIUBConfig(), causal=True).int().tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize(("build", "shift"), [(tiny_llama, 1), (tiny_bert, 0)])
def test_only_causal_language_models_shift_labels(build, shift):
    batches = token_batches()
    labelled = [{**b, "labels": b["input_ids"].masked_fill(b["attention_mask"] == 0, -100)} for b in batches]
    report = miub_report(build(), labelled, config=MIUBConfig(token_mask="labels"))
    rows = sum(len(batch["input_ids"]) for batch in batches)
    assert report.tokens == sum(int(batch["attention_mask"].sum()) for batch in batches) - shift * rows


@settings(max_examples=20, deadline=None)
@given(st.integers(50, 400), st.integers(1, 300))
def test_passes_cover_exactly_the_first_tokens(limit, per_forward):
    batches = token_batches(count=6)
    config = MIUBConfig(max_tokens=limit, tokens_per_forward=per_forward)
    passes = list(forwards(batches, config, accepted={"input_ids", "attention_mask"}, causal=True))
    found = torch.cat([p.inputs["input_ids"][p.tokens] for p in passes])
    expected = torch.cat([batch["input_ids"][batch["attention_mask"].bool()] for batch in batches])[:limit]
    assert torch.equal(found, expected)


def test_model_inside_the_wrappers_gives_the_same(llama):
    reference = miub_report(llama, token_batches())
    for model in (llama.base_model, llama.get_base_model()):
        close(reference, miub_report(model, token_batches()), 1e-6)


def test_adapter_added_without_a_wrapper():
    model = tiny_llama().unload()
    model.add_adapter(LoraConfig(r=2, target_modules=["o_proj"]), adapter_name="own")
    report = miub_report(trained(model), token_batches())
    assert report.adapter == "own"
    assert [module.name for module in report.modules] == [f"model.layers.{layer}.self_attn.o_proj" for layer in (0, 1)]


def test_adapted_head_is_measured_too():
    report = miub_report(tiny_llama(target_modules=["q_proj", "lm_head"]), token_batches())
    assert [module.kind for module in report.modules] == ["q", "q", "lm_head"]


def test_module_without_one_vector_a_token_is_skipped_with_a_warning():
    report = miub_report(tiny_bert(target_modules=["query", "pooler.dense"]), token_batches())
    assert len(report.modules) == 2
    assert any("pooler.dense was skipped: its output" in warning for warning in report.warnings)


def test_only_a_pooler_is_an_error():
    with pytest.raises(ModelError, match=r"could be measured\n.*pooler\.dense"):
        miub_report(tiny_bert(target_modules=["pooler.dense"]), token_batches())


def test_aggregates(llama):
    report = miub_report(tiny_llama(target_modules="all-linear"), token_batches())
    dpi = [module.scores["zscore"].dpi for module in report.modules]
    assert report.miub == pytest.approx(sum(dpi) / len(dpi))
    weights = [module.features for module in report.modules]
    assert report.mean(weighted=True).dpi == pytest.approx(
        sum(w * x for w, x in zip(weights, dpi, strict=True)) / sum(weights)
    )
    assert list(report.per_layer()) == [0, 1]
    assert set(report.per_kind()) == {"q", "k", "v", "o", "gate", "up", "down"}
    half = [module.scores["softmax"].paper for module in report.modules if module.layer == 1]
    assert report.per_layer("softmax")[1].paper == pytest.approx(sum(half) / len(half))


def test_summary_and_json_hold_what_a_reader_needs(llama):
    report = miub_report(llama, token_batches())
    summary = report.summary()
    assert summary["miub"] == report.miub == summary["miub_dpi"]
    assert {"miub_se", "miub_paper", "miub_paper_softmax", "miub_null", "miub_bias", "stable_rank"} <= summary.keys()
    assert 0 < summary["utilization"] <= 1
    value = json.loads(report.to_json())
    assert value["summary"] == pytest.approx(summary)
    assert value["modules"][0]["name"] == Q0
    assert value["modules"][0]["rank"] == 4
    assert value["tokens"] == report.tokens


def test_tables(llama):
    report = miub_report(llama, token_batches())
    console = Console(file=io.StringIO(), width=140)
    for by in ("layer", "kind", "module"):
        console.print(report.table(by))
    text = console.file.getvalue()
    assert Q0 in text
    assert f"{report.miub:.3g}" in text
    assert "mean" in str(report)
    assert "paper softmax" in str(report)


def test_standard_error_of_the_mean_leaves_a_block_out_of_all_modules_at_once(llama):
    report = miub_report(llama, token_batches(count=8))
    parts = [module.errors.dpi for module in report.modules]
    assert 0 < report.errors().dpi <= sum(parts) / len(parts) + 1e-12


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("model.layers.11.self_attn.q_proj", 11, "q"),
        ("encoder.layer.3.attention.self.query", 3, "q"),
        ("encoder.layer.3.attention.output.dense", 3, "o"),
        ("encoder.layer.3.intermediate.dense", 3, "up"),
        ("encoder.layer.3.output.dense", 3, "down"),
        ("transformer.h.0.attn.c_attn", 0, "qkv"),
        ("transformer.h.0.attn.c_proj", 0, "o"),
        ("transformer.h.0.mlp.c_proj", 0, "down"),
        ("model.layers.2.mlp.experts.5.w1", 2, "gate"),
        ("lm_head", None, "lm_head"),
    ],
)
def test_layer_and_kind_of_names(name, layer, kind):
    assert layer_of(name) == layer
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "there are no batches"),
        ([{**b, "attention_mask": b["attention_mask"] * 0} for b in token_batches()], "all tokens are masked"),
        (token_batches(count=1, rows=2), r"\d+ tokens are too few to measure on; at least 50"),
        ([{"pixels": torch.ones(2, 3)}], "neither input_ids nor inputs_embeds\n.*pixels"),
        ([torch.ones(2, 3)], "a batch is a Tensor, not a mapping"),
        (
            [{"input_ids": torch.ones(2, 30).long(), "attention_mask": torch.ones(2, 1, 30, 30)}],
            r"attention_mask has shape \[2, 1, 30, 30\], but the inputs are \[2, 30\]",
        ),
    ],
)
def test_unusable_batches(llama, batches, message):
    with pytest.raises(DataError, match=message):
        miub_report(llama, batches)


def test_labels_that_are_missing_or_of_another_shape(llama):
    config = MIUBConfig(token_mask="labels")
    with pytest.raises(DataError, match="a batch has no labels"):
        miub_report(llama, token_batches(), config=config)
    wrong = [{**batch, "labels": torch.ones(5, 3)} for batch in token_batches()]
    with pytest.raises(DataError, match=r"labels has shape \[5, 3\], but the inputs are \[5, 12\]"):
        miub_report(llama, wrong, config=config)


def test_more_bins_than_a_module_has_features_name_it(llama):
    with pytest.raises(ConfigError, match=r"bins is 12, but it must be at most 8.*\n.*v_proj"):
        miub_report(llama, token_batches(), config=MIUBConfig(bins=12))


def test_encoder_decoder_is_refused():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=97, d_model=16, d_kv=4, d_ff=24, num_layers=1, num_heads=4)
    model = adapted(T5ForConditionalGeneration(config), target_modules=["q"])
    with pytest.raises(ModelError, match=r"encoder-decoder models are not supported.*\n.*T5"):
        miub_report(model, token_batches())
