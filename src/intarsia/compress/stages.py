"""What the two stages of training minimise."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def row_error(
    rows: Float[Tensor, "tokens dim"], original: Float[Tensor, "tokens dim"], variance: float
) -> Float[Tensor, ""]:
    """Returns the mean squared error of rows over the variance of the original's entries."""
    return (rows - original).square().mean() / variance


def state_error(
    student: Sequence[Float[Tensor, "batch length dim"]], teacher: Float[Tensor, "batch length layers dim"]
) -> Float[Tensor, ""]:
    """Returns the mean over layers and positions of `2 ||h^S - h^T||^2 / (||h^S||^2 + ||h^T||^2)`.

    For states that are near each other this is `||h^S - h^T||^2 / ||h^T||^2`. Relative at each position, not over all
    of them: in many models the first token's states are a hundred times longer than any other's, and would be all that
    counted. By both lengths, because a student that is far off gives such states to other tokens, and a single one
    would outweigh all others ten thousandfold; so no position counts more than 4.
    """
    errors = []
    for layer, states in enumerate(student):
        target, own = teacher[:, :, layer], states.float()
        lengths = (target.square().sum(-1) + own.square().sum(-1)).clamp(min=torch.finfo(torch.float32).tiny)
        errors.append((2 * (own - target).square().sum(-1) / lengths).mean())
    return torch.stack(errors).mean()


def distillation_loss(
    student: Float[Tensor, "batch positions vocab"],
    teacher: Float[Tensor, "batch positions vocab"],
    labels: Int[Tensor, "batch positions"],
    *,
    temperature: float,
    weight: float,
) -> Float[Tensor, ""]:
    """Returns `w tau^2 KL(p_T^(1/tau) || p_S^(1/tau)) + (1 - w) CE`, per token, in nats.

    Args:
        student: The student's logits.
        teacher: The original's.
        labels: The next tokens.
        temperature: tau.
        weight: w.
    """
    student, teacher = student.flatten(0, 1).float(), teacher.flatten(0, 1).float()
    divergence = nn.functional.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher / temperature).log_softmax(-1),
        log_target=True,
        reduction="batchmean",
    )
    return weight * temperature**2 * divergence + (1 - weight) * nn.functional.cross_entropy(student, labels.flatten())
