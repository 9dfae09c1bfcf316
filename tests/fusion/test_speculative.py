"""Speculation changes nothing but the time: the same tokens when greedy, the same distribution when sampling."""

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from intarsia.errors import InputError, ModelError
from intarsia.fusion import FusionTrace, speculative
from intarsia.fusion.speculative import DraftLength, accept_or_replace, draft_cost, first_mismatch


@pytest.fixture(autouse=True)
def always_drafting(monkeypatch):
    """Random models agree too rarely for drafts to pay; the tests are about what becomes of drafts."""
    monkeypatch.setattr(speculative, "_PROBE", 1)


def both(model: Any, inputs: dict[str, Tensor], **settings: Any) -> tuple[Any, Any]:
    settings = {"max_new_tokens": 16, "do_sample": False} | settings
    return model.generate(**inputs, **settings), model.generate(**inputs, **settings, speculative=True)


# Greedy


def test_the_same_tokens_for_a_hundred_prompts(fused, two, bank, windowed, kit):
    kinds: dict[str, Any] = {"one": fused, "two": two, "adapters": bank.together, "windowed": windowed}
    accepted = 0
    for number, (name, model) in enumerate(kinds.items()):
        # 13 single rows and 4 batches of three, some of them longer than the window.
        lengths = [[3 + index] for index in range(13)] + [[2 + index, 9, 14 - index] for index in range(4)]
        for index, batch in enumerate(lengths):
            inputs = kit["prompts"](batch, seed=100 * number + index)
            trace = FusionTrace()
            plain = model.generate(**inputs, max_new_tokens=10, do_sample=False)
            fast = model.generate(**inputs, max_new_tokens=10, do_sample=False, speculative=True, trace=trace)
            assert torch.equal(plain, fast), (name, index)
            accepted += trace.accepted
    assert accepted > 100


def test_the_same_tokens_with_contexts_and_a_prior(bank, two, kit):
    inputs = kit["prompts"]([5, 9])
    for model, names in ((bank.together, ("small", "y")), (two, ("small", "b"))):
        experts = len(model.config.experts)
        prior = torch.rand(2, experts, generator=torch.Generator().manual_seed(0)).softmax(-1)
        contexts = {names[0]: kit["prompts"]([4, 3], seed=1), names[1]: kit["prompts"]([6, 12], seed=2)}
        for extra in ({"prior": prior}, {"contexts": contexts}, {"prior": prior, "contexts": contexts}):
            plain, fast = both(model, inputs, **extra)
            assert torch.equal(plain, fast), extra.keys()


def test_a_window_that_is_passed_while_speculating(windowed, kit):
    # The prompts are shorter than the window of eight, the texts several times as long.
    for lengths in ([3], [2, 6, 4]):
        plain, fast = both(windowed, kit["prompts"](lengths), max_new_tokens=40)
        assert torch.equal(plain, fast)


def test_processors_that_read_the_text(fused, two, kit):
    inputs = kit["prompts"]([4, 7])
    for settings in (
        {"repetition_penalty": 1.8},
        {"no_repeat_ngram_size": 2},
        {"min_new_tokens": 9, "eos_token_id": [5, 6, 7, 8, 9, 10]},
        {"bad_words_ids": [[5], [6, 7]]},
    ):
        for model in (fused, two):
            plain, fast = both(model, inputs, **settings)
            assert torch.equal(plain, fast), settings


def test_it_ends_where_plain_generation_ends(two, kit):
    for seed in range(3):
        inputs = kit["prompts"]([4, 7, 5], seed=seed)
        free = two.generate(**inputs, max_new_tokens=16, do_sample=False)
        # Tokens that do occur, so that rows end at different places within drafts.
        for position in (0, 3, 7):
            ends = sorted({int(token) for token in free[:2, 7 + position]})
            plain, fast = both(two, inputs, eos_token_id=ends)
            assert torch.equal(plain, fast)
        for limit in (1, 2, 3, 5, 7):
            plain, fast = both(two, inputs, max_new_tokens=limit)
            assert torch.equal(plain, fast)
            assert fast.shape[1] <= 7 + limit


