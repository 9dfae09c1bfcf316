"""Teaching a compressed model what the original knows, in two stages, on the Hugging Face Trainer.

Stage 1 matches the embedding's rows and the hidden states; stage 2 the output distribution, and predicts the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.compress.modeling import CompressedForCausalLM
from intarsia.compress.stages_config import StagesConfig
from intarsia.models import CausalLM

Progress = Callable[[int], None]


@dataclass(frozen=True)
class CurvePoint:
    """The state of training after some steps.

    Attributes:
        stage: 1 or 2; 0 before training.
        step: Steps done in both stages together.
        loss: Training loss of the stage, averaged since the last point; None before training.
        held_out_ce: Cross-entropy on held-out text in nats a token; None if there is none.
    """

    stage: int
    step: int
    loss: float | None
    held_out_ce: float | None


def train_stages(
    student: CompressedForCausalLM,
    teacher: CausalLM,
    texts: Sequence[str],
    config: StagesConfig | None = None,
    *,
    held_out: Sequence[str] = (),
    points: int = 5,
    work: str | Path | None = None,
    progress: Progress | None = None,
) -> list[CurvePoint]:
    """Runs stages 1 and 2, training the student in place.

    Args:
        student: The compressed model.
        teacher: The original and its tokenizer.
        texts: Text to learn on, in order; cut into rows of `config.length` tokens.
        config: How to train; `state_steps` and `distil_steps` say for how long.
        held_out: Text on which cross-entropy is measured along the way.
        points: At how many steps of each stage, evenly spaced and with the last, the curve has a point.
        work: Folder for the teacher's states, which all students of one teacher share, and for checkpoints, from
            which an interrupted call goes on when it is made again. By default neither is kept.
        progress: Called with the number of steps done since the last call.

    Returns:
        The learning curve, beginning with the untrained student.
    """
    raise NotImplementedError
