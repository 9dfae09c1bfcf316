"""Finding the layers of a base model, and giving its modules residuals."""

from typing import Any

from torch import Tensor, nn

from intarsia.errors import ModelError
from intarsia.merge.layers import TwinEmbedding, TwinLinear, adapt_matrix, adapt_vectors
from intarsia.merge.twin_config import TwinMergedConfig


def decoder_layers(body: nn.Module) -> nn.ModuleList:
    """Returns the list of a model's layers.

    Raises:
        ModelError: If it has no list of as many modules as its config has hidden layers.
    """
    return _layers_and_parent(body)[0]


def _layers_and_parent(body: Any) -> tuple[nn.ModuleList, nn.Module]:
    count = body.config.get_text_config().num_hidden_layers
    for module in body.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList) and len(child) == count:
                return child, module
    raise ModelError(f"no list of layers found in {type(body).__name__}")


def final_norm(body: nn.Module) -> nn.Module | None:
    """Returns the norm after the last layer, if the model has one."""
    layers, parent = _layers_and_parent(body)
    children = list(parent.children())
    place = children.index(layers)
    # Nearly always defined after the layers.
    for module in children[place + 1 :] + children[place - 1 :: -1] if place else children[1:]:
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() == 1:
            return module
    return None


def first_adapted_layer(base: nn.Module, config: TwinMergedConfig) -> int:
    """Returns the index of the lowest layer with residuals; the number of layers if only what follows them has."""
    layers = decoder_layers(base)
    prefix = next(name for name, module in base.named_modules() if module is layers) + "."
    adapted = [*config.matrices, *config.vectors]
    indices = [int(name.removeprefix(prefix).split(".")[0]) for name in adapted if name.startswith(prefix)]
    return min(indices, default=len(layers))


def adapt(base: nn.Module, config: TwinMergedConfig) -> None:
    """Gives the modules of a base model that the config names their (empty) residuals."""
    modules = dict(base.named_modules())
    count = len(config.experts)
    for name in [*config.matrices, *config.vectors]:
        if name not in modules:
            raise ModelError(f"the base model has no module {name!r}")
    for name, rank in config.matrices.items():
        factors = config.lora_mode == "factor"
        adapt_matrix(modules[name], name, count, rank, bias=name in config.biases, factors=factors)
    for name, parameters in config.vectors.items():
        adapt_vectors(modules[name], count, parameters)


def tie_residuals(base: Any) -> dict[str, str]:
    """Lets a tied output head use the input embedding's residuals, if these have any.

    Returns:
        Names of the head's residuals in the base model, and of the embedding's they are.
    """
    if not getattr(base.config.get_text_config(), "tie_word_embeddings", False):
        return {}
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    if not isinstance(embedding, TwinEmbedding) or not isinstance(head, nn.Linear):
        return {}
    names = {module: name for name, module in base.named_modules()}
    if not isinstance(head, TwinLinear):
        adapt_matrix(head, names[head], embedding.experts, embedding.stored_rank, bias=False, factors=False)
    head.residual_a, head.residual_b = embedding.residual_a, embedding.residual_b
    return {f"{names[head]}.{factor}": f"{names[embedding]}.{factor}" for factor in ("residual_a", "residual_b")}
