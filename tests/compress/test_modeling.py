"""Compressed models are transformers' models: they save, load, generate, take adapters, and go through other rooms."""

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    pipeline,
)

from intarsia.compress.added_rows import AddedRowsEmbedding
from intarsia.compress.compressed_config import CompressedConfig
from intarsia.compress.compressing import compress_model, save_compressed
from intarsia.compress.modeling import CompressedForCausalLM
from intarsia.compress.registry import METHODS
from intarsia.compress.rivals import SVDEmbedding
from intarsia.compress.see.embedding import SEEEmbedding
from intarsia.compress.see.methods import SEESettings
from intarsia.compress.units import digit_units
from intarsia.errors import ConfigError, InputError, ModelError, UnknownNameError
from intarsia.files import read_json, write_json
from intarsia.models import CausalLM, load_causal_lm
from intarsia.models.lower_states import is_exact

RATIO = 2.0


@pytest.fixture
def settings(lexicon):
    # So few merges that a vocabulary of 360 tokens has fewer units than the budget has vectors.
    return SEESettings(lexicon=lexicon, steps=20, merges=20, min_usage=4, terms=6)


@pytest.fixture(params=sorted(METHODS))
def method(request):
    return request.param


@pytest.fixture
def compressed(original, method, settings):
    chosen = METHODS[method]
    ratio = None if chosen.fixed_ratio else RATIO
    return compress_model(original, method, ratio, settings=settings if chosen.fitted else None)


@pytest.fixture
def low_rank(original):
    return compress_model(original, "svd", RATIO)


def ids(*shape, seed=0, high=300):
    return torch.randint(3, high, shape, generator=torch.Generator().manual_seed(seed))


# One model


def test_logits_are_those_of_the_original_with_the_rebuilt_matrix(original, compressed):
    plain = copy.deepcopy(original.model)
    with torch.no_grad():
        plain.get_input_embeddings().weight.copy_(compressed.model.compressed.to_dense())
        expected = plain(input_ids=ids(2, 9)).logits
        assert torch.allclose(compressed.model(input_ids=ids(2, 9)).logits, expected, atol=1e-4)
        # Without the matrix in memory, and while it learns, the rows are rebuilt.
        compressed.model.cache = False
        assert torch.allclose(compressed.model(input_ids=ids(2, 9)).logits, expected, atol=1e-4)
    learning = compressed.model(input_ids=ids(2, 9), labels=ids(2, 9))
    assert torch.allclose(learning.logits, expected, atol=1e-4)
    assert torch.isfinite(learning.loss)


def test_saving_and_loading_changes_no_bit(compressed, method, tmp_path):
    folder = save_compressed(compressed, tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert type(again) is CompressedForCausalLM
    assert again.config.method == method
    assert again.config.statistics == compressed.model.config.statistics
    assert torch.equal(again.compressed.to_dense(), compressed.model.compressed.to_dense())
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids(2, 9)).logits, compressed.model(input_ids=ids(2, 9)).logits)
    names = dict(again.named_parameters())
    assert not any("lm_head" in name for name in names), "the head has no weights of its own"
    # And once more, since what is loaded may be saved.
    again.save_pretrained(tmp_path / "again")
    once_more = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert torch.equal(once_more.compressed.to_dense(), again.compressed.to_dense())


def test_generation_with_batches_beams_and_pipeline(low_rank, tmp_path):
    folder = save_compressed(low_rank, tmp_path / "model")
    loaded = load_causal_lm(folder, device="cpu")
    inputs = loaded.tokenizer(["the dog sees", "a"], padding=True, return_tensors="pt")
    greedy = loaded.model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert greedy.shape == (2, inputs.input_ids.shape[1] + 5)
    alone = loaded.tokenizer(["the dog sees"], return_tensors="pt")
    assert torch.equal(loaded.model.generate(**alone, max_new_tokens=5, do_sample=False)[0, -5:], greedy[0, -5:])
    assert loaded.model.generate(**inputs, max_new_tokens=3, num_beams=2).shape[0] == 2
    writer = pipeline("text-generation", model=loaded.model, tokenizer=loaded.tokenizer)
    assert writer("the dog", max_new_tokens=2, do_sample=False)[0]["generated_text"].startswith("the dog")


