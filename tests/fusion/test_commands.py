"""`intarsia fuse`, and what the other commands do with its folder."""

import json
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from intarsia.cli import app as app_module
from intarsia.data import ClassificationRow, write_jsonl
from intarsia.finetune import keep_layers
from intarsia.models import load_causal_lm


@pytest.fixture(scope="module")
def parts(tiny_llama, tmp_path_factory):
    """Folders of a small base and of two adapters of it."""
    folder = tmp_path_factory.mktemp("parts")
    small = keep_layers(load_causal_lm(tiny_llama, device="cpu").model, [0, 3])
    small.save_pretrained(folder / "small")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder / "small")
    for seed, name in enumerate(("news", "tweets")):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(folder / "small")
        settings = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        adapted = get_peft_model(base, settings)
        adapted.peft_config["default"].base_model_name_or_path = str(folder / "small")
        adapted.save_pretrained(folder / name)
    return folder


def intarsia(monkeypatch, capsys, *words):
    """Runs the program; returns exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["intarsia", *map(str, words)])
    try:
        app_module.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *words: intarsia(monkeypatch, capsys, *words)


def fuse_words(tiny_llama, parts, output, *more):
    experts = ["--expert", parts / "news", "--expert", f"mail={parts / 'tweets'}"]
    return ["fuse", "--large", tiny_llama, "--small", parts / "small", *experts, "--output", output, *more]


@pytest.fixture(params=["copies", "references"])
def fused(request, tiny_llama, parts, tmp_path, run):
    more = ["--reference"] if request.param == "references" else []
    code, out, err = run(*fuse_words(tiny_llama, parts, tmp_path / "fused", "--solver", "newton", "--json", *more))
    assert code == 0, err
    facts = json.loads(out)
    assert facts["experts"] == "news (adapter), mail (adapter)"
    assert facts["context"] == 512
    assert (tmp_path / "fused" / "model.safetensors").exists() is (request.param == "copies")
    return tmp_path / "fused"


def test_the_folder_is_a_model_for_the_other_commands(fused, tmp_path, run, monkeypatch):
    code, out, err = run("generate", fused, "hello", "--max-new-tokens", 6, "--json")
    assert code == 0, err
    assert json.loads(out)["prompt"] == "hello"
    write_jsonl(tmp_path / "rows.jsonl", [ClassificationRow(f"text {index}", "ab"[index % 2]) for index in range(40)])
    code, out, err = run(
        "evaluate", fused, "--data", tmp_path / "rows.jsonl", "--limit", 8, "--question", "a or b?", "--json"
    )
    assert code == 0, err
    assert {row["metric"] for row in json.loads(out)} == {"exact answer", "choice among labels"}
    lines = iter(["hello", "and more"])
    monkeypatch.setattr("builtins.input", lambda *_: next(lines, None) or (_ for _ in ()).throw(EOFError))
    trace = tmp_path / "trace.jsonl"
    code, out, err = run("chat", fused, "--max-new-tokens", 4, "--trace", "--trace-file", trace)
    assert code == 0, err
    assert "alpha of news" in out
    assert "alpha of mail" in out
    records = [json.loads(line) for line in trace.read_text().splitlines()]
    assert {record["row"] for record in records} == {0, 1}
    assert set(records[0]["alpha"]) == {"news", "mail"}
    assert sum(value > 0 for value in records[0]["alpha"].values()) <= 1


def test_a_trace_of_a_model_that_is_not_fused(tiny_llama, run):
    code, _, err = run("chat", tiny_llama, "--trace")
    assert code == 2
    assert "only a fused model has a trace" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--solver", "newtn"], "newton"),
        (["--target", "mean"], "unknown target"),
        (["--alpha", "1"], "--solver is static"),
        (["--solver", "static", "--alpha", "1,x"], "'x'"),
        (["--solver", "static", "--alpha", "1,2,3"], "2 experts"),
        (["--expert", "nowhere/other"], "nowhere"),
        (["--expert", "large=somewhere"], "large"),
    ],
)
def test_bad_input_is_explained(tiny_llama, parts, tmp_path, run, more, message):
    code, _, err = run(*fuse_words(tiny_llama, parts, tmp_path / "fused", *more))
    assert (code, message in err) == (2, True), err
    assert not (tmp_path / "fused").exists()


def test_what_stands_there_is_kept_unless_told(tiny_llama, parts, tmp_path, run):
    (tmp_path / "fused").mkdir()
    (tmp_path / "fused" / "mine.txt").write_text("mine")
    code, _, err = run(*fuse_words(tiny_llama, parts, tmp_path / "fused"))
    assert code == 2
    assert "--overwrite" in err
    assert (tmp_path / "fused" / "mine.txt").exists()
    assert run(*fuse_words(tiny_llama, parts, tmp_path / "fused", "--overwrite"))[0] == 0
    assert not (tmp_path / "fused" / "mine.txt").exists()


def test_an_expert_of_another_base_is_refused(tiny_llama, parts, tmp_path, run):
    words = ["--large", tiny_llama, "--small", tiny_llama, "--expert", parts / "news"]
    code, _, err = run("fuse", *words, "--output", tmp_path / "fused")
    assert code == 2
    assert "is an adapter of" in err
    assert "--small" in err


def test_a_part_that_is_gone_is_named(tiny_llama, parts, tmp_path, run):
    moved = tmp_path / "expert"
    moved.write_bytes(b"")
    moved.unlink()
    (parts / "news").rename(moved)
    try:
        words = ["--large", tiny_llama, "--small", parts / "small", "--expert", moved, "--output", tmp_path / "fused"]
        assert run("fuse", *words, "--reference")[0] == 0
    finally:
        moved.rename(parts / "news")
    code, _, err = run("generate", tmp_path / "fused", "hello")
    assert code == 2
    assert str(moved) in err


def test_a_missing_weight_file_is_named(tiny_llama, parts, tmp_path, run):
    assert run(*fuse_words(tiny_llama, parts, tmp_path / "fused"))[0] == 0
    (tmp_path / "fused" / "model.safetensors").unlink()
    code, _, err = run("generate", tmp_path / "fused", "hello")
    assert code == 2
    assert "model.safetensors is missing" in err
