"""What the systems of the discriminative part are called in rows and result files."""

SHARE = 0.1
"""The main rank as a share of the width: the paper's "mask rate" 0.9."""

MAIN = "Twin, 10 % rank"
FULL = "Twin, full rank"
HARD = "Twin, 10 % rank, hard routing"
ORACLE = "Twin, 10 % rank, oracle routing"
NO_SHARED = "Twin without the shared model (its residuals on the base)"
OF_BASE = "Twin with the base as shared model (residuals of the base)"
REBUILT = "Twin, 10 % rank, weights rebuilt for each item"
UNTUNED = "Task arithmetic, the shared model's gamma"
BASE = "Base model with the experts' heads"
EXPERTS = "Fine-tuned experts"
FISHER, REGMEAN, ADAMERGING = "Fisher merging", "RegMean", "AdaMerging"
ROUTED = "Twin, 10 % rank, routed heads"
STATIC = {
    "average": "Average",
    "task_arithmetic": "Task arithmetic, tuned",
    "ties": "TIES, tuned",
    "dare_linear": "DARE, tuned",
    "dare_ties": "DARE with TIES, tuned",
}
STATIC_SYSTEMS = (UNTUNED, *STATIC.values(), FISHER, REGMEAN, ADAMERGING)
