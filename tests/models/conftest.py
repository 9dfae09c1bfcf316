"""Tiny models of every kind a model argument can name. Built once a session, in well under a second each."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DIM, LAYERS, HEADS = 32, 2, 2


def vocabulary() -> tuple[list[str], list[str]]:
    """Byte-level tokens and merges: every byte, a double space, a word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["Ġ Ġ", "h i"]
    return [*SPECIAL, *alphabet, *(merge.replace(" ", "") for merge in merges)], merges


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokens, merges = vocabulary()
    backend = Tokenizer(
        BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[tuple(merge.split()) for merge in merges])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        unk_token=SPECIAL[0],
        pad_token=SPECIAL[2],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary()[0]),
        hidden_size=DIM,
        intermediate_size=2 * DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


def save_model(folder: Path) -> Path:
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def write_gguf(file: Path, *, architecture: str = "llama", layers: int = LAYERS) -> Path:
    """Writes a tiny random Llama as GGUF, with tokenizer and chat template, as llama.cpp would.

    Its header promises `layers` layers; the file holds `LAYERS`.
    """
    import gguf

    rng = np.random.default_rng(0)
    tokens, merges = vocabulary()
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(DIM)
    writer.add_feed_forward_length(2 * DIM)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(DIM // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(CHAT_TEMPLATE)
    kv = DIM // HEADS
    shapes = {"token_embd.weight": (len(tokens), DIM), "output_norm.weight": (DIM,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (DIM,),
            f"blk.{layer}.ffn_norm.weight": (DIM,),
            f"blk.{layer}.attn_q.weight": (DIM, DIM),
            f"blk.{layer}.attn_k.weight": (kv, DIM),
            f"blk.{layer}.attn_v.weight": (kv, DIM),
            f"blk.{layer}.attn_output.weight": (DIM, DIM),
            f"blk.{layer}.ffn_gate.weight": (2 * DIM, DIM),
            f"blk.{layer}.ffn_up.weight": (2 * DIM, DIM),
            f"blk.{layer}.ffn_down.weight": (DIM, 2 * DIM),
        }
    for name, shape in shapes.items():
        writer.add_tensor(name, rng.normal(0, 0.1, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal LM with tokenizer. Read only."""
    return save_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A tiny causal LM of one's own, to break."""
    return save_model(tmp_path / "model")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("INTARSIA_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def strange_gguf_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """GGUF files that are whole but cannot be used. Read only."""
    folder = tmp_path_factory.mktemp("strange")
    return {
        "architecture": write_gguf(folder / "architecture.gguf", architecture="perceptron"),
        "layers": write_gguf(folder / "layers.gguf", layers=LAYERS + 1),
    }


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GGUF file. Read only."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
