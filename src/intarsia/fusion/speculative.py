"""Speculative fusion: an expert drafts, and the models it is fused with check all drafted tokens in one pass.

The expert runs at every step anyway, so its drafts cost nothing extra; the large model and the small base read several
tokens at once instead of one by one. Alpha is solved for all positions together, and tokens are accepted by exact
speculative sampling (Leviathan et al., 2023, algorithm 1) against the fused distribution.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.generation import GenerateDecoderOnlyOutput

from intarsia.fusion.kl_solver import AlphaResult
from intarsia.fusion.stopping import EndOfContext

if TYPE_CHECKING:
    from intarsia.fusion.cache import FusedCache
    from intarsia.fusion.modeling import LogitFusionForCausalLM

# How many of the last drafted tokens the estimate of the acceptance rate is about, and how many it is given at first.
_WINDOW, _BELIEVED = 10, 2

# Tokens without drafts before one is tried again.
_PROBE = 16

# A processor takes this much longer for two to eight tokens than for one (SmolLM2-135M, two cores); on accelerators a
# few tokens cost what one costs.
_WIDE_ON_CPU = 1.2


class _Round(NamedTuple):
    """Drafted tokens and what is needed to check them."""

    tokens: Int[Tensor, "batch drafted"]
    scores: list[Float[Tensor, "batch vocab"]]
    expert_logits: dict[str, Float[Tensor, "batch positions vocab"]]


class DraftLength:
    """How many tokens to draft: the number that gives most tokens per cost at the acceptance rate seen so far.

    None, if drafts do not pay; then one is tried now and again. Only counts matter, no clock, so that the same seed
    gives the same text.

    Args:
        most: Upper limit.
        cost: Cost of drafting one token, in units of one pass of the models that check.
        wide: Cost of a pass over several tokens, in units of one over a single token.
    """

    def __init__(self, most: int, cost: float, wide: float = 1.0) -> None:
        self.most, self.cost, self.wide = most, cost, wide
        self.rate = 0.7
        self._seen = _BELIEVED
        self._idle = 0

    def update(self, accepted: int, drafted: int) -> None:
        """Learns from one round: `accepted` of `drafted` tokens were kept, the next one was not checked."""
        tried = min(accepted + 1, drafted)
        for index in range(tried):
            self._seen = min(self._seen + 1, _WINDOW)
            self.rate += (float(index < accepted) - self.rate) / self._seen

    def best(self) -> int:
        """Returns how many to draft now. Counts its calls: of those that say none, one in a while says one."""
        length = max(range(self.most + 1), key=self._tokens_per_cost)
        self._idle = 0 if length else self._idle + 1
        return length or int(self._idle % _PROBE == 0)

    def _tokens_per_cost(self, length: int) -> float:
        rate = min(self.rate, 0.99)
        tokens = (1 - rate ** (length + 1)) / (1 - rate)
        return tokens / ((self.wide if length else 1.0) + self.cost * (length + 1))


def speculate(
    model: "LogitFusionForCausalLM",
    input_ids: Int[Tensor, "batch seq"],
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    synced_gpus: bool = False,
    streamer: Any = None,
    **model_kwargs: Any,
) -> Any:
    """Generates by drafting and checking; what `generate(speculative=True)` calls instead of the usual loop.

    Rows advance together, by as many tokens as the row with the fewest accepted ones. That keeps each row's
    distribution exact, since it looks at no token that is thrown away.
    """
    mask, trace = model_kwargs.get("attention_mask"), model_kwargs.get("trace")
    prior, contexts = model_kwargs.get("prior"), model_kwargs.get("contexts")
    cache = model.new_cache(speculative=True)
    sample = bool(generation_config.do_sample)
    returned = bool(generation_config.return_dict_in_generate)
    keep_scores, keep_logits = (
        returned and bool(wanted) for wanted in (generation_config.output_scores, generation_config.output_logits)
    )
    scores: list[Tensor] = []
    raw: list[Tensor] = []
    unfinished = torch.ones(len(input_ids), dtype=torch.long, device=input_ids.device)
    has_end = any(hasattr(criterion, "eos_token_id") for criterion in stopping_criteria)
    pad = generation_config._pad_token_tensor

    def emit(ids: Tensor, tokens: Tensor, processed: Tensor, logits: Tensor) -> Tensor:
        nonlocal unfinished
        if keep_scores:
            scores.append(processed)
        if keep_logits:
            raw.append(logits)
        if has_end:
            tokens = tokens * unfinished + pad * (1 - unfinished)
        ids = torch.cat([ids, tokens[:, None]], -1)
        if streamer is not None:
            streamer.put(tokens.cpu())
        unfinished = unfinished & ~stopping_criteria(ids, tuple(scores) if keep_scores else None)
        return ids

    out = model.forward(
        input_ids,
        attention_mask=mask,
        position_ids=model_kwargs.get("position_ids"),
        past_key_values=cache,
        logits_to_keep=1,
        prior=prior,
        contexts=contexts,
        trace=trace,
    )
    cache.keep_past()
    # float32, as in the usual loop: what is a tie there must be one here.
    logits = out.logits[:, -1].float()
    processed = logits_processor(input_ids, logits)
    active = out.alpha[:, -1].argmax(-1)
    ids = emit(input_ids, _choose(processed, sample), processed, logits)
    wide = _WIDE_ON_CPU if input_ids.device.type == "cpu" else 1.0
    length = DraftLength(model.config.draft_tokens, draft_cost(model), wide)
    limits = [criterion.length for criterion in stopping_criteria if isinstance(criterion, EndOfContext)]
    limit = min([stopping_criteria.max_length or generation_config.max_length, *limits])
    while bool(unfinished.any()) and ids.shape[1] < limit:
        count = min(length.best(), limit - ids.shape[1] - 1)
        mask = _grown(mask, ids.shape[1])
        draft = _draft(model, cache, ids, mask, active, count, logits_processor, sample)
        logits, result = _check(model, cache, ids, mask, draft, prior)
        logits = logits.float()
        drafted = torch.cat([ids, draft.tokens], -1)
        verdicts = [
            logits_processor(drafted[:, : ids.shape[1] + index], logits[:, index]) for index in range(count + 1)
        ]
        choice, accepted = _judge(verdicts, draft, sample)
        kept = int(torch.where(unfinished.bool(), accepted, count).min())
        length.update(kept, count)
        if trace is not None:
            trace.drafted += count
            trace.accepted += kept
        for index in range(kept + 1):
            tokens = choice[:, index] if index == kept else draft.tokens[:, index]
            ids = emit(ids, tokens, verdicts[index], logits[:, index])
            if trace is not None:
                trace.add(AlphaResult(*(value[:, index] for value in result)))
            if not bool(unfinished.any()):
                break
        active = result.alpha[:, kept].argmax(-1)
        cache.crop(kept - count)
    if streamer is not None:
        streamer.end()
    if not returned:
        return ids
    return GenerateDecoderOnlyOutput(
        sequences=ids, scores=tuple(scores) if keep_scores else None, logits=tuple(raw) if keep_logits else None
    )


def draft_cost(model: "LogitFusionForCausalLM") -> float:
    """Cost of one step of the experts, in units of a step of the large model and the small base: weights read."""
    experts = sum(_weights(module) for module in model.experts.values())
    experts += _weights(model.small) if model.config.adapters else 0
    return experts / (_weights(model.large) + _weights(model.small))


def _weights(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _grown(mask: Tensor | None, length: int) -> Tensor | None:
    """The mask of all tokens so far; those that were generated are tokens."""
    if mask is None or mask.shape[1] >= length:
        return mask
    return torch.cat([mask, mask.new_ones(len(mask), length - mask.shape[1])], -1)


def _members(cache: "FusedCache", model: "LogitFusionForCausalLM", *, drafting: bool) -> list[str]:
    return [name for name in cache.members if (name == "adapters" or name in model.experts) is drafting]


def _draft(
    model: "LogitFusionForCausalLM",
    cache: "FusedCache",
    ids: Tensor,
    mask: Tensor | None,
    active: Int[Tensor, "batch"],
    count: int,
    logits_processor: Any,
    sample: bool,
) -> _Round:
    """Lets each row's active expert write `count` tokens; all experts read them, and one step more."""
    tokens, scores = ids, []
    steps: dict[str, list[Tensor]] = {name: [] for name in model.config.experts}
    for index in range(count + 1):
        mask = _grown(mask, tokens.shape[1])
        logits: dict[str, Tensor] = {}
        for member in _members(cache, model, drafting=True):
            logits |= model.read(member, cache, tokens[:, -1:], mask)
        for name, values in logits.items():
            steps[name].append(values)
        if index < count:
            experts = torch.stack([logits[name][:, -1] for name in model.config.experts])
            own = experts[active, torch.arange(len(active), device=active.device)].float()
            scores.append(logits_processor(tokens, own))
            tokens = torch.cat([tokens, _choose(scores[-1], sample)[:, None]], -1)
    return _Round(tokens[:, ids.shape[1] :], scores, {name: torch.cat(values, 1) for name, values in steps.items()})


