"""Dependence scores of a joint distribution of two classes, in nats.

`P` is the joint distribution and `Q = a b'` the product of its marginals. Everything is computed in float64 with
`0 log 0 = 0`. `jeffreys`, `chi2`, `dpi` and `js_ratio` bound the mutual information from above.

The paper's quantity, `log 2 * JS(P || Q)`, does not: for two copies of a uniform variable on 2 classes the information
is log 2 = 0.693 and the quantity 0.150, and for weak dependence it is about a sixth of the information. It is kept as
the score `paper`, which grows with dependence, and is nowhere called a bound.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# Keeps log(0) finite; the probability it is multiplied with is 0.
_TINY = 1e-300


class JointScores(NamedTuple):
    """Scores that are functions of the joint distribution.

    Attributes:
        mutual_information: `I = sum P log(P / Q)`.
        jensen_shannon: `JS(P || Q)`, at most log 2.
        paper: `log 2 * JS` (arXiv 2501.03152 states it as an upper bound of I, which it is not).
        jeffreys: `I + sum Q log(Q / P)`, an upper bound of I; CLUB (arXiv 2006.12013) with the true conditional.
        chi2: `log(1 + sum (P - Q)^2 / Q)`, an upper bound of I.
        js_ratio: `g(max P / Q) * JS`, an upper bound of I; see `js_ratio_factor`.
    """

    mutual_information: float
    jensen_shannon: float
    paper: float
    jeffreys: float
    chi2: float
    js_ratio: float


class _Terms(NamedTuple):
    joint: Float[Tensor, "base lora"]
    product: Float[Tensor, "base lora"]
    ratio: Float[Tensor, "base lora"]
    log_ratio: Float[Tensor, "base lora"]


def _terms(joint: Float[Tensor, "base lora"]) -> _Terms:
    joint = joint.double()
    joint = joint / joint.sum()
    base, lora = joint.sum(1), joint.sum(0)
    product = torch.outer(base, lora)
    log_ratio = _log(joint) - _log(base)[:, None] - _log(lora)[None, :]
    return _Terms(joint, product, joint / product.clamp_min(_TINY), log_ratio)


def _log(values: Tensor) -> Tensor:
    return values.clamp_min(_TINY).log()


def _mutual_information(terms: _Terms) -> Tensor:
    return (terms.joint * terms.log_ratio).sum().clamp_min(0)


def _jensen_shannon(terms: _Terms) -> Tensor:
    # With r = P/Q and M = (P+Q)/2: log(P/M) = log r - log((1+r)/2) and log(Q/M) = -log((1+r)/2).
    log_middle = torch.log1p((terms.ratio - 1) / 2)
    own = terms.joint * (terms.log_ratio - log_middle)
    return ((own - terms.product * log_middle).sum() / 2).clamp_min(0)


def _jeffreys(terms: _Terms) -> Tensor:
    return ((terms.joint - terms.product) * terms.log_ratio).sum().clamp_min(0)


def _chi2(terms: _Terms) -> Tensor:
    return torch.log1p((terms.product * (terms.ratio - 1).square()).sum())


def mutual_information(joint: Float[Tensor, "base lora"]) -> float:
    """`I = sum P log(P / Q)`."""
    return float(_mutual_information(_terms(joint)))


def jensen_shannon(joint: Float[Tensor, "base lora"]) -> float:
    """Jensen-Shannon divergence of the joint from the product of its marginals (Lin 1991)."""
    return float(_jensen_shannon(_terms(joint)))


def paper_score(joint: Float[Tensor, "base lora"]) -> float:
    """`log 2 * JS`: the paper's quantity. It grows with dependence but is no bound of the information."""
    return math.log(2) * jensen_shannon(joint)


def jeffreys_bound(joint: Float[Tensor, "base lora"]) -> float:
    """`KL(P || Q) + KL(Q || P)`, an upper bound of the mutual information."""
    return float(_jeffreys(_terms(joint)))


def chi2_bound(joint: Float[Tensor, "base lora"]) -> float:
    """`log(1 + chi2(P || Q))`, an upper bound of the mutual information."""
    return float(_chi2(_terms(joint)))


def js_ratio_bound(joint: Float[Tensor, "base lora"]) -> float:
    """`g(max P / Q) * JS`, an upper bound of the mutual information."""
    terms = _terms(joint)
    return js_ratio_factor(float(terms.ratio.max())) * float(_jensen_shannon(terms))


def js_ratio_factor(ratio: float) -> float:
    """The largest quotient of the terms of I and JS where `P / Q` is at most `ratio`.

    `g(t) = (t log t - t + 1) / ((t log t - (1 + t) log((1 + t) / 2)) / 2)`, increasing, `g(1) = 4`.
    """
    excess = ratio - 1
    if abs(excess) < 1e-3:
        # 0/0 at 1; the series is exact to 1e-9 here, where the quotient would lose its digits.
        return 4 * (1 + excess / 6 - excess**2 / 24)
    if ratio <= 0:
        return 2 / math.log(2)
    own = ratio * math.log(ratio)
    return (own - excess) / ((own - (1 + ratio) * math.log((1 + ratio) / 2)) / 2)


def joint_scores(joint: Float[Tensor, "base lora"]) -> JointScores:
    """All scores of one joint distribution, sharing their logarithms."""
    terms = _terms(joint)
    information, js, jeffreys, chi2, ratio = torch.stack(
        [_mutual_information(terms), _jensen_shannon(terms), _jeffreys(terms), _chi2(terms), terms.ratio.max()]
    ).tolist()
    return JointScores(information, js, math.log(2) * js, jeffreys, chi2, js_ratio_factor(ratio) * js)


def entropy(distribution: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """Shannon entropy over the last axis."""
    return torch.special.entr(distribution).sum(-1)


def token_information(marginal: Float[Tensor, "classes"], mean_entropy: float) -> float:
    """`I(token; class) = H(marginal) - mean_t H(class | token)`: how much the class says about which token it was."""
    return max(0.0, float(entropy(marginal)) - mean_entropy)


def dpi_bound(base_information: float, lora_information: float) -> float:
    """`min(I(t; O), I(t; L))`, an upper bound of `I(O; L)`.

    Base class and LoRA class meet only through the token, `O <- t -> L`, so neither can know more of the other than it
    knows of the token (data processing inequality).
    """
    return min(base_information, lora_information)