def test_the_matrix_in_memory_follows_the_weights(low_rank):
    model = low_rank.model
    with torch.no_grad():
        before = model(input_ids=ids(1, 5)).logits
        cached = model.get_output_embeddings().weight
        assert model.get_output_embeddings().weight is cached, "it is rebuilt once"
        model.compressed.mean += 1.0
        after = model(input_ids=ids(1, 5)).logits
        assert not torch.allclose(before, after)
        assert model.get_output_embeddings().weight is not cached
        model.cache = False
        assert torch.allclose(model(input_ids=ids(1, 5)).logits, after, atol=1e-4)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.compressed.mean -= 1.0
        assert torch.allclose(twin(input_ids=ids(1, 5)).logits, before, atol=1e-4)
        assert torch.allclose(model(input_ids=ids(1, 5)).logits, after, atol=1e-4)


def test_half_precision_keeps_the_embedding_in_float32(compressed, tmp_path):
    folder = save_compressed(compressed, tmp_path / "model")
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert all(parameter.dtype == torch.float32 for parameter in half.compressed.parameters())
    with torch.no_grad():
        logits = half(input_ids=ids(1, 5)).logits
    assert logits.dtype == torch.bfloat16
    assert torch.isfinite(logits).all()
    # Rounded layers are saved as they are; the embedding loses nothing.
    half.save_pretrained(tmp_path / "half")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    assert again.dtype == torch.bfloat16
    assert torch.equal(again.compressed.to_dense(), compressed.model.compressed.to_dense())


def test_casting_a_model_and_adding_tokens_goes_with_any_method(compressed):
    model = compressed.model.to(torch.bfloat16)
    model.cache = False
    for more in (0, 3, 5):
        model.resize_token_embeddings(model.compressed.num_embeddings + more)
        model.to(torch.bfloat16)
        outputs = model(input_ids=ids(1, 5), labels=ids(1, 5))
        assert outputs.logits.dtype == torch.bfloat16
        expected = model.compressed.to_dense().float()
        states = model.base_model(input_ids=ids(1, 5)).last_hidden_state.float()
        assert torch.allclose(outputs.logits.float(), states @ expected.T, rtol=0.05, atol=0.2)
        outputs.loss.backward()


def test_inference_mode_leaves_a_loaded_model_ready_to_learn(compressed, tmp_path):
    folder = save_compressed(compressed, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        expected = compressed.model(input_ids=ids(1, 5)).logits
    for _ in range(2):
        with torch.inference_mode():
            assert torch.allclose(model(input_ids=ids(1, 5)).logits, expected, atol=1e-5)
    model(input_ids=ids(1, 5), labels=ids(1, 5)).loss.backward()
    # Layers that learn on a cached matrix, as adapters do.
    model.compressed.requires_grad_(False)
    model(input_ids=ids(1, 5), labels=ids(1, 5)).loss.backward()
    with torch.inference_mode():
        loaded = AutoModelForCausalLM.from_pretrained(folder)
        assert torch.allclose(loaded(input_ids=ids(1, 5)).logits, expected, atol=1e-5)


def test_a_matrix_that_is_not_to_be_kept_is_not(low_rank, monkeypatch):
    model = low_rank.model
    built = []
    dense = model.compressed.to_dense
    monkeypatch.setattr(model.compressed, "to_dense", lambda: built.append(1) or dense())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert len(built) == 1
    model.cache = False
    assert model.get_output_embeddings().weight is not model.get_output_embeddings().weight


def test_gradients_reach_every_weight_of_the_embedding(compressed, method):
    model = compressed.model
    model.requires_grad_(False)
    model.compressed.requires_grad_(True)
    if METHODS[method].trains:
        model(input_ids=ids(2, 9), labels=ids(2, 9)).loss.backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.compressed.parameters())
    else:
        assert not list(model.compressed.parameters())


def test_it_has_the_sizes_of_the_original_where_tools_look(low_rank, original):
    config = low_rank.model.config
    assert config.hidden_size == original.model.config.hidden_size
    assert config.get_text_config().num_hidden_layers == 2
    assert low_rank.model.get_input_embeddings().weight.shape == original.model.get_input_embeddings().weight.shape
    assert low_rank.model.get_output_embeddings().out_features == original.model.config.vocab_size
    assert is_exact(low_rank.model, 1), "the upper layers run on stored states"
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = config.no_such_thing


# Tokens more or fewer