def _check(
    model: "LogitFusionForCausalLM",
    cache: "FusedCache",
    ids: Tensor,
    mask: Tensor | None,
    draft: _Round,
    prior: Tensor | None,
) -> tuple[Float[Tensor, "batch positions vocab"], AlphaResult]:
    """Runs the models that did not draft over all drafted tokens, and fuses all positions at once."""
    unread = torch.cat([ids[:, -1:], draft.tokens], -1)
    mask = _grown(mask, ids.shape[1] + draft.tokens.shape[1])
    logits = dict(draft.expert_logits)
    for member in _members(cache, model, drafting=False):
        logits |= model.read(member, cache, unread, mask)
    return model.fuse(logits, prior)


def _judge(
    verdicts: list[Float[Tensor, "batch vocab"]], draft: _Round, sample: bool
) -> tuple[Int[Tensor, "batch positions"], Int[Tensor, "batch"]]:
    """Returns the token to write at each position if the draft is kept up to it, and how many are kept.

    At the position after the kept ones that token replaces a rejected draft, or goes on after all of them. Where rows
    keep more than is used, the token at the end of what is used must be the draft itself.
    """
    count = draft.tokens.shape[1]
    if not sample:
        choice = torch.stack([scores.argmax(-1) for scores in verdicts], 1)
        return choice, first_mismatch(choice[:, :count] == draft.tokens)
    columns, agreed = [], []
    for index, verdict in enumerate(verdicts):
        target = verdict.softmax(-1)
        if index == count:
            columns.append(torch.multinomial(target, 1)[:, 0])
            break
        token = draft.tokens[:, index, None]
        proposal = draft.scores[index].softmax(-1)
        accept, replacement = accept_or_replace(target, proposal, token[:, 0])
        agreed.append(accept)
        columns.append(torch.where(accept, token[:, 0], replacement))
    kept = first_mismatch(torch.stack(agreed, 1)) if agreed else torch.zeros_like(columns[0])
    return torch.stack(columns, 1), kept


