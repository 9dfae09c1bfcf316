"""Passes over the vocabulary, compiled for the processor.

Tensor operations write every intermediate of a softmax and its moments to memory and read it again. Loops that keep a
piece of the vocabulary in the first-level cache take an eighth of the time. For float32 on processors; elsewhere tensor
operations do the same (`tilting`, `targets`).
"""

import numpy as np
import numpy.typing as npt

from intarsia.compiled import compiled

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]

# Sums of so many numbers are taken in float32, their sum in float64.
_PIECE = 2048

# What `exp` and the sums after it take, about, for one token.
STEPS_A_TOKEN = 8

# exp(x) = 2^n exp(r), |r| <= log(2) / 2. Where 2^n would not be a normal number of float32, it is as good as 0.
_LOWEST, _HALF, _ONE = np.float32(-87.0), np.float32(0.5), np.float32(1.0)
_LOG2_E = np.float32(1.4426950408889634)
# log 2 in two parts, the first with few digits, so that a whole number times it is exact.
_LOG_2_HIGH, _LOG_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# Of exp(r) - 1 - r, divided by r^2; the minimax polynomial of the Cephes library.
_C7, _C6, _C5 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_C4, _C3, _C2 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
# A float32 with these bits above its mantissa is a power of two.
_EXPONENT_BIAS, _MANTISSA_BITS = np.int32(127), np.int32(23)

_SIGN, _BELOW_SIGN, _SMALLEST = np.int32(31), np.int32(2**31 - 1), np.int32(-(2**31))


