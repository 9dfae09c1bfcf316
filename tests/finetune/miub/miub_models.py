"""Tiny random models with trained-looking adapters, and batches for them."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

VOCABULARY = 97


def tiny_llama(**settings):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return adapted(LlamaForCausalLM(config), **{"target_modules": ["q_proj", "v_proj"], **settings})


def tiny_bert(**settings):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    return adapted(BertModel(config), **{"target_modules": ["query", "value"], **settings})


def adapted(model, *, adapter="default", **settings):
    lora = LoraConfig(**{"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, **settings})
    return trained(get_peft_model(model, lora, adapter_name=adapter))


def trained(model, adapter=None):
    """Gives every B weights, as training would."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name and (adapter is None or f".{adapter}." in name):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def token_batches(count=4, rows=5, length=12, seed=0, left=False):
    """Batches of different lengths, with padding inside each."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for number in range(count):
        seq = length + number
        ids = torch.randint(3, VOCABULARY, (rows, seq), generator=generator)
        mask = torch.ones(rows, seq, dtype=torch.long)
        for row in range(rows):
            padding = (row + number) % 4
            if padding:
                mask[row, slice(None, padding) if left else slice(-padding, None)] = 0
        batches.append({"input_ids": ids * mask, "attention_mask": mask})
    return batches
