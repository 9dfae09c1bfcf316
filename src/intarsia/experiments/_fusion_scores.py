"""Answers of fused models, from logits that every model computes once for all systems that are compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.finetune.examples import Example
from intarsia.fusion import AlphaResult, SolverConfig, fuse_logits
from intarsia.models.lower_states import batches_by_length, pad_left
from intarsia.models.scoring import position_ids

_TOKENS_PER_BATCH = 2048


@dataclass(frozen=True)
class AnswerLogits:
    """The logits of all models at all answer tokens of some rows.

    Attributes:
        expected: The answers' tokens, one after the other.
        row: Which row each belongs to.
        logits: By model, `[tokens, vocab]`.
    """

    expected: Tensor
    row: Tensor
    logits: dict[str, Tensor]


@torch.no_grad()
def answer_logits(
    model: Any, rows: Sequence[Example], progress: Callable[[int], None] | None = None
) -> Float[Tensor, "tokens vocab"]:
    """Computes a model's logits where it is to write the answers, given the prompt and the answer so far."""
    found: dict[int, Tensor] = {}
    device = next(model.parameters()).device
    for batch in batches_by_length([len(row["input_ids"]) for row in rows], _TOKENS_PER_BATCH):
        ids, mask = pad_left([torch.tensor(rows[index]["input_ids"]) for index in batch])
        longest = max(len(rows[index]["answer"]) for index in batch)
        logits = model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=position_ids(mask).to(device),
            logits_to_keep=longest,
            use_cache=False,
        ).logits.cpu()
        for place, index in enumerate(batch):
            found[index] = logits[place, longest - len(rows[index]["answer"]) :].clone()
        if progress is not None:
            progress(len(batch))
    return torch.cat([found[index] for index in range(len(rows))])


def gather(rows: Sequence[Example], logits: dict[str, Tensor]) -> AnswerLogits:
    """Puts what `answer_logits` gave for several models together."""
    expected = torch.tensor([token for row in rows for token in row["answer"]])
    row = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(row["answer"]) for row in rows]))
    width = min(values.shape[-1] for values in logits.values())
    return AnswerLogits(expected, row, {name: values[:, :width] for name, values in logits.items()})


def judge(answers: AnswerLogits, logits: Float[Tensor, "tokens vocab"]) -> dict[str, list[float]]:
    """Whether greedy decoding writes exactly each answer, and the answer's log-probability in nats per token."""
    right = logits.argmax(-1) == answers.expected
    log_probs = logits.float().log_softmax(-1).gather(-1, answers.expected[:, None])[:, 0]
    count = int(answers.row[-1]) + 1
    tokens = torch.bincount(answers.row, minlength=count)
    exact = torch.bincount(answers.row, weights=right.double(), minlength=count) == tokens
    mean = torch.bincount(answers.row, weights=log_probs.double(), minlength=count) / tokens
    return {"exact": exact.double().tolist(), "log_prob": mean.tolist()}


def judge_fused(
    answers: AnswerLogits, experts: Sequence[str], solver: SolverConfig, *, prior: Tensor | None = None
) -> dict[str, Any]:
    """Judges the fusion of the large model with some experts; also says what alpha did.

    Args:
        answers: With logits of `large`, `small` and the experts.
        experts: Their names.
        solver: How alpha is found.
        prior: Weights of the experts for each row.
    """
    logits = answers.logits
    weights = None if prior is None else prior[answers.row]
    fused, result = fuse_logits(
        logits["large"], logits["small"], [logits[name] for name in experts], solver, prior=weights
    )
    return {**judge(answers, fused), "alpha": _summary(result, experts), "alphas": result.alpha.amax(-1).tolist()}


def divergence_from_large(answers: AnswerLogits) -> float:
    """Mean of KL(P || Q) over answer tokens, in nats: how well the small base knows the large model."""
    large, small = (answers.logits[name].float().log_softmax(-1) for name in ("large", "small"))
    return float((large.exp() * (large - small)).sum(-1).mean())


def prior_of(texts: Mapping[str, Sequence[str]], asked: Sequence[str]) -> Float[Tensor, "rows tasks"]:
    """Weights of the tasks for each text: a linear classifier on words, trained on texts of each task."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    router = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000))
    known = [(text, index) for index, name in enumerate(texts) for text in texts[name]]
    router.fit([text for text, _ in known], [index for _, index in known])
    return torch.tensor(router.predict_proba(list(asked)), dtype=torch.float32)


def _summary(result: AlphaResult, experts: Sequence[str]) -> dict[str, Any]:
    alpha = result.alpha.amax(-1).numpy()
    return {
        "mean": float(alpha.mean()),
        "quantiles": [float(value) for value in np.quantile(alpha, (0.1, 0.5, 0.9))],
        "at_bound": float(result.at_bound.double().mean()),
        "saturated": float(result.saturated.double().mean()),
        "loss": float(result.loss.mean()),
        "chosen": {name: float((result.expert == index).double().mean()) for index, name in enumerate(experts)},
    }
