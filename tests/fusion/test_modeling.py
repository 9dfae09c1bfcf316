"""Fused models: the same text as small loops of one's own, whatever the batch, the cache, or where the weights are."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessorList

from intarsia.errors import ConfigError, InputError, ModelError, UnknownNameError
from intarsia.fusion import FusionTrace, LogitFusionProcessor, SolverConfig, fuse_logits, fuse_models, solve_alpha
from intarsia.fusion.modeling import LogitFusionForCausalLM
from intarsia.models import load_causal_lm

GREEDY: dict[str, Any] = {"max_new_tokens": 10, "do_sample": False}


def proxy_tuned(models: dict[str, Any], ids: Tensor, alpha: float, count: int) -> Tensor:
    """Greedy proxy tuning of one row, by the book: no cache, no batch."""
    for _ in range(count):
        large, small, expert = (models[name](ids).logits[:, -1] for name in ("large", "small", "expert"))
        token = (large + alpha * (expert - small)).argmax(-1)
        ids = torch.cat([ids, token[:, None]], -1)
        if int(token) == 2:
            break
    return ids


def rows_of(inputs: dict[str, Tensor]) -> list[Tensor]:
    """Each prompt without its padding."""
    return [ids[mask == 1][None] for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]


def written(texts: Tensor, prompt: int) -> list[list[int]]:
    """Generated tokens up to the first end token."""
    rows = []
    for row in texts[:, prompt:].tolist():
        rows.append(row[: row.index(2) + 1] if 2 in row else row)
    return rows


# Identity 12: fixed strengths


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_static_alpha_is_plain_proxy_tuning(models, kit, alpha):
    model = kit["fuse"](models["large"], models["small"], {"a": models["expert"]}, solver="static", alpha=alpha)
    inputs = kit["prompts"]([4, 9, 6])
    texts = written(model.generate(**inputs, **GREEDY), 9)
    for row, prompt in enumerate(rows_of(inputs)):
        expected = proxy_tuned(models, prompt, alpha, 10)[0, prompt.shape[1] :].tolist()
        assert texts[row] == expected
    if alpha == 0:
        assert texts == written(models["large"].generate(**inputs, **GREEDY), 9)


def test_alpha_changes_what_is_written(models, fused, kit):
    inputs = kit["prompts"]([6, 6, 6, 6])
    own = fused.generate(**inputs, **GREEDY)
    assert not torch.equal(own, models["large"].generate(**inputs, **GREEDY))
    fixed = kit["fuse"](models["large"], models["small"], {"a": models["expert"]}, solver="static", alpha=1.0)
    assert not torch.equal(own, fixed.generate(**inputs, **GREEDY))


def test_logits_and_alphas_are_the_solvers(models, two, kit):
    ids = kit["prompts"]([7, 7])["input_ids"]
    out = two(ids)
    experts = [models["expert"], two.experts["b"]]
    logits = [model(ids).logits for model in (models["large"], models["small"], *experts)]
    result = solve_alpha(logits[0], logits[1], logits[2:], two.solver)
    torch.testing.assert_close(out.alpha, result.alpha, rtol=0, atol=1e-4)
    expected = logits[0] + sum(result.alpha[..., t, None] * (logits[2 + t] - logits[1]) for t in range(2))
    torch.testing.assert_close(out.logits.log_softmax(-1), expected.log_softmax(-1), rtol=0, atol=1e-3)
    loss = two(ids, labels=ids).loss
    by_hand = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(loss, by_hand)


# Identity 13: caches, batches, scores


def test_with_and_without_cache(fused, two, bank, windowed, kit):
    inputs = kit["prompts"]([4, 12, 9])
    for model in (fused, two, bank.together, windowed):
        for settings in ({}, {"num_beams": 3}):
            cached = model.generate(**inputs, **GREEDY, **settings)
            assert torch.equal(cached, model.generate(**inputs, **GREEDY, **settings, use_cache=False))


def test_a_batch_is_its_rows(fused, bank, windowed, kit):
    inputs = kit["prompts"]([4, 12, 9])
    for model in (fused, bank.together, windowed):
        for speculative in (False, True):
            together = written(model.generate(**inputs, **GREEDY, speculative=speculative), 12)
            for row, prompt in enumerate(rows_of(inputs)):
                alone = model.generate(prompt, **GREEDY, speculative=speculative)
                assert together[row] == written(alone, prompt.shape[1])[0]


def test_a_cache_goes_on_where_it_was_left(two, kit):
    ids = kit["prompts"]([12, 12])["input_ids"]
    whole = two(ids)
    first = two(ids[:, :5])
    second = two(ids[:, 5:], past_key_values=first.past_key_values)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits, rtol=0, atol=1e-3)
    assert two(ids, use_cache=False).past_key_values is None


def test_scores_are_those_of_generation(two, bank, kit):
    inputs = kit["prompts"]([4, 9, 6])
    for model in (two, bank.together):
        trace, scored = FusionTrace(), FusionTrace()
        out = model.generate(
            **inputs, **GREEDY, trace=trace, return_dict_in_generate=True, output_logits=True, eos_token_id=99
        )
        tokens = out.sequences[:, 9:]
        score = model.score(inputs["input_ids"], tokens, attention_mask=inputs["attention_mask"], trace=scored)
        alphas = torch.tensor([[step.alpha for step in row] for row in trace.rows])
        torch.testing.assert_close(score.alpha, alphas, rtol=0, atol=1e-3)
        assert [[step.token for step in row] for row in scored.rows] == tokens.tolist()
        torch.testing.assert_close(torch.tensor(scored.alphas()), torch.tensor(trace.alphas()), rtol=0, atol=1e-3)
        expected = torch.stack(out.logits, 1).log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        torch.testing.assert_close(score.log_probs, expected, rtol=0, atol=1e-3)
        torch.testing.assert_close(score.total, score.log_probs.sum(-1))


def test_scores_of_continuations_of_different_lengths(two, kit):
    inputs, more = kit["prompts"]([4, 9]), kit["prompts"]([6, 3], seed=1)
    kept = more["attention_mask"].flip(-1)
    tokens = more["input_ids"].flip(-1)
    together = two.score(inputs["input_ids"], tokens, attention_mask=inputs["attention_mask"], continuation_mask=kept)
    for row, prompt in enumerate(rows_of(inputs)):
        alone = two.score(prompt, tokens[row][kept[row] == 1][None])
        torch.testing.assert_close(together.total[row], alone.total[0], rtol=0, atol=1e-3)
    assert float(together.log_probs[1, 3:].abs().max()) == 0


# Identity 14: the small base as the large model


def test_if_small_and_large_are_equal_the_expert_speaks(models, kit):
    for solver in ({"solver": "newton"}, {"solver": "grid"}):
        model = kit["fuse"](models["small"], models["small"], {"a": models["expert"]}, **solver)
        inputs = kit["prompts"]([4, 9, 6])
        assert torch.equal(model.generate(**inputs, **GREEDY), models["expert"].generate(**inputs, **GREEDY))


# What users expect of generate


def test_sampling_is_reproducible_and_reads_fused_logits(two, kit):
    inputs = kit["prompts"]([4, 9])
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        texts.append(two.generate(**inputs, max_new_tokens=10, do_sample=True))
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])
    # Nearly no temperature, or a nucleus of one token: what is likeliest after fusion.
    greedy = two.generate(**inputs, **GREEDY)
    for settings in ({"temperature": 1e-4}, {"top_p": 1e-6}, {"top_k": 1}):
        assert torch.equal(two.generate(**inputs, max_new_tokens=10, do_sample=True, **settings), greedy)


def test_temperature_leaves_alpha_alone(two, kit):
    inputs, traces = kit["prompts"]([4]), []
    for temperature in (1.0, 5.0):
        trace = FusionTrace()
        torch.manual_seed(0)
        two.generate(**inputs, max_new_tokens=1, do_sample=True, temperature=temperature, trace=trace)
        traces.append(trace.rows[0][0])
    assert traces[0].alpha == traces[1].alpha


def test_several_texts_of_one_prompt(two, kit):
    torch.manual_seed(0)
    trace = FusionTrace()
    texts = two.generate(
        **kit["prompts"]([4, 9]), max_new_tokens=6, do_sample=True, num_return_sequences=3, trace=trace, eos_token_id=99
    )
    assert texts.shape == (6, 15)
    assert [[step.token for step in row] for row in trace.rows] == texts[:, 9:].tolist()
    for row in range(6):
        score = two.score(
            kit["prompts"]([4, 9])["input_ids"][row // 3, 0 if row >= 3 else 5 :][None], texts[row, None, 9:]
        )
        torch.testing.assert_close(
            score.alpha[0], torch.tensor([step.alpha for step in trace.rows[row]]), rtol=0, atol=1e-3
        )


def test_beams_find_texts_at_least_as_likely(two, kit):
    inputs = kit["prompts"]([9, 9])
    totals = []
    for beams in (1, 6):
        texts = two.generate(**inputs, **GREEDY, num_beams=beams, eos_token_id=99)
        totals.append(two.score(inputs["input_ids"], texts[:, 9:]).total)
    assert bool((totals[1] >= totals[0] - 1e-3).all())
    assert bool((totals[1] > totals[0] + 1e-3).any())


def test_a_stopping_string_and_a_streamer(tiny_llama, kit):
    from transformers import AutoTokenizer, TextIteratorStreamer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    large = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    model = kit["fuse"](large, large, {"a": kit["tuned"](large, 1, 0.02)})
    inputs = tokenizer(["abc", "hello"], return_tensors="pt", padding=True, padding_side="left")
    length = inputs["input_ids"].shape[1]
    free = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, length:]
    stop = next(text for text in (tokenizer.decode([token]) for token in free[2:]) if text.isascii())
    trace = FusionTrace()
    texts = model.generate(
        **inputs, max_new_tokens=12, do_sample=False, stop_strings=[stop], tokenizer=tokenizer, trace=trace
    )
    assert tokenizer.decode(texts[0, length:], skip_special_tokens=True).count(stop) == 1
    # The trace ends where the row ended, not where the batch did.
    assert tokenizer.decode([step.token for step in trace.rows[0]]).endswith(stop)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    one = {name: value[:1, -3:] for name, value in inputs.items()}
    text = model.generate(**one, max_new_tokens=6, do_sample=False, streamer=streamer)
    assert "".join(streamer) == tokenizer.decode(text[0, 3:])


def test_settings_come_from_the_config_as_well(two, kit):
    inputs = kit["prompts"]([9, 9])
    free = two.generate(**inputs, max_new_tokens=8, do_sample=False)
    end = int(free[0, 11])
    trace = FusionTrace()
    config = GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=end, pad_token_id=0)
    texts = two.generate(**inputs, generation_config=config, trace=trace)
    stop = free[0, 9:].tolist().index(end)
    assert texts[0, 9 : 9 + stop + 1].tolist() == [step.token for step in trace.rows[0]]
    config = GenerationConfig(num_beams=2, max_new_tokens=4)
    with pytest.raises(InputError, match="a trace does not go with beam search"):
        two.generate(**inputs, generation_config=config, trace=FusionTrace())


# Prompts that differ between the models


def grown_by_hand(model: Any, prompts: dict[str, Tensor], count: int, prior: Tensor | None = None) -> list[int]:
    """Greedy text of one row whose models have prompts of their own; no cache, no batch, no padding."""
    parts = {"large": model.large, "small": model.small, **dict(model.experts.items())}
    tokens: list[int] = []
    for _ in range(count):
        new = torch.tensor([tokens], dtype=torch.long)
        logits = [
            parts[name](torch.cat([prompts[name], new], -1)).logits[:, -1]
            for name in ("large", "small", *model.config.experts)
        ]
        fused = fuse_logits(logits[0], logits[1], logits[2:], model.solver, prior=prior)
        tokens.append(int(fused.logits.argmax(-1)))
        if tokens[-1] == 2:
            break
    return tokens


def test_every_model_may_have_its_own_prompt(bank, kit):
    inputs = kit["prompts"]([5, 9])
    cases = (
        {"small": kit["prompts"]([7, 3], seed=1)},
        {"y": kit["prompts"]([4, 12], seed=2)},
        {
            "small": kit["prompts"]([2, 6], seed=3),
            "x": kit["prompts"]([11, 4], seed=4),
            "z": kit["prompts"]([3, 3], seed=5),
        },
    )
    for contexts in cases:
        for model in (bank.together, bank.copies):
            for speculative in (False, True):
                texts = written(model.generate(**inputs, **GREEDY, contexts=contexts, speculative=speculative), 9)
                for row, prompt in enumerate(rows_of(inputs)):
                    own = {name: rows_of(context)[row] for name, context in contexts.items()}
                    given = {name: own.get(name, prompt) for name in ("large", "small", "x", "y", "z")}
                    expected = grown_by_hand(bank.copies, given, 10)
                    assert texts[row] == expected, (tuple(contexts), speculative, row)


def test_contexts_in_scores_beams_and_several_texts(bank, kit):
    inputs = kit["prompts"]([5, 9])
    contexts = {"small": kit["prompts"]([7, 3], seed=1), "y": kit["prompts"]([4, 12], seed=2)}
    for model in (bank.together, bank.copies):
        trace = FusionTrace()
        texts = model.generate(**inputs, **GREEDY, contexts=contexts, trace=trace, eos_token_id=99)
        score = model.score(
            inputs["input_ids"], texts[:, 9:], attention_mask=inputs["attention_mask"], contexts=contexts
        )
        alphas = torch.tensor([[step.alpha for step in row] for row in trace.rows])
        torch.testing.assert_close(score.alpha, alphas, rtol=0, atol=1e-3)
    beams = [
        model.generate(**inputs, **GREEDY, contexts=contexts, num_beams=3) for model in (bank.together, bank.copies)
    ]
    assert torch.equal(beams[0], beams[1])
    torch.manual_seed(0)
    several = bank.together.generate(
        **inputs, max_new_tokens=4, do_sample=True, contexts=contexts, num_return_sequences=2
    )
    assert several.shape[0] == 4


def test_contexts_need_no_mask(two, kit):
    inputs = kit["prompts"]([5])
    context = kit["prompts"]([7], seed=1)
    with_mask = two.generate(**inputs, **GREEDY, contexts={"b": context})
    assert torch.equal(two.generate(**inputs, **GREEDY, contexts={"b": {"input_ids": context["input_ids"]}}), with_mask)


# Adapters


def test_adapters_in_one_batch_are_the_merged_models(bank, kit):
    inputs = kit["prompts"]([4, 12, 9])
    one, other = (model(**inputs) for model in (bank.together, bank.copies))
    kept = inputs["attention_mask"] == 1
    torch.testing.assert_close(one.logits[kept], other.logits[kept], rtol=0, atol=1e-3)
    torch.testing.assert_close(one.alpha[kept], other.alpha[kept], rtol=0, atol=1e-3)
    for settings in ({}, {"speculative": True}, {"num_beams": 3}):
        assert torch.equal(
            bank.together.generate(**inputs, **GREEDY, **settings), bank.copies.generate(**inputs, **GREEDY, **settings)
        )
    assert len(bank.together.experts) == 0


def test_each_adapters_logits_are_those_of_peft(bank, kit):
    ids = kit["prompts"]([8, 8])["input_ids"]
    cache = bank.together.new_cache()
    logits = bank.together.read("small", cache, ids, None)
    assert list(logits) == ["small", "x", "y", "z"]
    for name, merged in bank.merged.items():
        torch.testing.assert_close(logits[name], merged(ids).logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits["small"], bank.copies.small(ids).logits, rtol=0, atol=1e-5)
    alone = bank.together.read("adapters", bank.together.new_cache(speculative=True), ids, None)
    for name in bank.merged:
        torch.testing.assert_close(alone[name], logits[name], rtol=0, atol=1e-5)


def test_adapters_and_models_side_by_side(bank, models, kit):
    inputs = kit["prompts"]([4, 9])
    mixed = kit["fuse_adapters"](
        models["large"], models["small"], {name: bank.folders[name] for name in "xz"}, {"full": bank.merged["y"]}
    )
    copies = kit["fuse"](
        models["large"], models["small"], {"x": bank.merged["x"], "z": bank.merged["z"], "full": bank.merged["y"]}
    )
    assert mixed.config.adapters == ["x", "z"]
    for settings in ({}, {"speculative": True}):
        assert torch.equal(
            mixed.generate(**inputs, **GREEDY, **settings), copies.generate(**inputs, **GREEDY, **settings)
        )


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "lora_only"}])
def test_other_adapters_become_models(models, kit, tmp_path, settings):
    from intarsia.fusion.adapters import read_adapter

    base = kit["llama"](7, 1, tie_word_embeddings=False)
    merged = kit["save_adapter"](base, 1, tmp_path / "a", **settings)
    read = read_adapter(base, tmp_path / "a")
    assert isinstance(read, torch.nn.Module)
    ids = kit["prompts"]([8])["input_ids"]
    torch.testing.assert_close(read(ids).logits, merged(ids).logits, rtol=0, atol=1e-5)


def test_scalings_of_adapters_are_kept(models, kit, tmp_path):
    from intarsia.fusion.adapters import read_adapter

    for index, settings in enumerate(
        ({"use_rslora": True}, {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"down_proj": 32}})
    ):
        folder = tmp_path / str(index)
        merged = kit["save_adapter"](models["small"], 1, folder, **settings)
        assert isinstance(read_adapter(models["small"], folder), dict)
        model = kit["fuse_adapters"](models["large"], models["small"], {"a": folder}, None)
        ids = kit["prompts"]([8])["input_ids"]
        logits = model.read("small", model.new_cache(), ids, None)["a"]
        torch.testing.assert_close(logits, merged(ids).logits, rtol=0, atol=1e-5)


# A logits processor


def test_the_processor_is_the_fused_model(models, two, kit):
    solver = copy.deepcopy(two.solver)
    inputs = kit["prompts"]([4, 12, 9])
    experts = [models["expert"], two.experts["b"]]
    for settings in ({}, {"use_cache": False}):
        processor = LogitFusionProcessor(models["small"], experts, solver, attention_mask=inputs["attention_mask"])
        texts = models["large"].generate(
            **inputs, **GREEDY, **settings, logits_processor=LogitsProcessorList([processor])
        )
        assert torch.equal(texts, two.generate(**inputs, **GREEDY))
    assert processor.result is not None
    assert processor.result.alpha.shape == (3, 2)
    single = kit["prompts"]([6])
    processor = LogitFusionProcessor(models["small"], experts, solver)
    texts = models["large"].generate(**single, **GREEDY, logits_processor=LogitsProcessorList([processor]))
    assert torch.equal(texts, two.generate(**single, **GREEDY))
    with pytest.raises(InputError, match="not that of the last step") as error:
        models["large"].generate(**single, **GREEDY, logits_processor=LogitsProcessorList([processor]))
    assert "new LogitFusionProcessor" in str(error.value.fix)


def test_a_processor_masks_tokens_that_are_not_shared(models):
    processor = LogitFusionProcessor(models["small"], [models["expert"]], vocabulary=30)
    ids = torch.tensor([[3, 4, 5]])
    out = processor(ids, models["large"](ids).logits[:, -1])
    assert out.shape == (1, 41)
    assert bool(out[:, 30:].isneginf().all())
    assert bool(out[:, :30].isfinite().all())
    with pytest.raises(InputError, match="no experts"):
        LogitFusionProcessor(models["small"], [])


# Saving and loading


def storage_of(model: torch.nn.Module) -> int:
    return sum({tensor.data_ptr(): tensor.numel() for tensor in model.parameters()}.values())


@pytest.mark.parametrize("kind", ["fused", "bank"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_copy_is_the_same_model(models, fused, bank, kit, tmp_path, kind, tied):
    model = fused if kind == "fused" else bank.together
    if not tied:
        large, small = kit["llama"](0, 2, tie_word_embeddings=False), kit["llama"](1, 1, tie_word_embeddings=False)
        model = kit["fuse"](large, small, {"a": kit["tuned"](small, 2)})
        # The expert's embedding and head are its base's, which are not the large model's.
        assert set(model.config.shared) == {"experts.a.model.embed_tokens.weight", "experts.a.lm_head.weight"}
    elif kind == "fused":
        # Everything outside the layers is the large model's.
        assert model.experts["a"].lm_head.weight is model.large.model.embed_tokens.weight
        assert model.small.model.embed_tokens.weight is model.large.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    stored = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert stored < 4 * storage_of(model) + 20_000
    inputs = kit["prompts"]([4, 9])
    expected = model(**inputs)
    for loaded in (AutoModelForCausalLM.from_pretrained(tmp_path), LogitFusionForCausalLM.from_pretrained(tmp_path)):
        assert isinstance(loaded, LogitFusionForCausalLM)
        out = loaded(**inputs)
        assert torch.equal(out.logits, expected.logits)
        assert torch.equal(out.alpha, expected.alpha)
        assert storage_of(loaded) == storage_of(model)
        assert loaded.solver == model.solver
        assert loaded.config.experts == model.config.experts
    # And once more, from the loaded one.
    loaded.save_pretrained(tmp_path / "again")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert torch.equal(again(**inputs).logits, expected.logits)


def test_a_changed_solver_is_saved(models, kit, tmp_path):
    model = kit["fuse"](models["large"], models["small"], {"a": models["expert"]})
    model.solver = SolverConfig(solver="static", alpha=[0.25])
    model.save_pretrained(tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).solver == SolverConfig(solver="static", alpha=[0.25])


def test_half_precision_weights(fused, tmp_path, kit):
    fused.save_pretrained(tmp_path)
    half = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    inputs = kit["prompts"]([4, 9])
    out = half(**inputs)
    assert out.logits.dtype == torch.float32
    assert bool(out.logits.isfinite().all())
    plain = half.generate(**inputs, **GREEDY)
    assert torch.equal(plain, half.generate(**inputs, **GREEDY, use_cache=True))
    half.save_pretrained(tmp_path / "half")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    assert again.dtype == torch.bfloat16
    assert torch.equal(again(**inputs).logits, out.logits)


@pytest.fixture(scope="module")
def parts(tiny_llama, tmp_path_factory):
    """Folders of a large and a small model, a tuned small one, and an adapter, with the tokenizer of all."""
    from transformers import AutoTokenizer

    from intarsia.finetune import keep_layers

    folder = tmp_path_factory.mktemp("parts")
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    small = keep_layers(load_causal_lm(tiny_llama, device="cpu").model, [0, 3])
    torch.manual_seed(0)
    expert = copy.deepcopy(small)
    with torch.no_grad():
        for name, parameter in expert.named_parameters():
            if "layers" in name:
                parameter += 0.03 * torch.randn_like(parameter)
    for name, model in (("small", small), ("tuned", expert)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(copy.deepcopy(small), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = str(folder / "small")
    adapted.save_pretrained(folder / "adapter")
    return {"large": tiny_llama, **{name: folder / name for name in ("small", "tuned", "adapter")}}


@pytest.mark.parametrize("references", [False, True])
def test_folders_load_wherever_models_load(parts, tmp_path, references):
    model, tokenizer = fuse_models(
        parts["large"],
        parts["small"],
        {"a": parts["tuned"], "b": parts["adapter"]},
        solver=SolverConfig(solver="newton"),
        device="cpu",
    )
    model.save_pretrained(tmp_path, references=references)
    tokenizer.save_pretrained(tmp_path)
    assert bool(list(tmp_path.glob("*.safetensors"))) is not references
    inputs = tokenizer(["hello", "a longer text"], return_tensors="pt", padding=True, padding_side="left")
    expected = model(**inputs)
    for loaded in (AutoModelForCausalLM.from_pretrained(tmp_path), load_causal_lm(tmp_path, device="cpu").model):
        assert torch.equal(loaded(**inputs).logits, expected.logits)
        assert loaded.config.experts == ["a", "b"]
        assert loaded.solver.solver == "newton"
        assert storage_of(loaded) == storage_of(model)
    # Saved again as it came, or the other way.
    loaded.save_pretrained(tmp_path / "again")
    assert bool(list((tmp_path / "again").glob("*.safetensors"))) is not references
    if references:
        loaded.save_pretrained(tmp_path / "copy", references=False)
        assert list((tmp_path / "copy").glob("*.safetensors"))
        assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "copy")(**inputs).logits, expected.logits)


def test_a_part_that_is_gone(parts, tmp_path):
    import shutil

    shutil.copytree(parts["tuned"], tmp_path / "tuned")
    model, tokenizer = fuse_models(parts["large"], parts["small"], {"a": tmp_path / "tuned"}, device="cpu")
    model.save_pretrained(tmp_path / "f", references=True)
    tokenizer.save_pretrained(tmp_path / "f")
    (tmp_path / "tuned" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"tuned"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "f")
    shutil.rmtree(tmp_path / "tuned")
    for load in (AutoModelForCausalLM.from_pretrained, load_causal_lm):
        with pytest.raises(ModelError, match=r"tuned"):
            load(tmp_path / "f")
    values = json.loads((tmp_path / "f" / "config.json").read_text())
    del values["references"]["a"]
    (tmp_path / "f" / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"does not say where its part 'a' is"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "f")


def test_a_weight_file_that_is_gone(parts, tmp_path):
    model, tokenizer = fuse_models(parts["large"], parts["small"], {"a": parts["tuned"]}, device="cpu")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weight|safetensors") as error:
        load_causal_lm(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_references_that_are_not_known(fused, tmp_path):
    with pytest.raises(ModelError, match=r"where the parts .* is not known") as error:
        fused.save_pretrained(tmp_path, references=True)
    assert "references=False" in str(error.value.fix)


# Traces


def test_a_trace_as_lines_of_json(two, kit, tmp_path):
    trace = FusionTrace()
    inputs = kit["prompts"]([4, 9])
    texts = two.generate(**inputs, max_new_tokens=5, do_sample=False, trace=trace, eos_token_id=99)
    path = trace.save(tmp_path / "trace.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["row"], line["position"]) for line in lines] == [(row, at) for row in range(2) for at in range(5)]
    assert [line["token"] for line in lines] == texts[:, 9:].flatten().tolist()
    for line in lines:
        assert list(line["alpha"]) == ["a", "b"]
        assert set(line) == {
            "row", "position", "token", "alpha", "forward", "backward", "target_forward", "target_backward", "loss",
            "at_bound", "saturated", "clipped",
        }  # fmt: skip
        assert min(line["alpha"].values()) == 0 < max(line["alpha"].values())
    summary = trace.summary()
    assert summary["tokens"] == 10
    assert abs(sum(expert["share"] for expert in summary["experts"].values()) - 1) < 1e-9
    # A second call goes on with the rows.
    two.generate(**inputs, max_new_tokens=2, do_sample=False, trace=trace, eos_token_id=99)
    assert [len(row) for row in trace.rows] == [5, 5, 2, 2]
    assert FusionTrace(["a"]).summary()["tokens"] == 0
    assert FusionTrace(["a"]).save(tmp_path / "empty.jsonl").read_text() == ""


# Bad input


@pytest.mark.parametrize("speculative", [False, True])
def test_generation_ends_where_a_model_reads_no_more(kit, speculative):
    model = kit["fuse"](kit["llama"](0, 2), kit["llama"](1, 1), {"a": kit["llama"](2, 1, max_position_embeddings=10)})
    prompt = kit["prompts"]([6])
    options = {"do_sample": False, "eos_token_id": 99, "speculative": speculative}
    out = model.generate(**prompt, max_new_tokens=20, **options)
    assert out.shape[1] == 11
    assert torch.equal(out[:, :9], model.generate(**prompt, max_new_tokens=3, **options))


def test_prompts_longer_than_a_model_reads(kit):
    large, small = kit["llama"](0, 2), kit["llama"](1, 1, max_position_embeddings=12)
    expert = kit["llama"](2, 1, max_position_embeddings=10)
    model = kit["fuse"](large, small, {"a": expert})
    assert model.context_length == 10
    with pytest.raises(InputError, match=r"has 11 tokens, but expert 'a' reads at most 10") as error:
        model.generate(**kit["prompts"]([11]), max_new_tokens=2)
    assert "shorten" in str(error.value.fix)
    with pytest.raises(InputError, match=r"has 13 tokens, but the small model reads at most 12"):
        model(**kit["prompts"]([13]))
    # Each model's own prompt counts, and what is written counts too.
    short, long = kit["prompts"]([4]), kit["prompts"]([11], seed=1)
    with pytest.raises(InputError, match=r"has 11 tokens, but expert 'a'"):
        model.generate(**short, max_new_tokens=2, contexts={"a": long})
    # The small model has room for one token more, and the last one written need not be read.
    ended = model.generate(**short, max_new_tokens=6, do_sample=False, contexts={"small": long}, eos_token_id=99)
    assert ended.shape[1] == 4 + 2
    assert model.generate(**short, max_new_tokens=2, do_sample=False, contexts={"small": long}).shape[1] <= 6
    with pytest.raises(InputError, match=r"has 11 tokens, but expert 'a'"):
        model.score(short["input_ids"], long["input_ids"][:, :7])


def test_contexts_that_cannot_be(two, kit):
    inputs = kit["prompts"]([4, 9])
    with pytest.raises(UnknownNameError, match=r"unknown context 'c'"):
        two.generate(**inputs, **GREEDY, contexts={"c": inputs})
    with pytest.raises(InputError, match=r"context of b has 1 rows, but the batch has 2"):
        two.generate(**inputs, **GREEDY, contexts={"b": kit["prompts"]([4])})
    with pytest.raises(InputError, match=r"logits_to_keep=1"):
        two(**inputs, contexts={"b": inputs})
    with pytest.raises(InputError, match="use_cache"):
        two.generate(**inputs, **GREEDY, contexts={"b": inputs}, use_cache=False)


def test_other_inputs_that_cannot_be(two, models, kit):
    ids = kit["prompts"]([4, 9])["input_ids"]
    with pytest.raises(InputError, match="reads tokens, not embeddings"):
        two(inputs_embeds=torch.zeros(1, 2, 16))
    cache = models["large"](ids, use_cache=True).past_key_values
    with pytest.raises(ModelError, match="not a fused model's"):
        two(ids, past_key_values=cache)
    with pytest.raises(ModelError, match=r"vocabulary .* cannot be resized"):
        two.resize_token_embeddings(50)
    with pytest.raises(InputError, match=r"2 prompts, but continuations of shape \[1, 3\]"):
        two.score(ids, ids[:1, :3])
    with pytest.raises(ConfigError, match="cache_implementation is 'static'"):
        two.generate(ids, **GREEDY, cache_implementation="static")


def test_models_whose_cache_cannot_be_passed(models, kit):
    from transformers import MambaConfig, MambaForCausalLM

    settings = MambaConfig(vocab_size=41, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(ModelError, match=r"the large model \(MambaForCausalLM\) .* past_key_values") as error:
        kit["fuse"](MambaForCausalLM(settings), models["small"], {"a": models["expert"]})
    assert error.value.fix
    with pytest.raises(ModelError, match=r"expert 'a' \(MambaForCausalLM\)"):
        kit["fuse"](models["large"], models["small"], {"a": MambaForCausalLM(settings)})


def test_nan_names_the_model(models, kit):
    broken = copy.deepcopy(models["expert"])
    with torch.no_grad():
        broken.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    model = kit["fuse"](models["large"], models["small"], {"a": models["expert"], "b": broken})
    with pytest.raises(InputError, match=r"expert 1 gave logits that are NaN"):
        model.generate(**kit["prompts"]([4]), **GREEDY)


def test_models_that_do_not_fit(parts):
    with pytest.raises(InputError, match="no experts"):
        fuse_models(parts["large"], parts["small"], {})
    with pytest.raises(ConfigError, match=r"alpha is \[1.0, 2.0\].*each of the 1 experts"):
        fuse_models(
            parts["large"], parts["small"], [parts["tuned"]], solver=SolverConfig(solver="static", alpha=[1, 2])
        )
    with pytest.raises(
        ModelError, match=r"expert 'adapter' is an adapter of .*small.* but the small model is"
    ) as error:
        fuse_models(parts["large"], parts["tuned"], [parts["adapter"]])
    assert "experts of one base" in str(error.value.fix)
    with pytest.raises(ConfigError, match="expert name"):
        fuse_models(parts["large"], parts["small"], {"large": parts["tuned"]})


def respelled(parts: dict[str, Any], folder: Any, changes: dict[str, str], added: list[str], rows: int) -> Any:
    """Saves the tuned model with another tokenizer and a longer embedding."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(parts["small"])
    model = AutoModelForCausalLM.from_pretrained(parts["tuned"])
    model.resize_token_embeddings(model.config.vocab_size + rows)
    with torch.no_grad():
        model.get_input_embeddings().weight[-rows:] = 50.0 if rows else 0.0
    model.save_pretrained(folder)
    tokenizer.add_tokens(added)
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer.json"
    values = json.loads(file.read_text())
    vocabulary = values["model"]["vocab"]
    for old, new in changes.items():
        vocabulary[new] = vocabulary.pop(old)
    file.write_text(json.dumps(values))
    return folder


def test_tokenizers_that_differ(parts, tmp_path):
    folder = respelled(parts, tmp_path / "other", {"a": "§"}, [], 0)
    with pytest.raises(
        ModelError, match=r"large and other differ: token \d+ is 'a' in the one and '§' in the other"
    ) as error:
        fuse_models(parts["large"], parts["small"], {"other": folder}, device="cpu")
    assert "one tokenizer" in str(error.value.fix)


def test_added_tokens_and_padded_embeddings_are_cut_off(parts, tmp_path):
    folder = respelled(parts, tmp_path / "longer", {}, ["<new>"], 5)
    plain = fuse_models(parts["large"], parts["small"], {"a": parts["tuned"]}, device="cpu").model
    longer = fuse_models(parts["large"], parts["small"], {"a": folder}, device="cpu").model
    ids = torch.randint(3, 200, (2, 6), generator=torch.Generator().manual_seed(0))
    one, other = plain(ids), longer(ids)
    assert one.logits.shape == other.logits.shape
    torch.testing.assert_close(one.logits, other.logits, rtol=0, atol=1e-4)