@pytest.mark.parametrize("name", ["svd", "see", "int4"])
def test_tokens_can_be_added_and_taken_away(original, settings, name, tmp_path):
    chosen = METHODS[name]
    ratio = None if chosen.fixed_ratio else RATIO
    model, tokenizer = compress_model(original, name, ratio, settings=settings if chosen.fitted else None)
    tokens = model.compressed.num_embeddings
    before = model.compressed.to_dense()
    model.resize_token_embeddings(tokens + 3)
    assert isinstance(model.compressed, AddedRowsEmbedding)
    assert model.config.get_text_config().vocab_size == tokens + 3
    assert torch.equal(model.compressed.to_dense()[:tokens], before)
    assert torch.allclose(model.compressed.to_dense()[-1], before.mean(0), atol=1e-6)
    new = torch.tensor([[5, tokens + 2, 6]])
    outputs = model(input_ids=new, labels=new)
    assert outputs.logits.shape[-1] == tokens + 3
    outputs.loss.backward()
    assert model.compressed.dense.grad[2].any()
    save_compressed(CausalLM(model, tokenizer), tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(again.compressed.to_dense(), model.compressed.to_dense())
    model.resize_token_embeddings(tokens + 1)
    assert model.compressed.num_embeddings == tokens + 1
    model.resize_token_embeddings(pad_to_multiple_of=64)
    assert model.compressed.num_embeddings % 64 == 0
    model.resize_token_embeddings(tokens)
    assert torch.equal(model.compressed.to_dense(), before)
    with pytest.raises(ConfigError, match=f"the number of tokens is {tokens - 1}, .* {tokens} or more"):
        model.resize_token_embeddings(tokens - 1)


def test_a_head_of_its_own_stays_and_grows_with_the_vocabulary(original, tmp_path):
    torch.manual_seed(1)
    config = LlamaConfig(**{**original.model.config.to_dict(), "tie_word_embeddings": False})
    loaded = CausalLM(LlamaForCausalLM(config).eval(), original.tokenizer)
    made = compress_model(loaded, "svd", RATIO)
    head = made.model.get_output_embeddings()
    assert torch.equal(head.weight, loaded.model.lm_head.weight)
    made.model.resize_token_embeddings(head.out_features + 2)
    assert made.model(input_ids=ids(1, 4)).logits.shape[-1] == head.out_features + 2
    save_compressed(made, tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids(1, 4)).logits, made.model(input_ids=ids(1, 4)).logits)


def test_another_embedding_can_take_the_place(low_rank):
    other = SVDEmbedding(low_rank.model.compressed.num_embeddings, 24, 2)
    low_rank.model.replace_embedding(other)
    assert low_rank.model.compressed is other
    assert low_rank.model.config.embedding["rank"] == 2
    with pytest.raises(ModelError, match="rows have 8 numbers, but those of the model 24"):
        low_rank.model.replace_embedding(SVDEmbedding(360, 8, 2))


def test_published_special_cases_can_take_the_place_too(low_rank, tmp_path):
    tokens = low_rank.model.compressed.num_embeddings
    table = digit_units(tokens, (7, 7, 7), terms=2)
    low_rank.model.replace_embedding(SEEEmbedding.from_table(table, 24))
    again = AutoModelForCausalLM.from_pretrained(save_compressed(low_rank, tmp_path / "model"))
    assert torch.equal(again.compressed.to_dense(), low_rank.model.compressed.to_dense())
    with pytest.raises(ConfigError, match="store_table is False"):
        low_rank.model.replace_embedding(SEEEmbedding.from_table(table, 24, store_table=False))


def test_a_table_made_otherwise_than_when_fitted_is_noticed(original, lexicon, tmp_path):
    settings = SEESettings(lexicon=lexicon, steps=2, merges=20, min_usage=4, terms=6)
    for method in ("see", "hashed"):
        folder = save_compressed(compress_model(original, method, 1.5, settings=settings), tmp_path / method)
        config = read_json(folder / "config.json")
        assert len(config["embedding"]["table_digest"]) == 64
        config["embedding"]["seed"] = 1
        write_json(folder / "config.json", config)
        with pytest.raises(ModelError, match="is not the one the vectors were fitted with"):
            AutoModelForCausalLM.from_pretrained(folder)(input_ids=ids(1, 2))


@pytest.mark.parametrize("method", ["svd", "kronecker", "tt", "hashed", "int4"])
def test_half_precision_is_for_the_layers_alone(original, method):
    settings = SEESettings(steps=2, terms=6) if method == "hashed" else None
    model = compress_model(original, method, None if method == "int4" else 2.0, settings=settings).model
    before = model.compressed.to_dense()
    model.to(torch.bfloat16)
    assert torch.equal(model.compressed.to_dense(), before)
    assert model(input_ids=ids(1, 4)).logits.dtype == torch.bfloat16


# Other architectures


