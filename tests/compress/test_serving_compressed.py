"""A folder of a compressed model behind the server and in a chat: both say what `generate` says."""

import json

import httpx
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import intarsia  # noqa: F401 - makes the class of compressed models known
from intarsia.cli.app import app
from intarsia.compress import compress_model, save_compressed
from intarsia.compress.see.methods import SEESettings
from intarsia.models import load_causal_lm

PROMPT = "the dog sees"


@pytest.fixture(params=["int4", "svd", "see"])
def folder(request, original, lexicon, tmp_path):
    settings = SEESettings(lexicon=lexicon, steps=5, merges=20, min_usage=4, terms=6)
    ratio = None if request.param == "int4" else 2.0
    made = compress_model(original, request.param, ratio, settings=settings if request.param == "see" else None)
    return save_compressed(made, tmp_path / request.param)


def generated(folder, prompt, tokens, **options):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    out = model.generate(**inputs, max_new_tokens=tokens, do_sample=False, **options)
    return tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_the_server_says_what_generate_says(folder):
    serving = pytest.importorskip("intarsia.serving")
    expected = generated(folder, PROMPT, 8)
    assert expected
    body = {"model": "small", "prompt": PROMPT, "max_tokens": 8, "temperature": 0}
    with (
        serving.ModelServer(
            load_causal_lm(folder, device="cpu"), serving.ServingConfig(port=0, name="small")
        ) as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        whole = http.post("/v1/completions", json=body).raise_for_status().json()
        assert whole["choices"][0]["text"] == expected
        # Prompts of several lengths at once: shorter ones are padded on the left.
        several = http.post("/v1/completions", json=body | {"prompt": ["a", PROMPT, "the red house and"]}).json()
        assert [choice["text"] for choice in several["choices"]][1] == expected
        lines = http.post("/v1/completions", json=body | {"stream": True}).text.split("\n\n")
        pieces = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        assert "".join(choice["text"] for piece in pieces for choice in piece["choices"]) == expected


def test_chat_says_what_generate_says(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": PROMPT}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    answer = CliRunner().invoke(app, ["chat", str(folder), "--max-new-tokens", "8"], input=f"{PROMPT}\n")
    assert answer.exit_code == 0, answer.output
    assert generated(folder, prompt, 8).strip() in answer.stdout
