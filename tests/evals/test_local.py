"""A model in this process."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the packages for serving are not installed")

from intarsia.evals import LocalChat, ModelCallError, Reply, ask_all, assistant, chat_model, run, system, user
from intarsia.models import CausalLM, load_causal_lm

# One token a byte; the chat template adds these to a user's turn and the head of the answer.
FRAME = 1 + len("user\n") + 1 + len("\n") + 1 + len("assistant\n")


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> CausalLM:
    return load_causal_lm(tiny_llama, device="cpu")


@pytest.fixture(scope="module")
def model(loaded: CausalLM) -> Iterator[LocalChat]:
    chat = LocalChat(loaded, name="tiny")
    yield chat
    chat.close()


def test_temperature_0_is_greedy(loaded: CausalLM, model: LocalChat) -> None:
    turns = [system("Be brief."), user("Why?"), assistant("Because."), user("Why?")]
    text = loaded.tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in turns], tokenize=False, add_generation_prompt=True
    )
    inputs = loaded.tokenizer(text, return_tensors="pt", add_special_tokens=False)
    output = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs.input_ids.shape[1] :]
    reply = run(model.chat(turns, max_tokens=12))
    assert reply.text == loaded.tokenizer.decode(output, skip_special_tokens=True)
    assert reply.usage is not None
    assert reply.usage.input_tokens == inputs.input_ids.shape[1]
    assert reply.usage.output_tokens == len(output)
    assert reply.stop == ("length" if len(output) == 12 else "done")


def test_answers_do_not_depend_on_what_is_asked_at_the_time(model: LocalChat) -> None:
    async def ask(concurrency: int) -> list[Reply]:
        outcomes = await ask_all(
            lambda n: model.chat([user("x" * (1 + 5 * n))], temperature=0.0 if n % 2 else 1.0, max_tokens=9, seed=n),
            range(16),
            concurrency=concurrency,
        )
        return [outcome.value for outcome in outcomes]

    assert run(ask(16)) == run(ask(1))


def test_seeds_are_draws(model: LocalChat) -> None:
    def draw(seed: int | None) -> str:
        return run(model.chat([user("Why?")], temperature=1.0, max_tokens=20, seed=seed)).text

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(None) != draw(None)
    assert draw(-1) == draw(-1), "any integer is a seed"


def test_what_waits_is_generated_together(loaded: CausalLM, model: LocalChat) -> None:
    sizes: list[int] = []
    hook = loaded.model.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        run(ask_all(lambda n: model.chat([user(str(n))], max_tokens=4), range(8), concurrency=8))
    finally:
        hook.remove()
    # Were they asked one by one, there would be eight times as many passes of one row each.
    assert max(sizes) >= 4


def test_the_loop_is_free_while_the_model_computes(loaded: CausalLM, model: LocalChat) -> None:
    entered, go = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        entered.set()
        assert go.wait(30)

    async def ask() -> Reply:
        asking = asyncio.create_task(model.chat([user("Why?")], max_tokens=2))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        go.set()
        return await asking

    hook = loaded.model.register_forward_pre_hook(hold)
    try:
        assert run(ask()).usage is not None
    finally:
        hook.remove()


def test_a_cancelled_call_ends_and_leaves_the_others(loaded: CausalLM, model: LocalChat) -> None:
    passes = 0
    entered, go = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        nonlocal passes
        passes += 1
        entered.set()
        assert go.wait(30)

    async def ask() -> Reply:
        cancelled = asyncio.create_task(model.chat([user("x" * 100)], max_tokens=300))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
        go.set()
        return await model.chat([user("Why?")], max_tokens=5)

    hook = loaded.model.register_forward_pre_hook(hold)
    try:
        reply = run(ask())
    finally:
        hook.remove()
    assert passes <= 1 + 5, "the cancelled answer ended with the token that was computed"
    assert reply == run(model.chat([user("Why?")], max_tokens=5))


def test_conversation_longer_than_the_context_says_both_lengths(model: LocalChat) -> None:
    with pytest.raises(ModelCallError) as error:
        run(model.chat([user("a" * 600)], key="item-3"))
    assert f"the conversation has {600 + FRAME} tokens, but the model reads 512" in str(error.value)
    assert "tiny, call item-3" in str(error.value)
    assert "shorten" in str(error.value.fix)
    assert not error.value.retryable


def test_an_answer_ends_where_the_context_does(model: LocalChat) -> None:
    reply = run(model.chat([user("a" * (512 - FRAME - 3))]))
    assert reply.usage is not None
    assert reply.usage.output_tokens <= 3
    assert reply.stop == "length" or reply.usage.output_tokens < 3


def test_refused_conversation_names_the_template(tiny_llama: Path) -> None:
    loaded = load_causal_lm(tiny_llama, device="cpu")
    loaded.tokenizer.chat_template = "{{ raise_exception('no system role here') }}"
    model = LocalChat(loaded)
    with pytest.raises(ModelCallError, match="chat template refuses the messages: no system role here"):
        run(model.chat([system("Be brief."), user("Why?")]))
    loaded.tokenizer.chat_template = "{{ '' }}"
    with pytest.raises(ModelCallError, match="no tokens"):
        run(model.chat([user("Why?")]))


def test_model_that_fails_is_a_failed_call(loaded: CausalLM, model: LocalChat) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no memory")

    hook = loaded.model.register_forward_pre_hook(fail)
    try:
        with pytest.raises(ModelCallError, match="the model failed") as error:
            run(model.chat([user("Why?")]))
    finally:
        hook.remove()
    assert not error.value.retryable
    assert run(model.chat([user("Why?")], max_tokens=2)).usage is not None, "it goes on"


def test_a_model_nobody_refers_to_leaves_the_memory(tiny_llama: Path) -> None:
    loaded = load_causal_lm(tiny_llama, device="cpu")
    model = LocalChat(loaded)
    run(model.chat([user("Why?")], max_tokens=2))
    gone = weakref.ref(loaded.model)
    del loaded, model
    gc.collect()
    assert gone() is None


def test_closed_model_says_so(tiny_llama: Path) -> None:
    model = LocalChat(load_causal_lm(tiny_llama, device="cpu"))
    model.close()
    with pytest.raises(ModelCallError, match="the model was closed"):
        run(model.chat([user("Why?")]))


def test_adapters_merged_and_fused_models_by_their_folders(tiny_llama: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from intarsia.fusion import fuse_models
    from intarsia.merge import TwinMergingConfig
    from intarsia.merge.router import Router
    from intarsia.merge.twin import merge_residuals

    paths = {}
    for seed, name in enumerate(("news", "mail")):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        paths[name] = tmp_path / name
        get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_llama), settings).save_pretrained(paths[name])
    base = load_causal_lm(tiny_llama, device="cpu")
    twin = merge_residuals(base.model, str(tiny_llama), paths, config=TwinMergingConfig(rank=2))
    twin.attach_router(Router(twin.config.hidden_size, 2))
    # One expert: where the large model is the small one, two would be equally good, and rounding would choose.
    fused = fuse_models(tiny_llama, tiny_llama, {"news": paths["news"]}, device="cpu").model
    for name, made in (("twin", twin), ("fused", fused)):
        made.save_pretrained(tmp_path / name)
        base.tokenizer.save_pretrained(tmp_path / name)
    questions = ["one", "another question", "x", "and a longer one still"]
    for folder in (paths["news"], tmp_path / "twin", tmp_path / "fused"):
        model = chat_model(str(folder))
        together = run(ask_all(lambda text, model=model: model.chat([user(text)], max_tokens=8), questions))
        alone = [run(model.chat([user(text)], max_tokens=8)) for text in questions]
        assert [outcome.value for outcome in together] == alone
        assert any(reply.text for reply in alone)


@pytest.mark.slow
def test_real_model_answers_alike_one_by_one_and_together() -> None:
    model = chat_model("asset:smollm2-135m-instruct")
    assert model.name == "asset:smollm2-135m-instruct"
    countries = ["France", "Italy", "Japan", "Spain"]

    async def ask(concurrency: int) -> list[str]:
        outcomes = await ask_all(
            lambda name: model.chat([user(f"What is the capital of {name}? One word.")], max_tokens=12),
            countries,
            concurrency=concurrency,
        )
        return [outcome.value.text for outcome in outcomes]

    together = run(ask(4))
    assert "Paris" in together[0]
    assert together == run(ask(1))
