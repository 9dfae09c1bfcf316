import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from intarsia.errors import ModelError
from intarsia.models import load_causal_lm, local_folder, resolve
from intarsia.models.gguf import converted_gguf


@pytest.fixture(scope="module")
def converted(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny GGUF file, converted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTARSIA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return local_folder(gguf_file)


def test_conversion_keeps_every_logit(converted: Path, gguf_file: Path) -> None:
    direct = AutoModelForCausalLM.from_pretrained(str(gguf_file.parent), gguf_file=gguf_file.name, dtype=torch.float32)
    model = load_causal_lm(converted, device="cpu").model
    ids = torch.arange(3, 20)[None]
    torch.testing.assert_close(model(ids).logits, direct.eval()(ids).logits, rtol=0, atol=0)


def test_converted_weights_are_those_of_the_file(converted: Path, gguf_file: Path) -> None:
    import gguf

    stored = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(gguf_file).tensors}
    weights = load_causal_lm(converted, device="cpu").model.state_dict()
    np.testing.assert_array_equal(weights["model.embed_tokens.weight"], stored["token_embd.weight"])
    np.testing.assert_array_equal(weights["model.layers.1.mlp.down_proj.weight"], stored["blk.1.ffn_down.weight"])
    # GGUF interleaves the two halves that rotary embedding pairs, within each head.
    query = stored["blk.0.attn_q.weight"].reshape(2, 8, 2, 32).swapaxes(1, 2).reshape(32, 32)
    np.testing.assert_array_equal(weights["model.layers.0.self_attn.q_proj.weight"], query)


def test_tokenizer_knows_special_tokens_template_and_length(converted: Path) -> None:
    model, tokenizer = load_causal_lm(converted, device="cpu")
    assert [tokenizer.encode(token) for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")] == [[0], [1], [2]]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert "assistant" in tokenizer.chat_template
    assert tokenizer.model_max_length == 64
    assert model.generation_config.eos_token_id == model.generation_config.pad_token_id == 2
    text = "hi  there, é 日本\n\n12 <|im_end|>"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_digits_are_split_from_the_spaces_before_them(converted: Path) -> None:
    tokenizer = load_causal_lm(converted, device="cpu").tokenizer
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]


def test_converted_model_can_be_saved_and_trained(converted: Path, tmp_path: Path) -> None:
    model = load_causal_lm(converted, device="cpu").model
    model(torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss.backward()
    assert model.get_input_embeddings().weight.grad is not None
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").is_file()


def test_conversion_happens_once_and_says_so(
    gguf_file: Path, cache: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="intarsia"):
        first = local_folder(gguf_file)
        written = (first / "model.safetensors").stat().st_mtime_ns
        assert local_folder(gguf_file) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    assert [record.message for record in caplog.records if str(gguf_file) in record.message] == [
        f"converting {gguf_file} to safetensors; this happens once and can take half a minute"
    ]
    assert "%|" not in capfd.readouterr().err
    assert first.is_relative_to(cache)


def test_source_names_the_file_not_the_cache(gguf_file: Path, cache: Path) -> None:
    assert resolve(gguf_file).path is None
    folder = local_folder(gguf_file)
    source = resolve(gguf_file)
    assert (source.kind, source.ref, source.path, source.licence) == ("gguf", str(gguf_file), folder, "apache-2.0")
    assert load_causal_lm(gguf_file, device="cpu").model.name_or_path == str(gguf_file)


def test_a_changed_file_is_converted_again(gguf_file: Path, tmp_path: Path, cache: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(gguf_file.read_bytes())
    before = converted_gguf(copy)
    assert converted_gguf(copy) == before
    os.utime(copy, ns=(1, 1))
    assert converted_gguf(copy) != before


def test_not_a_gguf_file(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "fake.gguf"
    file.write_bytes(b"PK not at all")
    with pytest.raises(ModelError, match="not a GGUF file") as caught:
        local_folder(file)
    assert caught.value.where == str(file)


@pytest.mark.parametrize(
    ("problem", "message"), [("architecture", "perceptron"), ("layers", r"lacks model\.layers\.2\.")]
)
def test_file_that_cannot_be_converted(
    strange_gguf_files: dict[str, Path], cache: Path, problem: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        local_folder(strange_gguf_files[problem])
    assert caught.value.where == str(strange_gguf_files[problem])


@pytest.mark.parametrize("keep", [4, 30, 3000, 40_000])
def test_truncated_file_leaves_nothing_behind(gguf_file: Path, tmp_path: Path, cache: Path, keep: int) -> None:
    file = tmp_path / "short.gguf"
    file.write_bytes(gguf_file.read_bytes()[:keep])
    with pytest.raises(ModelError, match="GGUF file cannot be read") as caught:
        local_folder(file)
    assert caught.value.where == str(file)
    assert [path.name for path in (cache / "models").iterdir() if path.suffix != ".lock"] == []


def test_damaged_conversion_tells_to_delete_it(gguf_file: Path, cache: Path) -> None:
    folder = local_folder(gguf_file)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="damaged") as caught:
        local_folder(gguf_file)
    assert caught.value.fix == f"delete {folder}: it is made again"


def test_leftovers_of_a_killed_conversion_are_removed(gguf_file: Path, cache: Path) -> None:
    folder = converted_gguf(gguf_file)
    leftover = folder.parent / f".{folder.name}.abc.tmp"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    local_folder(gguf_file)
    assert not leftover.exists()


@pytest.mark.slow
def test_two_processes_convert_once(gguf_file: Path, cache: Path) -> None:
    script = """
import sys, torch, transformers
from intarsia.models import load_causal_lm
print("ready", flush=True)
input()
print(load_causal_lm(sys.argv[1], device="cpu").model(torch.tensor([[5, 6]])).logits.sum().item())
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(gguf_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0][0] == answers[1][0] != ""
    assert sum("converting" in errors for _, errors in answers) == 1
    assert len([path for path in (cache / "models").iterdir() if path.is_dir()]) == 1
