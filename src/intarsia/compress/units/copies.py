"""Giving units copies: several vectors each, so that common units do not have to say everything with one."""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from intarsia.compress.see.term_table import TermTable
from intarsia.errors import ConfigError, InputError

Copying = Literal["assigned", "all"]
COPYINGS: tuple[Copying, ...] = get_args(Copying)


def assign_copies(
    units: Int[Tensor, "vocab terms order"],
    mask: Bool[Tensor, "vocab terms"],
    total_copies: int,
    how: Copying = "assigned",
    seed: int = 0,
    *,
    num_units: int | None = None,
    terms: int | None = None,
    exact: Int[Tensor, "exact"] | None = None,
) -> TermTable:
    """Makes a term table in which every slot names one of its unit's copies.

    Args:
        units: Unit of each slot.
        mask: Which terms a token has.
        total_copies: Vectors of all units together: the rows of the table that is trained.
        how: `assigned` gives each unit copies in proportion to how many slots it fills, and every slot picks one by a
            hash of token, term and slot. `all` gives each unit as many, and repeats a token's terms once for each
            copy, as MorphTE does (arXiv 2210.15379); what does not divide evenly is left unused.
        seed: Of the hash.
        num_units: Number of units; the largest in `units` and one more by default.
        terms: With `assigned`, how many terms each token gets, by going over its own again with other copies; its own
            number by default.
        exact: Ids of tokens with dense rows of their own; they have no terms.

    Raises:
        InputError: If there are fewer copies than units. The message names the smallest number.
        ConfigError: If `how` is none of these.
    """
    if how not in COPYINGS:
        raise ConfigError("how", how, f"one of {', '.join(COPYINGS)}")
    count = int(units.max()) + 1 if num_units is None else num_units
    if total_copies < count:
        raise InputError(
            f"{total_copies} copies are too few for {count} units",
            where="total_copies",
            fix=f"give at least {count}, or make fewer units: lower `merges`, or raise `min_usage`",
        )
    exact = torch.zeros(0, dtype=torch.int32) if exact is None else exact.int()
    if how == "all":
        of_unit = torch.full((count,), total_copies // count)
        return TermTable(*repeat_terms(units, mask, total_copies // count), of_unit, exact)
    if terms is not None:
        units, mask = cycle_terms(units, mask, terms)
    used = units[mask].long()
    usage = torch.bincount(used.flatten(), minlength=count)
    of_unit = torch.from_numpy(_shares(usage.numpy(), total_copies))
    copies = hashed_copies(units, of_unit, seed)
    return TermTable(units.int(), copies, mask, of_unit, exact)


def repeat_terms(
    units: Int[Tensor, "vocab terms order"], mask: Bool[Tensor, "vocab terms"], copies: int
) -> tuple[Int[Tensor, "vocab more order"], Int[Tensor, "vocab more order"], Bool[Tensor, "vocab more"]]:
    """Repeats each token's terms once for each copy; returns units, copies and mask."""
    repeated = units.int().repeat(1, copies, 1)
    numbers = torch.arange(copies, dtype=torch.int32).repeat_interleave(units.shape[1])
    return repeated, numbers[None, :, None].expand_as(repeated).contiguous(), mask.repeat(1, copies)


def cycle_terms(
    units: Int[Tensor, "vocab terms order"], mask: Bool[Tensor, "vocab terms"], terms: int
) -> tuple[Int[Tensor, "vocab more order"], Bool[Tensor, "vocab more"]]:
    """Repeats each token's terms in turn until there are `terms` of them; a token with more keeps the first."""
    active = torch.argsort(~mask, dim=1, stable=True)
    count = mask.sum(1, keepdim=True)
    place = torch.arange(terms)[None] % count.clamp(min=1)
    chosen = active.gather(1, place)
    return units.gather(1, chosen[..., None].expand(-1, -1, units.shape[2])), (count > 0).expand(-1, terms).clone()


def hashed_copies(
    units: Int[Tensor, "tokens terms order"], copies_of_unit: Int[Tensor, "units"], seed: int, *, first_token: int = 0
) -> Int[Tensor, "tokens terms order"]:
    """Picks a copy for every slot by a hash of token, term and slot, the same on every machine.

    Args:
        units: Unit of each slot.
        copies_of_unit: How many copies each unit has.
        seed: Of the hash.
        first_token: Id of the first token in `units`; the others follow.
    """
    numbers = hash_slots(tuple(units.shape), seed, first_token=first_token)
    limits = copies_of_unit[units.long()].numpy().astype(np.uint64)
    return torch.from_numpy((numbers % limits).astype(np.int32))


def hash_slots(shape: tuple[int, ...], seed: int, *, first_token: int = 0) -> npt.NDArray[np.uint64]:
    """Returns a hash of the place of each slot: 64 bits of (seed, token, term, slot)."""
    tokens, terms, order = (np.arange(size, dtype=np.uint64) for size in shape)
    mixed = _mix(np.array(seed % 2**64, dtype=np.uint64))
    for axis in ((tokens + np.uint64(first_token))[:, None, None], terms[None, :, None], order[None, None, :]):
        mixed = _mix(mixed ^ axis)
    return mixed


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014), which spreads neighbouring numbers over all 64 bits."""
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def _shares(usage: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    """Splits `total` in proportion to usage, at least 1 each, exactly; the last ones go to the largest remainders."""

    def whole(scale: float) -> npt.NDArray[np.int64]:
        return np.maximum(1, np.floor(scale * usage)).astype(np.int64)

    low, high = 0.0, total / max(1, usage.sum()) + 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if whole(middle).sum() <= total else (low, middle)
    shares = whole(low)
    left = total - int(shares.sum())
    remainder = low * usage - shares
    order = np.lexsort((np.arange(len(usage)), -remainder))
    shares[order[:left]] += 1
    return shares
