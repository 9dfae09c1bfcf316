"""The router: which experts a prompt needs, told from the shared model's representation of it.

Twin-Merging, Section 3.3: `w(x) = softmax(R(emb(x)))`, where `emb` is the last hidden state of the shared model and
`R` a small network trained with cross-entropy on which task a text belongs to.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from intarsia.errors import DataError, InputError
from intarsia.merge.config import RouterConfig, Routing


class Router(nn.Module):
    """Linear, BatchNorm, LeakyReLU, Dropout, twice, and a last Linear to one logit per expert.

    Args:
        inputs: Width of the representation.
        experts: Number of experts.
        hidden: Width of the hidden layers; None for twice `inputs`.
        dropout: Share of hidden units dropped in training.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int, experts: int, hidden: int | None = None, dropout: float = 0.5) -> None:
        super().__init__()
        hidden = hidden or 2 * inputs
        # Of the training sample: representations are standardised before the first layer.
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))
        self.layers = nn.Sequential(
            *(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.01), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.01), nn.Dropout(dropout)),
            nn.Linear(hidden, experts),
        )

    def forward(self, states: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch experts"]:
        """Returns one logit per expert."""
        return self.layers((states.to(self.mean) - self.mean) / self.deviation)


class RouterTraining(NamedTuple):
    """A trained router and how well it tells the experts' texts apart.

    Attributes:
        router: In evaluation mode.
        accuracy: Of the kept epoch, on the validation share; None if the sample has one class or none is left out.
        accuracies: Of each class, for classes with validation rows.
        epoch: The kept epoch, from 1.
        mean_max_weight: Mean of the largest probability on validation rows: near 1, soft routing is hard routing.
    """

    router: Router
    accuracy: float | None
    accuracies: dict[str, float]
    epoch: int
    mean_max_weight: float


def train_router(
    states: Mapping[str, Float[Tensor, "texts inputs"]], config: RouterConfig | None = None, *, seed: int = 0
) -> RouterTraining:
    """Trains a router on the representations of each expert's texts.

    The vectors are few and small, so this is a plain loop of seconds. Part of the sample selects the epoch; the test
    data play no part in it (in the published code they do).

    Args:
        states: Pooled representations of each expert's texts. The order of the names is the order of the logits.
        config: Settings.
        seed: Of the split, the initial weights, the batches and the dropout.

    Returns:
        The router after the epoch with the best validation accuracy (at a tie, the lowest validation loss).

    Raises:
        InputError: If there is no expert.
        DataError: If an expert has no texts.
    """
    config = config or RouterConfig()
    names = list(states)
    if not names:
        raise InputError("a router needs at least one expert")
    for name in names:
        if len(states[name]) == 0:
            raise DataError(f"there are no router texts for expert {name!r}", fix="give a few dozen texts per expert")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inputs = torch.cat([states[name].float().cpu() for name in names])
        labels = torch.cat([torch.full((len(states[name]),), i) for i, name in enumerate(names)])
        held_out = _held_out(labels, config.validation, generator)
        router = Router(inputs.shape[1], len(names), config.hidden, config.dropout)
        if config.standardise:
            deviation, mean = torch.std_mean(inputs[~held_out], dim=0, correction=0)
            router.mean, router.deviation = mean, deviation.clamp_min(1e-6)
        if len(names) == 1:
            return RouterTraining(router.eval(), None, {}, 0, 1.0)
        return _fit(router, inputs, labels, held_out, names, config, generator)


@torch.enable_grad()
def _fit(
    router: Router,
    inputs: Tensor,
    labels: Tensor,
    held_out: Bool[Tensor, "rows"],
    names: list[str],
    config: RouterConfig,
    generator: torch.Generator,
) -> RouterTraining:
    training = (~held_out).nonzero()[:, 0]
    # Without validation rows (classes of one text) the training rows have to select.
    selecting = held_out if held_out.any() else ~held_out
    size = max(2, min(config.batch_size, len(training) // 8))
    steps = config.epochs * max(1, len(training) // size)
    optimizer = torch.optim.AdamW(router.parameters(), lr=config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    best: tuple[float, float] = (-1.0, 0.0)
    kept: dict[str, Tensor] = {}
    kept_epoch = 0
    for epoch in range(1, config.epochs + 1):
        router.train()
        for rows in _batches(training, size, generator):
            loss = F.cross_entropy(router(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        router.eval()
        with torch.no_grad():
            logits = router(inputs[selecting])
        accuracy = float((logits.argmax(-1) == labels[selecting]).float().mean())
        score = (accuracy, -float(F.cross_entropy(logits, labels[selecting])))
        if score > best:
            best, kept_epoch = score, epoch
            kept = {name: tensor.clone() for name, tensor in router.state_dict().items()}
    router.load_state_dict(kept)
    return _measured(router, inputs[selecting], labels[selecting], names, kept_epoch, held_out=bool(held_out.any()))


@torch.no_grad()
def _measured(
    router: Router, inputs: Tensor, labels: Tensor, names: list[str], epoch: int, *, held_out: bool
) -> RouterTraining:
    probabilities = router(inputs).softmax(-1)
    right = (probabilities.argmax(-1) == labels).float()
    accuracies = {name: float(right[labels == i].mean()) for i, name in enumerate(names) if (labels == i).any()}
    accuracy = float(right.mean())
    confidence = float(probabilities.max(-1).values.mean())
    return (
        RouterTraining(router, accuracy, accuracies, epoch, confidence)
        if held_out
        else RouterTraining(router, None, {}, epoch, confidence)
    )


def _held_out(labels: Int[Tensor, "rows"], share: float, generator: torch.Generator) -> Bool[Tensor, "rows"]:
    """Draws the same share of each class, at most all but one row."""
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        rows = (labels == label).nonzero()[:, 0]
        count = min(round(share * len(rows)), len(rows) - 1)
        mask[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    return mask


def _batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yields full batches only: BatchNorm cannot normalise a last batch of one row."""
    order = rows[torch.randperm(len(rows), generator=generator)]
    for start in range(0, max(1, len(rows) - size + 1), size):
        yield order[start : start + size]


def mixture_weights(
    logits: Float[Tensor, "batch experts"], routing: Routing, unknown_threshold: float | None = None
) -> Float[Tensor, "batch experts"]:
    """Returns the mixture of each row.

    Args:
        logits: The router's.
        routing: See `TwinMergingConfig.routing`.
        unknown_threshold: Rows whose largest probability is below it get weights 0, the shared model alone.
    """
    probabilities = logits.softmax(-1)
    likeliest = probabilities.argmax(-1)
    chosen = F.one_hot(likeliest, logits.shape[-1]).to(probabilities)
    if routing == "soft":
        weights = probabilities
    elif routing == "hard":
        weights = chosen
    else:
        # Means of each group, handed back to its rows.
        means = (chosen.mT @ probabilities) / chosen.sum(0).clamp_min(1)[:, None]
        weights = means[likeliest]
    if unknown_threshold is not None:
        weights = weights * (probabilities.max(-1, keepdim=True).values >= unknown_threshold)
    return weights


def pool_states(
    states: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"], pool: str
) -> Float[Tensor, "batch dim"]:
    """Returns one vector per row: the mean over the positions in `mask`, or the last of them."""
    if pool == "last":
        positions = torch.arange(mask.shape[1], device=mask.device)
        last = (mask * positions).argmax(dim=1)
        return states[torch.arange(len(states), device=states.device), last]
    weights = mask.to(states).unsqueeze(-1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


def prompt_mask(
    input_ids: Int[Tensor, "batch seq"] | None,
    inputs_embeds: Float[Tensor, "batch seq dim"] | None,
    attention_mask: Int[Tensor, "batch seq"] | None,
    pad_token_id: int | None,
) -> Bool[Tensor, "batch seq"]:
    """Returns which positions belong to a prompt.

    Without an attention mask, a run of token 0 or of the padding token at the end of a row is taken for padding:
    evaluation harnesses pad so and pass no mask, which is right for the logits of a causal model but must not reach
    the router's mean. A row routes alike alone and in any padded batch.

    Raises:
        InputError: If the attention mask is not one of padding.
    """
    if attention_mask is not None:
        if attention_mask.dim() != 2:
            raise InputError(
                f"routing needs an attention mask [batch, seq], but it has {attention_mask.dim()} dimensions",
                fix="pass mixture=, or the padding mask",
            )
        return attention_mask.bool()
    if input_ids is None:
        assert inputs_embeds is not None
        return torch.ones(inputs_embeds.shape[:2], dtype=torch.bool, device=inputs_embeds.device)
    padding = input_ids == 0
    if pad_token_id is not None:
        padding |= input_ids == pad_token_id
    # True from the last token that is no padding backwards; a row of nothing else keeps its first token.
    kept = (~padding).flip(1).cumsum(1).flip(1) > 0
    kept[:, 0] = True
    return kept
