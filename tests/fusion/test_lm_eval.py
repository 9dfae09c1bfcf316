"""EleutherAI's harness scores a fused model as any other."""

import pytest
import torch

from intarsia.finetune import keep_layers
from intarsia.fusion import SolverConfig, fuse_models, save_fused
from intarsia.models import load_causal_lm


def test_the_harness_gives_the_models_own_log_probabilities(tiny_llama, tmp_path):
    huggingface = pytest.importorskip("lm_eval.models.huggingface", reason="needs the eval extra")
    from lm_eval.api.instance import Instance

    base, tokenizer = load_causal_lm(tiny_llama, device="cpu")
    for seed, name in enumerate(("small", "expert")):
        part = keep_layers(base, [0, 3])
        torch.manual_seed(seed)
        with torch.no_grad():
            part.model.layers[1].mlp.down_proj.weight += 0.2 * torch.randn_like(
                part.model.layers[1].mlp.down_proj.weight
            )
        part.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    fused = fuse_models(
        tiny_llama, tmp_path / "small", {"a": tmp_path / "expert"}, solver=SolverConfig("newton"), device="cpu"
    )
    save_fused(fused, tmp_path / "fused")
    harness = huggingface.HFLM(pretrained=str(tmp_path / "fused"), device="cpu", dtype="float32", batch_size=2)
    assert type(harness.model).__name__ == "LogitFusionForCausalLM"
    pairs = [("oil prices", " rose"), ("wheat", " exports fell"), ("a long story about", " tin")]
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    scored = harness.loglikelihood(requests, disable_tqdm=True)
    for (prompt, answer), (value, _) in zip(pairs, scored, strict=True):
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        both = tokenizer(prompt + answer, add_special_tokens=False, return_tensors="pt").input_ids
        own = fused.model.score(ids, both[:, ids.shape[1] :])
        assert value == pytest.approx(float(own.total), abs=1e-3)
        assert abs(float(own.total) - float(_plain(base, ids, both))) > 1e-2, "fusion changes something"


def _plain(model, prompt, both):
    with torch.no_grad():
        log_probs = model(both).logits.log_softmax(-1)[0, prompt.shape[1] - 1 : -1]
    return log_probs.gather(-1, both[0, prompt.shape[1] :, None]).sum()
