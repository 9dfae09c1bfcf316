"""Twin-merged causal models: identities of the method, and transformers' ways of using a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, pipeline

from intarsia.errors import ConfigError, InputError, ModelError, UnknownNameError
from intarsia.merge import TwinMergedForCausalLM, TwinMergingConfig
from intarsia.merge.router import Router
from intarsia.merge.twin import merge_residuals

NAMES = ("news", "mail", "chat")
GAMMA = 0.3


@pytest.fixture(scope="module")
def base(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama in float64."""
    folder = tmp_path_factory.mktemp("base")
    AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float64).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return folder


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """LoRA experts of rank 3 on the two upper layers."""
    folders = {}
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=3,
            lora_alpha=6,
            target_modules=["q_proj", "v_proj", "o_proj", "down_proj"],
            layers_to_transform=[2, 3],
            init_lora_weights=False,
        )
        folders[name] = tmp_path_factory.mktemp("experts") / name
        get_peft_model(load(base), config).save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def checkpoints(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Full fine-tunes that changed every tensor, norms and embeddings too."""
    folders = {}
    for seed, name in enumerate(NAMES):
        generator = torch.Generator().manual_seed(seed)
        model = load(base)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter += 0.05 * noise
        folders[name] = tmp_path_factory.mktemp("full") / name
        model.save_pretrained(folders[name])
    return folders


def twin_of(base: Path, experts: dict[str, Path], **settings: Any) -> TwinMergedForCausalLM:
    config = TwinMergingConfig(**{"gamma": GAMMA, **settings})
    twin = merge_residuals(load(base), base, experts, config=config)
    torch.manual_seed(7)
    return twin.attach_router(Router(32, len(experts)).double())


@pytest.fixture(scope="module")
def twin(base: Path, adapters: dict[str, Path]) -> TwinMergedForCausalLM:
    return twin_of(base, adapters, rank=4)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Three prompts of different lengths, padded on the left."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 259, (3, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    mask[2, :1] = 0
    return {"input_ids": ids.masked_fill(mask == 0, 2), "attention_mask": mask}


def close(one: Tensor, other: Tensor, atol: float = 1e-11) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


@torch.no_grad()
def expert_logits(base: Path, adapter: Path, batch: dict[str, Tensor]) -> Tensor:
    return PeftModel.from_pretrained(load(base), adapter).eval()(**batch).logits


# The method


@torch.no_grad()
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_one_hot_mixtures_at_full_rank_are_the_experts(
    base: Path, adapters: dict[str, Path], batch: dict[str, Tensor], gamma: float
) -> None:
    twin = twin_of(base, adapters, rank="full", gamma=gamma)
    logits = twin(**batch, mixture=twin.mixture(list(NAMES))).logits
    for row, name in enumerate(NAMES):
        # Adapters are stored in float32.
        close(logits[row], expert_logits(base, adapters[name], batch)[row], atol=1e-6)


@torch.no_grad()
def test_full_fine_tunes_are_mixed_with_their_norms_while_embeddings_are_shared(
    base: Path, checkpoints: dict[str, Path], batch: dict[str, Tensor]
) -> None:
    twin = twin_of(base, checkpoints, rank="full")
    merged = twin.merged_state({"news": 0.2, "mail": 0.5, "chat": 0.3})
    states = {name: load(folder).state_dict() for name, folder in checkpoints.items()}
    start = load(base).state_dict()
    for key, tensor in merged.items():
        if "embed_tokens" in key or "lm_head" in key:
            expected = start[key] + GAMMA * sum(state[key] - start[key] for state in states.values())
        else:
            expected = 0.2 * states["news"][key] + 0.5 * states["mail"][key] + 0.3 * states["chat"][key]
        close(tensor, expected)
    assert twin.statistics["shared_only"] == ["model.embed_tokens.weight"]
    assert twin.config.vectors["model.norm"] == ["weight"]
    assert "model.layers.1.input_layernorm" in twin.config.vectors


@torch.no_grad()
def test_embeddings_get_residuals_on_request_and_stay_tied(
    base: Path, checkpoints: dict[str, Path], batch: dict[str, Tensor], tmp_path: Path
) -> None:
    twin = twin_of(base, checkpoints, rank="full", embeddings=True)
    logits = twin(**batch, mixture=twin.mixture(list(NAMES))).logits
    for row, name in enumerate(NAMES):
        close(logits[row], load(checkpoints[name])(**batch).logits[row], atol=1e-10)
    assert twin.base.lm_head.residual_b is twin.base.model.embed_tokens.residual_b
    twin.save_pretrained(tmp_path / "twin")
    again = load(tmp_path / "twin")
    close(again(**batch).logits, twin(**batch).logits)
    assert again.base.lm_head.residual_b is again.base.model.embed_tokens.residual_b


@torch.no_grad()
def test_rank_zero_is_task_arithmetic_bit_for_bit(
    base: Path, adapters: dict[str, Path], twin: TwinMergedForCausalLM, batch: dict[str, Tensor]
) -> None:
    nothing = twin_of(base, adapters, rank=0)
    shared = twin.materialize({})
    expected = shared(**batch).logits
    assert torch.equal(nothing(**batch, mixture=nothing.mixture(list(NAMES))).logits, expected)
    close(
        nothing.merged_state({"mail": 1.0})["model.layers.2.self_attn.q_proj.weight"], task_arithmetic(base, adapters)
    )


def task_arithmetic(base: Path, adapters: dict[str, Path]) -> Tensor:
    key = "model.layers.2.self_attn.q_proj.weight"
    start = load(base).state_dict()[key]
    merged = [
        PeftModel.from_pretrained(load(base), folder).merge_and_unload().state_dict()[key]
        for folder in adapters.values()
    ]
    return start + GAMMA * sum(state - start for state in merged)


@torch.no_grad()
def test_mixed_rows_equal_materialised_models_row_by_row(twin: TwinMergedForCausalLM, batch: dict[str, Tensor]) -> None:
    outputs = twin(**batch)
    assert outputs.mixture is not None
    close(outputs.mixture.sum(-1), torch.ones(3, dtype=torch.float64))
    for row in range(3):
        plain = twin.materialize(outputs.mixture[row])
        kept = batch["attention_mask"][row].bool()
        close(plain(**{name: x[row : row + 1] for name, x in batch.items()}).logits[0], outputs.logits[row])
        alone = twin(input_ids=batch["input_ids"][row : row + 1, kept])
        # Rotary embeddings are float32, and padding shifts positions.
        close(alone.mixture[0], outputs.mixture[row], atol=1e-6)
        close(alone.logits[0], outputs.logits[row, kept], atol=1e-5)


@torch.no_grad()
def test_permuted_rows_give_permuted_logits(twin: TwinMergedForCausalLM, batch: dict[str, Tensor]) -> None:
    order = [2, 0, 1]
    permuted = twin(**{name: x[order] for name, x in batch.items()}).logits
    close(permuted, twin(**batch).logits[order])


@torch.no_grad()
def test_the_order_experts_are_given_in_changes_nothing(
    base: Path, adapters: dict[str, Path], twin: TwinMergedForCausalLM, batch: dict[str, Tensor]
) -> None:
    other = twin_of(base, dict(reversed(adapters.items())), rank=4)
    assert other.experts == twin.experts == sorted(NAMES)
    assert torch.equal(other(**batch).logits, twin(**batch).logits)


@torch.no_grad()
def test_relabelled_experts_permute_weights_and_leave_the_model_unchanged(
    base: Path, adapters: dict[str, Path], twin: TwinMergedForCausalLM
) -> None:
    renamed = {"news": "z", "mail": "y", "chat": "x"}
    other = twin_of(base, {renamed[name]: folder for name, folder in adapters.items()}, rank=4)
    weights = {"news": 0.7, "mail": 0.1, "chat": 0.2}
    one, two = twin.merged_state(weights), other.merged_state({renamed[name]: w for name, w in weights.items()})
    for key, tensor in one.items():
        close(two[key], tensor)


@torch.no_grad()
def test_a_single_expert_needs_no_router(base: Path, adapters: dict[str, Path], batch: dict[str, Tensor]) -> None:
    twin = merge_residuals(load(base), base, {"news": adapters["news"]}, config=TwinMergingConfig(rank="full"))
    outputs = twin(**batch)
    close(outputs.logits, expert_logits(base, adapters["news"], batch), atol=1e-6)
    close(outputs.mixture, torch.ones(3, 1))


@torch.no_grad()
def test_how_weight_splits_between_identical_experts_does_not_matter(
    base: Path, adapters: dict[str, Path], batch: dict[str, Tensor]
) -> None:
    twin = twin_of(base, {"a": adapters["news"], "b": adapters["news"], "c": adapters["mail"]}, rank=2)
    mixtures = [{"a": 0.6, "c": 0.4}, {"b": 0.6, "c": 0.4}, {"a": 0.2, "b": 0.4, "c": 0.4}]
    logits = [twin(**batch, mixture=twin.mixture([weights] * 3)).logits for weights in mixtures]
    close(logits[1], logits[0])
    close(logits[2], logits[0])


@torch.no_grad()
def test_lower_ranks_are_views_of_one_model(
    base: Path, adapters: dict[str, Path], twin: TwinMergedForCausalLM, batch: dict[str, Tensor]
) -> None:
    mixture = twin.mixture(list(NAMES))
    whole = twin(**batch, mixture=mixture).logits
    try:
        for rank in (0, 1, 3):
            built = twin_of(base, adapters, rank=rank)
            close(twin.set_rank(rank)(**batch, mixture=mixture).logits, built(**batch, mixture=mixture).logits)
        with pytest.raises(ConfigError, match="rank is 5, but it must be between 0 and 4"):
            twin.set_rank(5)
    finally:
        twin.set_rank(None)
    assert torch.equal(twin(**batch, mixture=mixture).logits, whole)


@torch.no_grad()
def test_factor_mode_runs_and_is_another_model(base: Path, adapters: dict[str, Path], batch: dict[str, Tensor]) -> None:
    twin = twin_of(base, adapters, rank=3, lora_mode="factor")
    mixture = twin.mixture([{"news": 0.5, "mail": 0.5}] * 3)
    logits = twin(**batch, mixture=mixture).logits
    close(twin.materialize({"news": 0.5, "mail": 0.5})(**batch).logits, logits)
    product = twin_of(base, adapters, rank="full")(**batch, mixture=mixture).logits
    assert (product - logits).abs().max() > 1e-3
    with pytest.raises(ModelError, match="factor"):
        twin.set_rank(1)


def test_bytes_are_those_of_the_factors(twin: TwinMergedForCausalLM) -> None:
    # 2 layers of q (32 x 32), v (16 x 32), o (32 x 32), down (32 x 64). Singular values are folded into one factor,
    # so a term takes rows + columns numbers.
    terms = len(NAMES) * 4
    assert twin.residual_bytes() == 8 * 2 * terms * (64 + 48 + 64 + 96)
    assert twin.statistics["residual_bytes"] == twin.residual_bytes()
    assert twin.statistics["rank"] == {"lowest": 4, "highest": 4}
    assert all(0.3 < kept < 1 for kept in twin.statistics["energy_kept"].values())


# Routing


@torch.no_grad()
def test_routing_on_the_way_equals_a_separate_shared_pass(
    twin: TwinMergedForCausalLM, batch: dict[str, Tensor]
) -> None:
    assert twin.config.reuse_lower_layers
    assert twin._fork == 2
    shared = twin.materialize({})
    states = shared.model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    pooled = (states * mask).sum(1) / mask.sum(1)
    close(twin.pooled_states(**batch), pooled)
    close(twin.route(**batch), twin.router(pooled).softmax(-1))
    close(twin(**batch).mixture, twin.route(**batch))


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("reuse", [True, False])
def test_the_router_may_read_any_layer(
    base: Path, adapters: dict[str, Path], batch: dict[str, Tensor], layer: int, reuse: bool
) -> None:
    twin = twin_of(base, adapters, rank=4)
    twin.config.reuse_lower_layers = reuse
    twin.set_router_input(pool="last", layer=layer)
    expected = twin.materialize({}).model(**batch, output_hidden_states=True).hidden_states[layer][:, -1]
    close(twin.pooled_states(**batch), expected)
    outputs = twin(**batch)
    close(outputs.mixture, twin.router(expected).softmax(-1))
    close(outputs.logits, twin(**batch, mixture=outputs.mixture).logits)


@torch.no_grad()
def test_lower_layers_run_once(twin: TwinMergedForCausalLM, batch: dict[str, Tensor]) -> None:
    calls = [0] * 4

    def count(index: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            calls[index] += 1

        return hook

    handles = [layer.mlp.register_forward_hook(count(index)) for index, layer in enumerate(twin.base.model.layers)]
    twin(**batch)
    for handle in handles:
        handle.remove()
    assert calls == [1, 1, 2, 2]


@torch.no_grad()
def test_right_padding_without_a_mask_does_not_change_the_route(twin: TwinMergedForCausalLM) -> None:
    # As evaluation harnesses compute likelihoods.
    ids = torch.randint(3, 259, (1, 7), generator=torch.Generator().manual_seed(4))
    padded = torch.cat([ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    alone, together = twin(ids), twin(torch.cat([padded, torch.randint(3, 259, (1, 12))]))
    close(together.mixture[0], alone.mixture[0])
    close(together.logits[0, :7], alone.logits[0])


@torch.no_grad()
def test_hard_and_unknown_routing(twin: TwinMergedForCausalLM, batch: dict[str, Tensor]) -> None:
    soft = twin.route(**batch)
    try:
        twin.set_routing("hard")
        chosen = soft.argmax(-1)
        outputs = twin(**batch)
        assert outputs.mixture.argmax(-1).equal(chosen)
        assert outputs.mixture.sum() == 3
        oracle = twin.mixture([twin.experts[index] for index in chosen])
        close(outputs.logits, twin(**batch, mixture=oracle).logits)
        twin.config.unknown_threshold = 0.999
        close(twin(**batch).logits, twin.materialize({})(**batch).logits)
    finally:
        twin.set_routing("soft")
        twin.config.unknown_threshold = None
    with pytest.raises(ConfigError, match="routing is 'best'"):
        twin.set_routing("best")  # type: ignore[arg-type]


@torch.no_grad()
def test_recording_hidden_states_gives_those_of_the_answering_pass(
    twin: TwinMergedForCausalLM, batch: dict[str, Tensor]
) -> None:
    plain = twin(**batch)
    outputs = twin(**batch, output_hidden_states=True)
    assert len(outputs.hidden_states) == 5
    close(outputs.logits, plain.logits)
    close(twin.base.lm_head(outputs.hidden_states[-1]), plain.logits)


@torch.no_grad()
def test_upper_layers_on_stored_states(twin: TwinMergedForCausalLM, batch: dict[str, Tensor]) -> None:
    lower_states = pytest.importorskip("intarsia.models.lower_states")
    whole = twin(**batch)
    states = lower_states.states_entering(twin, 2, batch["input_ids"], batch["attention_mask"])
    with lower_states.upper_layers_only(twin, 2):
        upper = twin(inputs_embeds=states, attention_mask=batch["attention_mask"], logits_to_keep=1)
        close(upper.mixture, whole.mixture)
        close(upper.logits, whole.logits[:, -1:])
        close(twin.route(inputs_embeds=states, attention_mask=batch["attention_mask"]), whole.mixture)
    twin.set_router_input(layer=1)
    try:
        with lower_states.upper_layers_only(twin, 2), pytest.raises(ModelError, match="router reads did not run"):
            twin(inputs_embeds=states, attention_mask=batch["attention_mask"])
    finally:
        twin.set_router_input()


# Generation


def generate(twin: TwinMergedForCausalLM, batch: dict[str, Tensor], **settings: Any) -> Tensor:
    return twin.generate(**batch, **{"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, **settings})[:, 9:]


def test_generation_of_a_mixed_padded_batch_equals_each_materialised_model(
    twin: TwinMergedForCausalLM, batch: dict[str, Tensor]
) -> None:
    generated = generate(twin, batch)
    mixture = twin.route(**batch)
    for row in range(3):
        plain = twin.materialize(mixture[row])
        kept = batch["attention_mask"][row].bool()
        alone = plain.generate(
            batch["input_ids"][row : row + 1, kept],
            attention_mask=torch.ones(1, int(kept.sum()), dtype=torch.long),
            max_new_tokens=6,
            do_sample=False,
            eos_token_id=None,
        )
        assert torch.equal(generated[row], alone[0, -6:])


@pytest.mark.parametrize(
    "settings",
    [{"use_cache": False}, {"cache_implementation": "static"}, {"prompt_lookup_num_tokens": 2, "rows": 1}],
)
def test_other_ways_of_generating_give_the_same_tokens(
    twin: TwinMergedForCausalLM, batch: dict[str, Tensor], settings: dict[str, Any]
) -> None:
    settings = dict(settings)
    rows = settings.pop("rows", 3)
    batch = {name: x[:rows] for name, x in batch.items()}
    assert torch.equal(generate(twin, batch, **settings), generate(twin, batch))


def test_beams_and_samples_keep_their_prompts_mixture(twin: TwinMergedForCausalLM, batch: dict[str, Tensor]) -> None:
    beams = generate(twin, batch, num_beams=3, num_return_sequences=2)
    assert beams.shape == (6, 6)
    mixture = twin.route(**batch)
    for row in range(3):
        alone = {name: x[row : row + 1] for name, x in batch.items()}
        plain = twin.materialize(mixture[row])
        assert torch.equal(generate(plain, alone, num_beams=3, num_return_sequences=2), beams[2 * row : 2 * row + 2])
    torch.manual_seed(0)
    samples = generate(twin, batch, do_sample=True, num_return_sequences=2)
    torch.manual_seed(0)
    assert torch.equal(generate(twin, batch, do_sample=True, num_return_sequences=2), samples)


def test_decoding_does_not_route_again(
    twin: TwinMergedForCausalLM, batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    weights = twin._weights
    monkeypatch.setattr(twin, "_weights", lambda pooled: calls.append(len(pooled)) or weights(pooled))
    generate(twin, batch)
    assert calls == [3]
    generate(twin, batch, mixture=twin.mixture(list(NAMES)))
    assert calls == [3]


@torch.no_grad()
def test_continuing_from_a_cache_needs_the_mixture(twin: TwinMergedForCausalLM, batch: dict[str, Tensor]) -> None:
    ids, mask = batch["input_ids"], batch["attention_mask"]
    start = twin(ids[:, :-1], mask[:, :-1], use_cache=True)
    with pytest.raises(ModelError, match="chosen on the prompt"):
        twin(ids[:, -1:], mask, past_key_values=start.past_key_values)
    step = twin(ids[:, -1:], mask, past_key_values=start.past_key_values, mixture=start.mixture)
    close(step.logits[:, -1], twin(**batch, mixture=start.mixture).logits[:, -1])
    # A prefix computed before: `generate` routes on the whole prompt.
    cache = DynamicCache()
    mixture = twin.route(**batch)
    # `generate` counts positions from the first token that is no padding.
    positions = (mask[:, :5].cumsum(1) - 1).clamp_min(0)
    twin(ids[:, :5], mask[:, :5], positions, past_key_values=cache, mixture=mixture)
    assert torch.equal(generate(twin, batch, past_key_values=cache), generate(twin, batch))


# Saving, exporting, other people's tools


@torch.no_grad()
def test_save_and_load_round_trip_is_exact(
    twin: TwinMergedForCausalLM, batch: dict[str, Tensor], tmp_path: Path
) -> None:
    twin.save_pretrained(tmp_path / "twin")
    again = load(tmp_path / "twin")
    assert isinstance(again, TwinMergedForCausalLM)
    assert again.state_dict().keys() == twin.state_dict().keys()
    for name, tensor in twin.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert again.base.lm_head.weight is again.base.model.embed_tokens.weight
    with safe_open(tmp_path / "twin" / "model.safetensors", "pt") as file:
        assert "base.lm_head.weight" not in file.keys()  # noqa: SIM118
    # Where tensors lie in memory can change the order of a sum.
    close(again(**batch).logits, twin(**batch).logits)
    assert again.statistics == twin.statistics
    assert again.config.hidden_size == 32
    assert again._fork == 2


@torch.no_grad()
def test_materialised_checkpoints_are_plain(
    twin: TwinMergedForCausalLM, base: Path, batch: dict[str, Tensor], tmp_path: Path
) -> None:
    weights = {"news": 0.25, "chat": 0.75}
    tokenizer = AutoTokenizer.from_pretrained(base)
    folder = twin.save_materialized(tmp_path / "plain", weights, tokenizer=tokenizer)
    plain = load(folder)
    assert type(plain).__name__ == "LlamaForCausalLM"
    close(plain(**batch).logits, twin(**batch, mixture=twin.mixture([weights] * 3)).logits)
    names = set(load(base).state_dict())
    assert set(plain.state_dict()) == names
    assert AutoTokenizer.from_pretrained(folder)("ab").input_ids == tokenizer("ab").input_ids


def test_text_generation_pipeline(twin: TwinMergedForCausalLM, base: Path, tmp_path: Path) -> None:
    twin.save_pretrained(tmp_path / "twin")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "twin")
    generator = pipeline("text-generation", model=str(tmp_path / "twin"))
    assert isinstance(generator.model, TwinMergedForCausalLM)
    texts = ["a prompt", "another, longer prompt"]
    together = generator(texts, max_new_tokens=4, do_sample=False, batch_size=2)
    assert all(item[0]["generated_text"].startswith(text) for text, item in zip(texts, together, strict=True))
    chat = generator([{"role": "user", "content": "hello"}], max_new_tokens=3, do_sample=False)
    assert chat[0]["generated_text"][-1]["role"] == "assistant"


@torch.no_grad()
def test_lm_eval_scores_a_saved_model(twin: TwinMergedForCausalLM, base: Path, tmp_path: Path) -> None:
    huggingface = pytest.importorskip("lm_eval.models.huggingface", reason="needs the eval extra")
    from lm_eval.api.instance import Instance

    twin.save_pretrained(tmp_path / "twin")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(tmp_path / "twin")
    pairs = [("a question with some words", " yes"), ("short", " no answer at all"), ("x", " y")]

    def score(model: Any, batch_size: int) -> list[float]:
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=index)
            for index, pair in enumerate(pairs)
        ]
        return [likelihood for likelihood, _ in model.loglikelihood(requests, disable_tqdm=True)]

    harness = huggingface.HFLM(
        pretrained=str(tmp_path / "twin"), dtype="float64", device="cpu", batch_size=3, max_length=64
    )
    assert isinstance(harness.model, TwinMergedForCausalLM)
    together = score(harness, 3)
    given = huggingface.HFLM(pretrained=twin, tokenizer=tokenizer, batch_size=1, max_length=64)
    # Padding in the harness's batches does not reach the router.
    assert together == pytest.approx(score(given, 1), abs=1e-6)
    context, answer = (torch.tensor([tokenizer(text).input_ids]) for text in pairs[0])
    ids = torch.cat([context, answer], dim=1)
    likelihoods = twin(ids[:, :-1]).logits.log_softmax(-1)[0, context.shape[1] - 1 :]
    assert together[0] == pytest.approx(float(likelihoods.gather(1, answer.T).sum()), abs=1e-6)


def test_loss_and_training_mode(twin: TwinMergedForCausalLM, batch: dict[str, Tensor]) -> None:
    twin.train()
    try:
        assert not twin.router.training  # type: ignore[union-attr]
        loss = twin(**batch, labels=batch["input_ids"]).loss
        loss.backward()
        assert twin.base.model.layers[3].mlp.down_proj.residual_a.grad.abs().sum() > 0
    finally:
        twin.zero_grad()
        twin.eval()


# Wrong input


def test_wrong_mixtures_are_explained(twin: TwinMergedForCausalLM, batch: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match=r"must sum to 1, but row 1 is \[0.5, 0.4, 0.0\]"):
        twin(**batch, mixture=torch.tensor([[1.0, 0, 0], [0.5, 0.4, 0], [0, 0, 1]]))
    with pytest.raises(InputError, match="must not be negative"):
        twin.materialize({"news": 1.5, "mail": -0.5})
    with pytest.raises(InputError, match=r"shape \[3, 2\]"):
        twin(**batch, mixture=torch.ones(3, 2))
    with pytest.raises(InputError, match=r"shape \[1, 3\], but 3 rows"):
        twin.generate(**batch, mixture=torch.tensor([[1.0, 0, 0]]))
    with pytest.raises(InputError, match="nan"):
        twin.mixture([{"news": float("nan")}])
    with pytest.raises(UnknownNameError, match="unknown expert 'newz'"):
        twin.mixture(["newz"])
    twin.config.allow_any_weights = True
    try:
        twin.materialize({"news": 1.5, "mail": -0.5})
    finally:
        twin.config.allow_any_weights = False


def test_a_router_of_another_size_is_refused(twin: TwinMergedForCausalLM) -> None:
    with pytest.raises(ModelError, match="2 outputs, but there are 3 experts"):
        twin.attach_router(Router(32, 2))
    with pytest.raises(ModelError, match="reads 31 numbers"):
        twin.attach_router(Router(31, 3))
    with pytest.raises(ConfigError, match="router layer is 5"):
        twin.set_router_input(layer=5)


def test_an_empty_batch_and_a_missing_router_are_explained(
    base: Path, adapters: dict[str, Path], twin: TwinMergedForCausalLM, batch: dict[str, Tensor]
) -> None:
    with pytest.raises(InputError, match="batch is empty"):
        twin(torch.empty(0, 4, dtype=torch.long))
    bare = merge_residuals(load(base), base, adapters)
    with pytest.raises(ModelError, match="no router"):
        bare(**batch)
