"""Running the upper layers on stored states gives the whole model's results, to rounding."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertModel, LlamaForCausalLM

from intarsia.errors import ModelError
from intarsia.models.lower_states import (
    batches_by_length,
    decoder_layers,
    is_exact,
    pad_left,
    states_entering,
    store_lower_states,
    upper_layers_only,
)
from intarsia.models.scoring import position_ids

SEQUENCES = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [14], [15, 16, 17, 18]]


@pytest.fixture
def model(tiny_llama):
    return LlamaForCausalLM.from_pretrained(tiny_llama).eval()


@pytest.mark.parametrize("first", [0, 1, 3])
def test_upper_layers_on_states_equal_the_whole_model(model, first):
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    mask = torch.ones_like(ids)
    whole = model(input_ids=ids, attention_mask=mask).logits
    states = states_entering(model, first, ids, mask)
    with upper_layers_only(model, first):
        upper = model(inputs_embeds=states, attention_mask=mask).logits
    torch.testing.assert_close(upper, whole)
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, whole)


def test_stored_states_padded_left_give_each_rows_own_logits(model, tmp_path):
    stored = store_lower_states(model, 2, SEQUENCES, tmp_path, tokens_per_batch=8)
    padded, mask = pad_left([stored[index] for index in range(len(stored))])
    with torch.no_grad(), upper_layers_only(model, 2):
        together = model(inputs_embeds=padded, attention_mask=mask, position_ids=position_ids(mask)).logits[:, -1]
    for row, sequence in enumerate(SEQUENCES):
        alone = model(input_ids=torch.tensor([sequence])).logits[0, -1]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-4)


def test_states_are_computed_once_and_not_mixed_up(model, tmp_path):
    store_lower_states(model, 2, SEQUENCES, tmp_path)
    file = next(tmp_path.glob("*.npy"))
    changed = file.stat().st_mtime_ns
    store_lower_states(model, 2, SEQUENCES, tmp_path)
    assert file.stat().st_mtime_ns == changed
    store_lower_states(model, 1, SEQUENCES, tmp_path)
    with torch.no_grad():
        decoder_layers(model)[0].mlp.up_proj.weight.add_(1)
    store_lower_states(model, 2, SEQUENCES, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_a_killed_computation_leaves_no_file(model, tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_lower_states(model, 2, SEQUENCES, tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_adapter_names_are_those_outside_the_context(model):
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], layers_to_transform=[2, 3]))
    outside = [name for name, _ in adapted.named_parameters() if "lora" in name]
    with upper_layers_only(adapted, 2):
        inside = [name for name, _ in adapted.named_parameters() if "lora" in name]
    assert inside == outside


def test_exactness_is_checked_not_assumed(model):
    assert is_exact(model, 2)
    model.model.embed_tokens.register_forward_hook(lambda *args: args[-1] * 2)
    # The embedding is below the stored states, so scaling it changes both ways alike.
    assert is_exact(model, 2)
    # A model whose upper layers look at the lower ones is another matter.
    lower = model.model.layers[0]
    model.model.layers[3].register_forward_pre_hook(
        lambda _, args: (args[0] * 2,) if model.model.layers[0] is lower else args
    )
    assert not is_exact(model, 2)


def test_a_model_without_decoder_layers_is_refused():
    with pytest.raises(ModelError, match="decoder layers"):
        decoder_layers(torch.nn.Linear(2, 2))
    encoder = BertModel(BertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=1, intermediate_size=8))
    assert not is_exact(encoder, 1)


def test_batches_hold_every_row_once_within_the_budget():
    lengths = list(np.random.default_rng(0).integers(1, 50, size=200))
    batches = batches_by_length(lengths, 128)
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    assert all(max(lengths[i] for i in batch) * len(batch) <= 128 for batch in batches)
    assert batches_by_length([500], 128) == [[0]]
    assert batches_by_length([], 128) == []