def test_scores_are_those_of_plain_generation(two, kit):
    for settings in ({}, {"repetition_penalty": 1.5}):
        plain, fast = both(
            two,
            kit["prompts"]([4, 7]),
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            # Rows that have ended go on unseen, and need not do so alike.
            eos_token_id=99,
            **settings,
        )
        assert torch.equal(plain.sequences, fast.sequences)
        assert len(plain.scores) == len(fast.scores) == len(fast.logits)
        for name in ("scores", "logits"):
            for one, other in zip(getattr(plain, name), getattr(fast, name), strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


class Collector:
    """A streamer."""

    def __init__(self) -> None:
        self.pieces: list[list[int]] = []
        self.ended = 0

    def put(self, value: Tensor) -> None:
        self.pieces.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended += 1


def test_the_streamer_gets_every_token_once(fused, kit):
    inputs = kit["prompts"]([6])
    plain, fast = Collector(), Collector()
    text = fused.generate(**inputs, max_new_tokens=12, do_sample=False, streamer=plain)
    fused.generate(**inputs, max_new_tokens=12, do_sample=False, streamer=fast, speculative=True)
    assert (
        fast.pieces == plain.pieces == [inputs["input_ids"][0].tolist(), *([token] for token in text[0, 6:].tolist())]
    )
    assert fast.ended == plain.ended == 1


def test_a_stopping_string_ends_it(tiny_llama, kit):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    large = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    model = kit["fuse"](large, large, {"a": kit["tuned"](large, 1, 0.02)})
    inputs = tokenizer("abc", return_tensors="pt")
    free = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    texts = [tokenizer.decode([token]) for token in free]
    stop = next(text for text in texts[2:] if text.isascii())
    plain, fast = both(model, inputs, stop_strings=[stop], tokenizer=tokenizer)
    assert torch.equal(plain, fast)
    assert plain.shape[1] == inputs["input_ids"].shape[1] + texts.index(stop) + 1


def test_the_trace_is_that_of_plain_generation(two, kit):
    inputs = kit["prompts"]([4, 7])
    free = two.generate(**inputs, max_new_tokens=12, do_sample=False)
    for end in (None, int(free[0, 7 + 4])):
        slow, fast = FusionTrace(), FusionTrace()
        settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": end}
        two.generate(**inputs, **settings, trace=slow)
        two.generate(**inputs, **settings, trace=fast, speculative=True)
        assert [len(row) for row in slow.rows] == [len(row) for row in fast.rows]
        assert [[step.token for step in row] for row in slow.rows] == [
            [step.token for step in row] for row in fast.rows
        ]
        torch.testing.assert_close(torch.tensor(slow.alphas()), torch.tensor(fast.alphas()), rtol=0, atol=1e-3)
        assert 0 < fast.accepted <= fast.drafted
        assert (slow.drafted, slow.accepted) == (0, 0)
        assert fast.experts == ["a", "b"]
        assert fast.summary()["accepted"] == fast.accepted


# Accepting and replacing


def test_accepted_or_replaced_tokens_have_the_targets_distribution():
    target = torch.tensor([0.5, 0.2, 0.3, 0.0])
    for proposal in (
        torch.tensor([0.1, 0.2, 0.3, 0.4]),
        torch.tensor([0.5, 0.2, 0.3, 0.0]),
        torch.tensor([0.97, 0.01, 0.01, 0.01]),
    ):
        torch.manual_seed(0)
        draws = 20_000
        rows = target.expand(draws, -1), proposal.expand(draws, -1)
        tokens = torch.multinomial(proposal, draws, replacement=True)
        accepted, other = accept_or_replace(*rows, tokens)
        written = torch.where(accepted, tokens, other).bincount(minlength=4)
        assert int(written[3]) == 0
        assert chisquare(written[:3].numpy(), (draws * target[:3]).numpy()).pvalue > 1e-3
        # Accepted as often as can be: what the two distributions have in common.
        share = float(torch.minimum(target, proposal).sum())
        assert abs(float(accepted.float().mean()) - share) < 0.02


def test_first_mismatch_counts_what_agrees_before_it():
    agreed = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]]).bool()
    assert first_mismatch(agreed).tolist() == [2, 0, 4]
    assert first_mismatch(agreed[:, :0]).tolist() == [0, 0, 0]


# Sampling


def exact_distribution(model: Any, prompt: list[int], vocabulary: int, length: int, processors: list[Any]) -> Tensor:
    """Probability of every sequence of this length, from the fused model's own logits."""
    sequences = list(itertools.product(range(vocabulary), repeat=length))
    ids = torch.tensor([[*prompt, *sequence] for sequence in sequences])
    logits = model(ids).logits
    probability = torch.ones(len(sequences), dtype=torch.float64)
    for position in range(length):
        scores = logits[:, len(prompt) + position - 1].float()
        for processor in processors:
            scores = processor(ids[:, : len(prompt) + position], scores)
        probability *= scores.double().softmax(-1).gather(-1, ids[:, len(prompt) + position, None])[:, 0]
    return probability


