"""A real model behind the server, asked by the real client."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from intarsia.models import list_models, load_causal_lm
from intarsia.serving import ModelServer, ServingConfig

LM = "asset:smollm2-135m-instruct"
QUESTIONS = [
    "What is the capital of France?",
    "Say hello in Spanish, with an emoji.",
    "Count to five.",
    "Who wrote Faust?",
]


@pytest.mark.slow
def test_smollm2() -> None:
    openai = pytest.importorskip("openai", reason="the openai client is not installed")
    if not {model.name: model for model in list_models()}[LM.removeprefix("asset:")].ready:
        pytest.skip(f"{LM} is not installed")
    loaded = load_causal_lm(LM)
    expected = []
    for question in QUESTIONS:
        inputs = loaded.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(loaded.model.device)
        out = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)
        expected.append(loaded.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    with ModelServer(loaded, ServingConfig(port=0)) as server:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)

        def ask(question: str, **options: Any) -> Any:
            messages = [{"role": "user", "content": question}]
            return client.chat.completions.create(
                model=LM, messages=messages, max_tokens=12, **({"temperature": 0} | options)
            )

        def streamed(question: str) -> str:
            return "".join(chunk.choices[0].delta.content or "" for chunk in ask(question, stream=True))

        with ThreadPoolExecutor(8) as pool:
            whole = [pool.submit(ask, question) for question in QUESTIONS]
            pieces = [pool.submit(streamed, question) for question in QUESTIONS]
            assert [answer.result().choices[0].message.content for answer in whole] == expected
            assert [answer.result() for answer in pieces] == expected
        assert "Paris" in expected[0]
        stopped = ask(QUESTIONS[0], stop="Paris").choices[0]
        assert (stopped.message.content, stopped.finish_reason) == (expected[0].partition("Paris")[0], "stop")
        drawn = [ask(QUESTIONS[0], temperature=1.0, seed=1).choices[0].message.content for _ in range(2)]
        assert drawn[0] == drawn[1]
