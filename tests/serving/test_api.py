"""What requests are answered with."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from serving_requests import SERVED, chat, completion

from intarsia.models import CausalLM, render_prompt


def post(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/completions" if "prompt" in body else "/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    path = "/v1/completions" if "prompt" in body else "/v1/chat/completions"
    with client.stream("POST", path, json=body | {"stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def texts(chunks: list[dict[str, Any]], count: int = 1) -> list[str]:
    found = [""] * count
    for chunk in chunks:
        for choice in chunk["choices"]:
            found[choice["index"]] += choice["text"] if "text" in choice else choice["delta"].get("content", "")
    return found


def greedy(loaded: CausalLM, ids: list[int], tokens: int) -> str:
    new = loaded.model.generate(torch.tensor([ids]), max_new_tokens=tokens, do_sample=False)[0, len(ids) :]
    return loaded.tokenizer.decode(new, skip_special_tokens=True)


def test_chat_is_greedy_generation_on_the_templates_text(client: httpx.Client, loaded: CausalLM) -> None:
    answer = post(client, chat("Grüße!", max_tokens=12))
    prompt = render_prompt(loaded.tokenizer, [{"role": "user", "content": "Grüße!"}])
    ids = loaded.tokenizer(prompt, add_special_tokens=False).input_ids
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": greedy(loaded, ids, 12),
        "refusal": None,
    }
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": len(ids), "completion_tokens": 12, "total_tokens": len(ids) + 12}
    assert (answer["object"], answer["model"]) == ("chat.completion", SERVED)
    assert answer["id"].startswith("chatcmpl-")


def test_completion_continues_text_and_tokens(client: httpx.Client, loaded: CausalLM) -> None:
    ids = loaded.tokenizer("Hello").input_ids
    expected = greedy(loaded, ids, 16)
    for prompt in ("Hello", ids, ["Hello"], [ids]):
        answer = post(client, completion(prompt))
        assert [choice["text"] for choice in answer["choices"]] == [expected]
    assert answer["usage"]["completion_tokens"] == 16, "what the API gives when nothing is asked for"
    both = post(client, completion(["Hello", "Bye"], n=2, max_tokens=4))
    assert [choice["index"] for choice in both["choices"]] == [0, 1, 2, 3]
    single = [post(client, completion(prompt, max_tokens=4))["choices"][0]["text"] for prompt in ("Hello", "Bye")]
    assert [choice["text"] for choice in both["choices"]] == [single[0], single[0], single[1], single[1]]
    assert both["usage"] == {"prompt_tokens": 8, "completion_tokens": 16, "total_tokens": 24}


@pytest.mark.parametrize(
    "body",
    [
        chat(max_tokens=40),
        chat(max_tokens=40, temperature=1.3, seed=5, n=3),
        completion(max_tokens=40, temperature=1.0, top_p=0.8, seed=5),
        completion(["a", "b"], max_tokens=40, temperature=0.9, seed=1, stop=["e", "a b"]),
    ],
)
def test_stream_joins_to_the_whole_answer(client: httpx.Client, body: dict[str, Any]) -> None:
    whole = post(client, body)
    chunks = stream(client, body | {"stream_options": {"include_usage": True}})
    expected = [choice["text"] if "text" in choice else choice["message"]["content"] for choice in whole["choices"]]
    assert texts(chunks, len(expected)) == expected
    ends = {c["index"]: c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]}
    assert ends == {choice["index"]: choice["finish_reason"] for choice in whole["choices"]}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert len(chunks) > 4, "it came in one piece"


def test_stream_without_usage_does_not_mention_it(client: httpx.Client) -> None:
    assert not any("usage" in chunk for chunk in stream(client, chat(max_tokens=3)))


def test_chat_stream_begins_with_the_role(client: httpx.Client) -> None:
    first, *_, last = stream(client, chat(max_tokens=3))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == "length"


def test_stop_text_ends_the_answer_and_is_not_part_of_it(client: httpx.Client) -> None:
    full = post(client, completion(max_tokens=60))["choices"][0]["text"]
    # Two characters are two tokens or more here.
    stop = next(full[i : i + 2] for i in range(8, len(full) - 2) if full.find(full[i : i + 2]) == i)
    for stops in (stop, ["never there", stop]):
        body = completion(max_tokens=60, stop=stops)
        choice = post(client, body)["choices"][0]
        assert choice["text"] == full[: full.index(stop)]
        assert choice["finish_reason"] == "stop"
        assert texts(stream(client, body)) == [choice["text"]]
    assert post(client, body)["usage"]["completion_tokens"] < 60


def test_seeds(client: httpx.Client) -> None:
    def ask(**options: Any) -> list[str]:
        answer = post(client, chat(max_tokens=24, temperature=1.0, **options))
        return [choice["message"]["content"] for choice in answer["choices"]]

    alone = ask(seed=7, n=2)
    assert alone[0] != alone[1]
    assert ask(seed=8, n=2) != alone
    assert ask() != ask()
    with ThreadPoolExecutor(12) as pool:
        others = [pool.submit(ask, n=2) for _ in range(8)]
        again = [pool.submit(ask, seed=7, n=2) for _ in range(4)]
        assert all(answer.result() == alone for answer in again)
        assert all(answer.result() != alone for answer in others)


def test_penalties_change_the_answer(client: httpx.Client) -> None:
    plain, again = (post(client, chat(max_tokens=40))["choices"] for _ in range(2))
    assert plain == again
    content = post(client, chat(max_tokens=40, frequency_penalty=2.0, presence_penalty=2.0))["choices"][0]
    assert content["message"]["content"] != plain[0]["message"]["content"]


def test_chat_logprobs(client: httpx.Client, loaded: CausalLM) -> None:
    body = chat(max_tokens=10, logprobs=True, top_logprobs=2)
    choice = post(client, body)["choices"][0]
    entries = choice["logprobs"]["content"]
    assert len(entries) == 10
    for entry in entries:
        assert len(entry["top_logprobs"]) == 2
        assert entry["logprob"] == entry["top_logprobs"][0]["logprob"], "greedy takes the likeliest"
        assert entry["logprob"] >= entry["top_logprobs"][1]["logprob"]
        assert entry["bytes"] == (None if "\ufffd" in entry["token"] else list(entry["token"].encode()))
    prompt = render_prompt(loaded.tokenizer, [{"role": "user", "content": "Hello!"}])
    ids = loaded.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = loaded.model(ids).logits[0, -1].log_softmax(-1).max().item()
    assert entries[0]["logprob"] == pytest.approx(expected, abs=1e-4)
    chunks = stream(client, body)
    streamed = [
        e for c in chunks for choice in c["choices"] if choice["logprobs"] for e in choice["logprobs"]["content"]
    ]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in entries]
    assert post(client, chat(max_tokens=2))["choices"][0]["logprobs"] is None


def test_completion_logprobs(client: httpx.Client) -> None:
    choice = post(client, completion(max_tokens=10, logprobs=3, temperature=1.0, seed=3))["choices"][0]
    logprobs = choice["logprobs"]
    assert [len(logprobs[field]) for field in ("tokens", "token_logprobs", "top_logprobs", "text_offset")] == [10] * 4
    assert all(value < 0 for value in logprobs["token_logprobs"])
    assert logprobs["text_offset"][:2] == [0, len(logprobs["tokens"][0])]


def test_messages_of_every_shape(client: httpx.Client) -> None:
    plain = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One two"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": "four"},
    ]
    shaped = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "three", "refusal": None, "tool_calls": None, "annotations": []},
        {"role": "user", "content": "four"},
    ]
    answers = [post(client, chat(max_tokens=8) | {"messages": messages}) for messages in (plain, shaped)]
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["usage"] == answers[1]["usage"]


def test_parameters_that_ask_for_nothing_are_accepted(client: httpx.Client) -> None:
    idle = {
        "user": "someone",
        "metadata": {"a": "b"},
        "store": False,
        "tools": None,
        "response_format": {"type": "text"},
        "logit_bias": {},
        "stop": None,
        "seed": None,
        "max_tokens": None,
        "max_completion_tokens": 5,
    }
    assert post(client, chat() | idle)["choices"] == post(client, chat(max_tokens=5))["choices"]


def test_an_answer_without_a_length_ends_with_the_context(client: httpx.Client) -> None:
    answer = post(client, chat("x" * 450))
    assert answer["usage"]["total_tokens"] <= 512
    assert answer["choices"][0]["finish_reason"] == "stop" or answer["usage"]["total_tokens"] == 512


def test_models_and_health(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()
    assert [model["id"] for model in models["data"]] == [SERVED]
    assert models["data"][0]["max_model_len"] == 512
    assert client.get(f"/v1/models/{SERVED}").json() == models["data"][0]
    assert client.get("/health").json() == {"status": "ok", "model": SERVED, "running": 0, "waiting": 0}


def test_the_openai_client(openai_client: Any) -> None:
    assert [model.id for model in openai_client.models.list()] == [SERVED]
    body = chat(max_tokens=20, temperature=0.8, seed=3)
    whole = openai_client.chat.completions.create(**body)
    chunks = list(openai_client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    joined = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert joined == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    # A client sends back the message as it got it.
    turns = [*body["messages"], whole.choices[0].message.model_dump(), {"role": "user", "content": "And?"}]
    assert openai_client.chat.completions.create(**body | {"messages": turns}).usage.prompt_tokens > 30
    done = openai_client.completions.create(model=SERVED, prompt="Hello", max_tokens=5, logprobs=1)
    assert len(done.choices[0].logprobs.tokens) == 5
    parts = list(openai_client.completions.create(model=SERVED, prompt="Hello", max_tokens=5, stream=True))
    assert parts[-1].choices[0].finish_reason == "length"


def test_the_openai_client_understands_refusals(openai_client: Any) -> None:
    import openai

    with pytest.raises(openai.NotFoundError, match="there is no model 'other'") as caught:
        openai_client.chat.completions.create(**chat() | {"model": "other"})
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="does not support tools") as refused:
        openai_client.chat.completions.create(
            **chat(), tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]
        )
    assert refused.value.param == "tools"


def test_adapters_merged_and_fused_models(tiny_llama: Path, tmp_path: Path, start: Any) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from intarsia.fusion import fuse_models
    from intarsia.merge import TwinMergingConfig
    from intarsia.merge.router import Router
    from intarsia.merge.twin import merge_residuals
    from intarsia.models import load_causal_lm

    paths = {}
    for seed, name in enumerate(("news", "mail")):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        paths[name] = tmp_path / name
        get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_llama), settings).save_pretrained(paths[name])
    base = load_causal_lm(tiny_llama, device="cpu")
    twin = merge_residuals(base.model, str(tiny_llama), paths, config=TwinMergingConfig(rank=2))
    torch.manual_seed(0)
    twin.attach_router(Router(twin.config.hidden_size, 2))
    twin.save_pretrained(tmp_path / "twin")
    base.tokenizer.save_pretrained(tmp_path / "twin")
    # One expert: where the large model is the small one, two would be equally good, and rounding would choose.
    fused = fuse_models(tiny_llama, tiny_llama, {"news": paths["news"]}, device="cpu")
    for model in (*(load_causal_lm(folder, device="cpu") for folder in (paths["news"], tmp_path / "twin")), fused):
        _, http = start(model)
        prompts = ["one", "another prompt", "x", "and a longer one still"]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda text, http=http: post(http, completion(text, max_tokens=8)), prompts))
        for text, answer in zip(prompts, answers, strict=True):
            assert answer["choices"][0]["text"] == greedy(model, model.tokenizer(text).input_ids, 8)
