"""Where generation must end because one of the models can read no more."""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import StoppingCriteria


class EndOfContext(StoppingCriteria):
    """Ends all rows once they are so long that a model could not read on.

    Args:
        length: Most tokens of prompt and answer.
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, input_ids: Int[Tensor, "batch seq"], scores: Any, **kwargs: Any) -> Bool[Tensor, "batch"]:
        """Returns whether each row is to end."""
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.length, device=input_ids.device)
