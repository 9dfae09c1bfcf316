"""What a MIUB measurement found: per module, per layer, per kind of module, and together."""

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from intarsia.finetune.miub.accumulate import Scores
from intarsia.finetune.miub.assignments import Normalization
from intarsia.finetune.miub.config import MIUBConfig
from intarsia.finetune.miub.jackknife import standard_error
from intarsia.finetune.miub.spectral import Spectrum

# What the modules of a block are called in the architectures of transformers; the longest ending that fits wins.
_KINDS = {
    "q": ("q_proj", "query", "q_lin", "wq", "q"),
    "k": ("k_proj", "key", "k_lin", "wk", "k"),
    "v": ("v_proj", "value", "v_lin", "wv", "v"),
    "o": ("o_proj", "out_proj", "attention.output.dense", "out_lin", "attn.c_proj", "wo", "o"),
    "qkv": ("qkv_proj", "query_key_value", "c_attn", "Wqkv"),
    "gate": ("gate_proj", "w1"),
    "up": ("up_proj", "intermediate.dense", "lin1", "c_fc", "fc1", "dense_h_to_4h", "w3", "wi"),
    "down": ("down_proj", "output.dense", "lin2", "mlp.c_proj", "fc2", "dense_4h_to_h", "w2"),
    "gate_up": ("gate_up_proj",),
}
_ENDINGS = sorted(
    ((ending, kind) for kind, endings in _KINDS.items() for ending in endings), key=lambda pair: -len(pair[0])
)


def layer_of(name: str) -> int | None:
    """Returns the layer number in a module's name: the first whole number between dots, if there is one."""
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", name)
    return int(found[1]) if found else None


def kind_of(name: str) -> str:
    """Returns the kind of a module (q, k, v, o, gate, up, down, ...); the last part of its name if it is unknown."""
    for ending, kind in _ENDINGS:
        if name == ending or name.endswith(f".{ending}"):
            return kind
    return name.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class ModuleReport:
    """What was measured in one adapted module.

    Attributes:
        name: The module's name in the base model.
        layer: Number of its layer, if its name has one.
        kind: q, k, v, o, gate, up, down, or the last part of its name.
        features: Output features.
        classes: Classes after binning.
        tokens: Tokens measured; a multiple of the report's where the module runs several times in a forward pass.
        rank: LoRA rank.
        scaling: Factor on `B A`.
        scores: Scores by normalisation.
        errors: Standard errors of the headline normalisation's scores.
        null: Mean mutual information of the headline normalisation after shuffling the LoRA side's tokens. The marginal
            quantities, `dpi` among them, do not change under shuffling.
        bias: Closed-form estimate of what `null` measures.
        lora_to_base: `||L|| / ||O||` over the tokens.
        spectrum: Facts from the singular values of the update.
        without_block: Headline scores without each jackknife block, `[blocks, scores]`.
        block_sizes: Tokens of each block.
    """

    name: str
    layer: int | None
    kind: str
    features: int
    classes: int
    tokens: int
    rank: int
    scaling: float
    scores: dict[Normalization, Scores]
    errors: Scores | None
    null: float | None
    bias: float
    lora_to_base: float
    spectrum: Spectrum
    without_block: Float[Tensor, "blocks scores"] = field(repr=False, compare=False)
    block_sizes: Float[Tensor, "blocks"] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the jackknife's intermediate values, as JSON values."""
        skipped = {"without_block", "block_sizes", "scores", "errors", "spectrum"}
        plain = {name: value for name, value in vars(self).items() if name not in skipped}
        return plain | {
            "scores": {name: scores._asdict() for name, scores in self.scores.items()},
            "errors": self.errors._asdict() if self.errors else None,
            "spectrum": self.spectrum._asdict(),
        }


