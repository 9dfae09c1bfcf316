"""A tiny language model with words in its vocabulary, a lexicon that knows some of them, and text."""

import gzip
from pathlib import Path

import pytest
import torch

from intarsia.models import CausalLM

WORDS = [
    "dog",
    "cat",
    "goose",
    "walk",
    "happy",
    "the",
    "a",
    "and",
    "sees",
    "runs",
    "big",
    "small",
    "red",
    "green",
    "house",
]
TEXT = [
    "the dog sees a small cat and the cat runs",
    "a big bird likes the green river and the red stone",
    "the happy goose finds a house and walks to the river",
    "dogs and cats like to walk, and geese run on the stones",
    "the small red bird sees the big green house and the dog finds the goose",
]

LEXICON = [
    ("dog", "n", "1", "9", "noun.animal", "animal breed"),
    ("cat", "n", "1", "8", "noun.animal", "animal fur"),
    ("goose", "n", "1", "7", "noun.animal", "bird water"),
    ("bird", "n", "1", "7", "noun.animal", "animal wing"),
    ("river", "n", "1", "5", "noun.object", "water"),
    ("walk", "v", "1", "5", "verb.motion", "foot step"),
    ("house", "n", "1", "5", "noun.artifact", "building"),
]


@pytest.fixture(scope="session")
def word_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama of 2 layers and width 24 whose byte-level BPE has whole words."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(WORDS), *TEXT] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=special[1], eos_token=special[2], pad_token=special[0]
    )
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>{% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    folder = tmp_path_factory.mktemp("tiny") / "word_llama"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def original(word_llama: Path) -> CausalLM:
    """The tiny model, loaded."""
    from intarsia.models import load_causal_lm

    return load_causal_lm(word_llama, device="cpu")


@pytest.fixture(scope="session")
def lexicon(tmp_path_factory: pytest.TempPathFactory) -> str:
    """File of a lexicon of seven words."""
    path = tmp_path_factory.mktemp("lexicon") / "lexicon.tsv.gz"
    head = ("lemma", "pos", "sense", "tag_count", "lexname", "sememes")
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines("\t".join(row) + "\n" for row in (head, *LEXICON))
    return str(path)


@pytest.fixture
def text() -> list[str]:
    """Sentences of the words the tiny tokenizer knows, enough for some rows."""
    return TEXT * 8