def accept_or_replace(
    target: Float[Tensor, "batch vocab"], proposal: Float[Tensor, "batch vocab"], token: Int[Tensor, "batch"]
) -> tuple[Bool[Tensor, "batch"], Int[Tensor, "batch"]]:
    """Accepts a token drawn from `proposal` with probability `min(1, target / proposal)`, else draws another.

    The result, accepted or replaced, is distributed as `target`.

    Returns:
        Whether the token is accepted, and what to write if it is not.
    """
    ratio = target.gather(-1, token[:, None])[:, 0] / proposal.gather(-1, token[:, None])[:, 0]
    accept = torch.rand(len(token), device=token.device, dtype=ratio.dtype) < ratio
    rest = (target - proposal).clamp(min=0)
    total = rest.sum(-1, keepdim=True)
    # Equal distributions leave nothing over, but then nothing is rejected either.
    rest = torch.where(total > 0, rest, target)
    return accept, torch.multinomial(rest, 1)[:, 0]


def first_mismatch(agreed: Bool[Tensor, "batch positions"]) -> Int[Tensor, "batch"]:
    """Returns how many positions agree before the first that does not."""
    return agreed.long().cumprod(-1).sum(-1)


def _choose(scores: Float[Tensor, "batch vocab"], sample: bool) -> Int[Tensor, "batch"]:
    return torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