@pytest.mark.parametrize(
    ("experts", "settings", "processors"),
    [
        (1, {}, []),
        (2, {"temperature": 0.6, "top_p": 0.9}, [TemperatureLogitsWarper(0.6), TopPLogitsWarper(0.9)]),
    ],
)
def test_sampled_texts_have_the_plain_distribution(kit, experts, settings, processors):
    # Five tokens, so that all 125 texts of three can be listed.
    small = kit["llama"](1, 1, vocab_size=5)
    large = kit["deepened"](small, 0)
    tuned = {name: kit["tuned"](small, 2 + index, 0.3) for index, name in enumerate("ab"[:experts])}
    model = kit["fuse"](large, small, tuned)
    prompt = [3, 4, 3]
    expected = exact_distribution(model, prompt, 5, 3, processors)
    torch.testing.assert_close(expected.sum(), torch.ones((), dtype=torch.float64))
    # Rows advance together; with few of them drafts are kept for long, with many all cases occur.
    for seed, (rows, calls) in enumerate(((1, 100), (3, 60), (500, 8))):
        torch.manual_seed(seed)
        trace = FusionTrace()
        counts: Counter[tuple[int, ...]] = Counter()
        for _ in range(calls):
            written = model.generate(
                torch.tensor([prompt]),
                max_new_tokens=3,
                do_sample=True,
                top_k=0,
                eos_token_id=99,
                num_return_sequences=rows,
                speculative=True,
                trace=trace,
                **settings,
            )
            counts.update(tuple(row) for row in written[:, 3:].tolist())
        observed = torch.tensor([counts[text] for text in itertools.product(range(5), repeat=3)]).double()
        wanted = expected * rows * calls
        # The test needs some expected texts in each cell; rare ones share one.
        rare = wanted < 5
        assert float(observed[wanted == 0].sum()) == 0
        cells = torch.cat([observed[~rare], observed[rare].sum()[None]])
        means = torch.cat([wanted[~rare], wanted[rare].sum()[None]])
        cells, means = cells[means > 0], means[means > 0]
        assert chisquare(cells.numpy(), means.numpy()).pvalue > 1e-3, (rows, calls)
        if rows < 500:
            assert 0 < trace.accepted < trace.drafted


def test_the_same_seed_gives_the_same_text(two, kit):
    inputs = kit["prompts"]([4, 7])
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        texts.append(two.generate(**inputs, max_new_tokens=12, do_sample=True, speculative=True))
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])


# How much to draft


def test_more_is_drafted_the_more_is_accepted_and_the_less_it_costs(monkeypatch):
    monkeypatch.setattr(speculative, "_PROBE", 16)
    length = DraftLength(8, cost=0.2)
    start = length.best()
    for _ in range(30):
        length.update(accepted=length.best(), drafted=length.best())
    assert length.best() > start
    assert length.best() == 8
    for _ in range(60):
        length.update(accepted=0, drafted=4)
    assert [length.best() for _ in range(16)] == [0] * 15 + [1], "one draft now and again"
    assert DraftLength(8, cost=0.2, wide=1.5).best() > DraftLength(8, cost=0.2).best(), "wide passes are to be filled"
    assert DraftLength(8, cost=2.0).best() < DraftLength(8, cost=0.05).best() <= 8
    assert DraftLength(1, cost=0.01).best() == 1


def test_the_rate_follows_what_was_checked_only():
    one, other = DraftLength(8, 0.2), DraftLength(8, 0.2)
    one.update(accepted=2, drafted=8)
    # Two kept and one rejected; the five after it were never looked at.
    other.update(accepted=2, drafted=3)
    assert one.rate == other.rate


def test_the_cost_of_a_draft_is_that_of_the_experts(fused, two):
    assert 0 < draft_cost(fused) < draft_cost(two) < 1


# Refusals


def test_a_cache_that_cannot_forget_is_refused_before_anything_is_written(kit, models):
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    torch.manual_seed(0)
    settings = Qwen3NextConfig(
        vocab_size=41,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        linear_num_key_heads=1,
        linear_num_value_heads=1,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        mlp_only_layers=[0, 1],
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    large = Qwen3NextForCausalLM(settings).eval()
    model = kit["fuse"](large, models["small"], {"a": models["expert"]})
    inputs = kit["prompts"]([6])
    streamer = Collector()
    with pytest.raises(ModelError, match=r"cache of large cannot forget tokens") as error:
        model.generate(**inputs, max_new_tokens=8, speculative=True, streamer=streamer)
    assert "speculative=False" in str(error.value.fix)
    assert streamer.pieces == [inputs["input_ids"][0].tolist()]
    # Without speculation it is a model like any other, with beams too.
    for beams in (1, 3):
        plain = model.generate(**inputs, max_new_tokens=8, do_sample=False, num_beams=beams)
        again = model.generate(**inputs, max_new_tokens=8, do_sample=False, num_beams=beams, use_cache=False)
        assert torch.equal(plain, again)


def test_beams_and_speculation_do_not_go_together(fused, kit):
    with pytest.raises(InputError, match="speculation does not go with beam search"):
        fused.generate(**kit["prompts"]([4]), num_beams=2, speculative=True)