@pytest.mark.parametrize("kind", ["gpt2", "gemma"])
def test_other_architectures(kind, original, tmp_path):
    torch.manual_seed(0)
    sizes = {"vocab_size": len(original.tokenizer), "bos_token_id": 1, "eos_token_id": 2}
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=24, n_layer=2, n_head=2, n_positions=64, **sizes))
    else:
        # Rows are multiplied by the root of their length where tokens enter, but not in the head.
        config = Gemma3TextConfig(
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=12,
            **sizes,
        )
        model = Gemma3ForCausalLM(config)
    made = compress_model(CausalLM(model.eval(), original.tokenizer), "svd", 1.2)
    plain = copy.deepcopy(model)
    with torch.no_grad():
        plain.get_input_embeddings().weight.copy_(made.model.compressed.to_dense())
        expected = plain(input_ids=ids(1, 6)).logits
        assert torch.allclose(made.model(input_ids=ids(1, 6)).logits, expected, atol=1e-4)
    assert made.model.config.scale == pytest.approx(1.0 if kind == "gpt2" else 24**0.5)
    save_compressed(made, tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert torch.allclose(again(input_ids=ids(1, 6)).logits, expected, atol=1e-4)


# Adapters


def test_adapters_train_save_and_load(low_rank, tmp_path):
    folder = save_compressed(low_rank, tmp_path / "model")
    base = load_causal_lm(folder, device="cpu")
    torch.manual_seed(0)
    settings = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = get_peft_model(base.model, settings)
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    adapted(input_ids=ids(1, 5), labels=ids(1, 5)).loss.backward()
    adapted.save_pretrained(tmp_path / "adapter")
    again = load_causal_lm(tmp_path / "adapter", device="cpu")
    assert isinstance(again.model, PeftModel)
    with torch.no_grad():
        assert torch.allclose(again.model(input_ids=ids(1, 5)).logits, adapted(input_ids=ids(1, 5)).logits, atol=1e-5)


# Other rooms


def tuned(folder, seed, output):
    """A full fine-tuning of the compressed model, as a folder."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(output)
    AutoTokenizer.from_pretrained(folder).save_pretrained(output)
    return output


def adapter(folder, seed, output):
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(seed)
    settings = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapted = get_peft_model(model, settings)
    adapted.peft_config["default"].base_model_name_or_path = str(folder)
    adapted.save_pretrained(output)
    return output


@pytest.mark.parametrize("name", ["svd", "see", "int4"])
def test_merging_fine_tunings_of_one_compressed_model(original, settings, name, tmp_path):
    from intarsia.merge import merge_checkpoints

    chosen = METHODS[name]
    ratio = None if chosen.fixed_ratio else RATIO
    made = compress_model(original, name, ratio, settings=settings if chosen.fitted else None)
    folder = save_compressed(made, tmp_path / "model")
    experts = {str(seed): tuned(folder, seed, tmp_path / f"expert-{seed}") for seed in (1, 2)}
    merge_checkpoints(folder, experts, "average", tmp_path / "merged", progress=False)
    merged = load_causal_lm(tmp_path / "merged", device="cpu").model
    parts = [AutoModelForCausalLM.from_pretrained(expert) for expert in experts.values()]
    for key, tensor in merged.named_parameters():
        mean = sum(part.get_parameter(key) for part in parts) / 2
        assert torch.allclose(tensor, mean, atol=1e-5), key
    assert torch.isfinite(merged(input_ids=ids(1, 5)).logits).all()


def test_merging_adapters_on_a_compressed_model(low_rank, tmp_path):
    from intarsia.merge import merge_checkpoints

    folder = save_compressed(low_rank, tmp_path / "model")
    experts = {str(seed): adapter(folder, seed, tmp_path / f"adapter-{seed}") for seed in (1, 2)}
    merge_checkpoints(folder, experts, "task_arithmetic", tmp_path / "merged", params={"weight": 1.0}, progress=False)
    merged = load_causal_lm(tmp_path / "merged", device="cpu").model
    assert torch.equal(merged.compressed.to_dense(), low_rank.model.compressed.to_dense())
    first = load_causal_lm(experts["1"], device="cpu").model.merge_and_unload()
    second = load_causal_lm(experts["2"], device="cpu").model.merge_and_unload()
    name = next(name for name, _ in merged.named_parameters() if name.endswith("q_proj.weight"))
    base = low_rank.model.get_parameter(name)
    expected = first.get_parameter(name) + second.get_parameter(name) - base
    assert torch.allclose(merged.get_parameter(name), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["svd", "see"])
def test_twin_merging_on_a_compressed_model(original, settings, name, tmp_path):
    from intarsia.merge import RouterConfig, TwinMergingConfig, twin_merge

    made = compress_model(original, name, RATIO, settings=settings if METHODS[name].fitted else None)
    folder = save_compressed(made, tmp_path / "model")
    experts = {str(seed): adapter(folder, seed, tmp_path / f"adapter-{seed}") for seed in (1, 2)}
    texts = {"1": ["the dog runs", "a cat sees"], "2": ["the river", "green stone"]}
    config = TwinMergingConfig(router=RouterConfig(epochs=2))
    model = twin_merge(folder, experts, texts, config=config, output=tmp_path / "twin", progress=False)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "twin")
    mixture = model.mixture(["1"])
    with torch.no_grad():
        logits = again(input_ids=ids(1, 5), mixture=mixture).logits
        assert torch.equal(logits, model(input_ids=ids(1, 5), mixture=mixture).logits)
    assert again.generate(ids(1, 5), max_new_tokens=3).shape == (1, 8)


@pytest.mark.parametrize("name", ["svd", "see"])
@pytest.mark.parametrize("place", ["large", "small"])
def test_fusing_a_compressed_model(original, word_llama, settings, name, place, tmp_path):
    from intarsia.fusion import SolverConfig, fuse_models, save_fused

    made = compress_model(original, name, RATIO, settings=settings if METHODS[name].fitted else None)
    compressed = save_compressed(made, tmp_path / "model")
    small = compressed if place == "small" else word_llama
    large = compressed if place == "large" else word_llama
    expert = adapter(small, 1, tmp_path / "adapter")
    fused = fuse_models(large, small, {"x": expert}, solver=SolverConfig("newton"), device="cpu")
    logits = fused.model(input_ids=ids(1, 5)).logits
    assert torch.isfinite(logits).all()
    save_fused(fused, tmp_path / "fused")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "fused")
    assert torch.allclose(again(input_ids=ids(1, 5)).logits, logits, atol=1e-4)
    assert again.generate(ids(1, 5), max_new_tokens=3, do_sample=False).shape == (1, 8)


def test_experts_train_on_a_compressed_model(low_rank, tmp_path):
    from intarsia.data import TextToTextRow
    from intarsia.finetune import ExpertConfig, train_expert

    folder = save_compressed(low_rank, tmp_path / "model")
    rows = [TextToTextRow("the dog sees", "cat"), TextToTextRow("the river", "stone")]
    config = ExpertConfig(rank=2, top_layers=1, epochs=1, batch_size=2)
    train_expert(load_causal_lm(folder, device="cpu"), rows, config, tmp_path / "expert")
    expert = load_causal_lm(tmp_path / "expert", device="cpu")
    assert torch.isfinite(expert.model(input_ids=ids(1, 5)).logits).all()


# Bad input


def test_a_tokenizer_of_another_model_is_noticed(low_rank, tiny_llama, tmp_path):
    folder = save_compressed(low_rank, tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    with pytest.raises(ModelError, match="the tokenizer is not the one the embedding was compressed for"):
        AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(ModelError, match="put back the tokenizer files"):
        load_causal_lm(folder)


def test_ids_that_no_token_has_are_named_with_and_without_a_cached_matrix(low_rank):
    model, tokens = low_rank.model, low_rank.model.compressed.num_embeddings
    for ready in (False, True):
        assert (model.get_input_embeddings().cache.peek(torch.float32) is not None) == ready
        for wrong in (tokens, -1):
            with torch.no_grad(), pytest.raises(InputError, match=f"token id {wrong} is out of range"):
                model(input_ids=torch.tensor([[5, wrong]]))
        with torch.no_grad():
            model(input_ids=ids(1, 2))


def test_tokens_added_at_the_end_are_no_other_tokenizer(low_rank, tmp_path):
    low_rank.tokenizer.add_tokens(["blorb"])
    low_rank.model.resize_token_embeddings(len(low_rank.tokenizer))
    folder = save_compressed(low_rank, tmp_path / "model")
    again = load_causal_lm(folder, device="cpu")
    assert again.model.compressed.num_embeddings == len(again.tokenizer)


def test_a_model_needs_an_embedding(original):
    with pytest.raises(ModelError, match="needs the original model's config and an embedding"):
        CompressedForCausalLM(CompressedConfig(base_config=original.model.config))
    broken = CompressedConfig(base_config=original.model.config, embedding={"kind": "SVDEmbeding"})
    with pytest.raises(UnknownNameError, match="did you mean 'SVDEmbedding'"):
        CompressedForCausalLM(broken)