@dataclass(frozen=True)
class MIUBReport:
    """A MIUB measurement of one adapter.

    Attributes:
        adapter: The adapter measured.
        tokens: Distinct tokens measured.
        config: The settings.
        modules: One report a module, in the model's order.
        warnings: What the reader should know before trusting the numbers.
    """

    adapter: str
    tokens: int
    config: MIUBConfig
    modules: tuple[ModuleReport, ...]
    warnings: tuple[str, ...] = ()

    @property
    def headline(self) -> Normalization:
        """The normalisation of `miub`, the errors and the null."""
        return self.config.normalizations[0]

    @property
    def miub(self) -> float:
        """The headline: `dpi` under the headline normalisation, mean over modules."""
        return self.mean().dpi

    def mean(self, normalization: Normalization | None = None, *, weighted: bool = False) -> Scores:
        """Mean scores over modules.

        Args:
            normalization: The headline normalisation if left out.
            weighted: Whether modules count by their output features rather than equally.
        """
        return _mean_scores(self.modules, normalization or self.headline, weighted=weighted)

    def errors(self) -> Scores | None:
        """Standard errors of the mean scores. Modules see the same tokens, so blocks are left out of all at once."""
        return _mean_errors(self.modules, self.headline)

    def per_layer(self, normalization: Normalization | None = None) -> dict[int, Scores]:
        """Mean scores of each layer, in order; modules without a layer number are left out."""
        groups = self._groups(lambda module: module.layer)
        return {
            layer: _mean_scores(modules, normalization or self.headline)
            for layer, modules in sorted((layer, modules) for layer, modules in groups.items() if layer is not None)
        }

    def per_kind(self, normalization: Normalization | None = None) -> dict[str, Scores]:
        """Mean scores of each kind of module."""
        groups = self._groups(lambda module: module.kind)
        return {kind: _mean_scores(modules, normalization or self.headline) for kind, modules in groups.items()}

    def summary(self) -> dict[str, float]:
        """The aggregate as flat numbers.

        `miub`, `miub_se` (with blocks), `miub_weighted`, `miub_<score>` under the headline normalisation and
        `miub_<score>_<normalization>` under the others, `miub_null` (with permutations), `miub_bias`, and the means of
        the spectral facts, `lora_to_base` included.
        """
        errors = self.errors()
        nulls = [module.null for module in self.modules if module.null is not None]
        out = {"miub": self.miub}
        if errors is not None:
            out["miub_se"] = errors.dpi
        out["miub_weighted"] = self.mean(weighted=True).dpi
        for normalization in self.config.normalizations:
            suffix = "" if normalization == self.headline else f"_{normalization}"
            out |= {f"miub_{name}{suffix}": value for name, value in self.mean(normalization)._asdict().items()}
        if nulls:
            out["miub_null"] = sum(nulls) / len(nulls)
        out["miub_bias"] = self._average(lambda module: module.bias)
        out["lora_to_base"] = self._average(lambda module: module.lora_to_base)
        for name in Spectrum._fields:
            out[name] = self._average(lambda module, name=name: getattr(module.spectrum, name))  # type: ignore[misc]
        return out

    def to_dict(self) -> dict[str, Any]:
        """Returns the whole report as JSON values."""
        errors = self.errors()
        return {
            "adapter": self.adapter,
            "tokens": self.tokens,
            "config": asdict(self.config) | {"normalizations": list(self.config.normalizations)},
            "summary": self.summary(),
            "errors": errors._asdict() if errors else None,
            "layers": {str(layer): scores._asdict() for layer, scores in self.per_layer().items()},
            "kinds": {kind: scores._asdict() for kind, scores in self.per_kind().items()},
            "modules": [module.to_dict() for module in self.modules],
            "warnings": list(self.warnings),
        }

    def to_json(self) -> str:
        """Returns the whole report as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def table(self, by: Literal["layer", "kind", "module"] = "layer") -> Table:
        """Returns the scores as a Rich table, one row a layer, kind or module, and the mean of all modules last."""
        keys: dict[str, Callable[[ModuleReport], str]] = {
            "layer": lambda module: "-" if module.layer is None else str(module.layer),
            "kind": lambda module: module.kind,
            "module": lambda module: module.name,
        }
        table = Table(title=f"MIUB of {self.adapter}, {self.tokens} tokens (nats)")
        table.add_column(by)
        columns = ["miub", "± se", *(f"paper {name}" for name in self.config.normalizations)]
        for column in (*columns, "information", "stable rank", "‖L‖/‖O‖"):
            table.add_column(column, justify="right")
        for key, modules in self._groups(keys[by]).items():
            table.add_row(key, *self._cells(modules))
        table.add_section()
        table.add_row("mean", *self._cells(self.modules))
        if self.warnings:
            table.caption = "\n".join(self.warnings)
        return table

    def __rich__(self) -> Table:
        return self.table()

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=120, color_system=None)
        console.print(self.table())
        return console.file.getvalue()  # type: ignore[attr-defined]

    def _cells(self, modules: Sequence[ModuleReport]) -> list[str]:
        scores = _mean_scores(modules, self.headline)
        errors = _mean_errors(modules, self.headline)
        papers = [_mean_scores(modules, name).paper for name in self.config.normalizations]
        numbers = [scores.dpi, errors.dpi if errors else None, *papers, scores.mutual_information]
        numbers.append(sum(module.spectrum.stable_rank for module in modules) / len(modules))
        numbers.append(sum(module.lora_to_base for module in modules) / len(modules))
        return ["" if number is None else f"{number:.3g}" for number in numbers]

    def _average(self, value: Callable[[ModuleReport], float]) -> float:
        return sum(map(value, self.modules)) / len(self.modules)

    def _groups(self, key: Callable[[ModuleReport], Any]) -> dict[Any, list[ModuleReport]]:
        groups: dict[Any, list[ModuleReport]] = {}
        for module in self.modules:
            groups.setdefault(key(module), []).append(module)
        return groups


def _mean_scores(modules: Sequence[ModuleReport], normalization: Normalization, *, weighted: bool = False) -> Scores:
    weights = [module.features if weighted else 1 for module in modules]
    rows = [module.scores[normalization] for module in modules]
    return Scores(
        *(sum(w * x for w, x in zip(weights, column, strict=True)) / sum(weights) for column in zip(*rows, strict=True))
    )


def _mean_errors(modules: Sequence[ModuleReport], headline: Normalization) -> Scores | None:
    if any(module.errors is None for module in modules):
        return None
    value = torch.tensor(_mean_scores(modules, headline), dtype=torch.float64)
    without = torch.stack([module.without_block for module in modules]).mean(0)
    return Scores(*standard_error(value, without, modules[0].block_sizes).tolist())