@compiled
def exponentiate(values: Floats, largest: np.float32, bits: Integers, weights: Floats) -> None:
    """Writes `exp(value - largest)` into `weights`; relative error below 3e-7 beside the rounding of the difference.

    Args:
        values: Not above `largest`; -inf gives a number that is as good as 0.
        largest: What is subtracted.
        bits: Room for as many numbers.
        weights: Another array, as long: compilers take several numbers at once only of arrays that do not overlap.
    """
    for index in range(len(values)):
        x = values[index] - largest
        x = x if x > _LOWEST else _LOWEST
        power = np.floor(x * _LOG2_E + _HALF)
        r = x - power * _LOG_2_HIGH - power * _LOG_2_LOW
        series = ((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2
        weights[index] = series * r * r + r + _ONE
        bits[index] = (np.int32(power) + _EXPONENT_BIAS) << _MANTISSA_BITS
    powers = bits.view(np.float32)
    for index in range(len(values)):
        weights[index] *= powers[index]


@compiled
def largest_of(values: Floats) -> np.float32:
    """Returns the largest of at least one value."""
    # Unlike those of numbers with a fraction, comparisons of integers are taken several at once. Bits of positive
    # numbers are in the numbers' order, those of negative ones in the opposite order until all but the sign are turned.
    largest = _SMALLEST
    bits = values.view(np.int32)
    for index in range(len(bits)):
        largest = max(largest, bits[index] ^ ((bits[index] >> _SIGN) & _BELOW_SIGN))
    found = np.empty(1, np.int32)
    found[0] = largest ^ ((largest >> _SIGN) & _BELOW_SIGN)
    return found.view(np.float32)[0]


@compiled
def tilted_moments(base: Floats, shift: Floats, rows: npt.NDArray[np.int64], alpha: Floats) -> Doubles:
    """Log of the sum of `exp(base + alpha * shift)`, and the first four moments of the shift under these weights.

    Args:
        base: Log-weights; -inf where the shift is 0 is allowed, `[all rows, vocab]`.
        shift: `[all rows, shifts, vocab]`.
        rows: Which rows to look at.
        alpha: How far, `[rows, shifts]`.

    Returns:
        `[rows, shifts, 5]`
    """
    shifts, vocabulary = shift.shape[1:]
    found = np.empty((len(rows), shifts, 5))
    tilted, weights, bits = np.empty(_PIECE, np.float32), np.empty(_PIECE, np.float32), np.empty(_PIECE, np.int32)
    sums = np.empty(5)
    for place in range(len(rows)):
        for which in range(shifts):
            strength, row = alpha[place, which], rows[place]
            top = -np.float32(np.inf)
            sums[:] = 0
            for start in range(0, vocabulary, _PIECE):
                stop = min(start + _PIECE, vocabulary)
                logits, direction = base[row, start:stop], shift[row, which, start:stop]
                piece, some = tilted[: stop - start], weights[: stop - start]
                for index in range(len(piece)):
                    piece[index] = logits[index] + strength * direction[index]
                highest = largest_of(piece)
                if highest > top:
                    # What was summed so far was relative to a smaller number.
                    sums *= np.exp(np.float64(top) - np.float64(highest))
                    top = highest
                exponentiate(piece, top, bits[: stop - start], some)
                _add_moments(sums, some, direction)
            found[place, which, 0] = np.log(sums[0]) + top
            found[place, which, 1:] = sums[1:] / sums[0]
    return found


@compiled
def _add_moments(sums: Doubles, weights: Floats, values: Floats) -> None:
    zeroth = first = second = third = fourth = np.float32(0)
    for index in range(len(weights)):
        weight, value = weights[index], values[index]
        zeroth += weight
        weight *= value
        first += weight
        weight *= value
        second += weight
        weight *= value
        third += weight
        fourth += weight * value
    sums[0] += zeroth
    sums[1] += first
    sums[2] += second
    sums[3] += third
    sums[4] += fourth


@compiled
def log_shifts(large: Floats, small: Floats, tuned: Floats, shift: Floats) -> Doubles:
    """Measures how far experts moved from their small base, and which way that points for the large model.

    Args:
        large: Finite logits, as all, `[rows, vocab]`.
        small: `[rows, vocab]`.
        tuned: The experts', `[rows, experts, vocab]`.
        shift: Gets `tuned - small`, centred under the large model, `[rows, experts, vocab]`.

    Returns:
        Log of the sum of `exp(large)`; mean of `log(tuned / small)` under the expert; mean and mean square of it under
        the small base; mean square of the shift under the large model, `[rows, experts, 5]`.
    """
    rows, experts, vocabulary = tuned.shape
    found = np.empty((rows, experts, 5))
    by_large, by_small = np.empty(vocabulary, np.float32), np.empty(vocabulary, np.float32)
    by_tuned = np.empty(vocabulary, np.float32)
    for row in range(rows):
        top = largest_of(large[row])
        large_sum = _weigh(large[row], top, by_large)
        small_top = largest_of(small[row])
        small_sum = _weigh(small[row], small_top, by_small)
        for expert in range(experts):
            logits, ratio = tuned[row, expert], shift[row, expert]
            tuned_top = largest_of(logits)
            tuned_sum = _weigh(logits, tuned_top, by_tuned)
            # log(tuned / small) is small where the shift is: its means are exact there, differences of entropies not.
            offset = np.float32(tuned_top + np.log(tuned_sum) - small_top - np.log(small_sum))
            for index in range(vocabulary):
                ratio[index] = logits[index] - small[row, index] - offset
            found[row, expert, 0] = top + np.log(large_sum)
            found[row, expert, 1] = _weighted_sums(ratio, by_tuned)[0] / tuned_sum
            first, second = _weighted_sums(ratio, by_small)
            found[row, expert, 2] = first / small_sum
            found[row, expert, 3] = second / small_sum
            ratio -= np.float32(_weighted_sums(ratio, by_large)[0] / large_sum)
            found[row, expert, 4] = _weighted_sums(ratio, by_large)[1] / large_sum
    return found


@compiled
def _weigh(logits: Floats, top: np.float32, weights: Floats) -> float:
    """Writes `exp(logits - top)` and returns its sum."""
    bits = np.empty(_PIECE, np.int32)
    total = 0.0
    for start in range(0, len(logits), _PIECE):
        piece = weights[start : start + _PIECE]
        exponentiate(logits[start : start + _PIECE], top, bits[: len(piece)], piece)
        subtotal = np.float32(0)
        for index in range(len(piece)):
            subtotal += piece[index]
        total += float(subtotal)
    return total


@compiled
def _weighted_sums(values: Floats, weights: Floats) -> tuple[float, float]:
    """Sum of the values, each times its weight, and of their squares."""
    total, squares = 0.0, 0.0
    for start in range(0, len(values), _PIECE):
        subtotal = subsquares = np.float32(0)
        some, by = values[start : start + _PIECE], weights[start : start + _PIECE]
        for index in range(len(some)):
            weighted = by[index] * some[index]
            subtotal += weighted
            subsquares += weighted * some[index]
        total += float(subtotal)
        squares += float(subsquares)
    return total, squares
