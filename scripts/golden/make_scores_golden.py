#!/usr/bin/env python3
"""Writes crates/curves/tests/golden/scores.json: what scipy and statsmodels say of scores in 0..=1.

    pip install -r scores_requirements.txt
    python make_scores_golden.py
"""

import json
import random
from pathlib import Path

from scipy.stats import binom, t
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

FILE = Path(__file__).resolve().parents[2] / "crates" / "curves" / "tests" / "golden" / "scores.json"


def effective(scores):
    """The mean, and how many 0/1 scores would be as sure."""
    n = len(scores)
    p = sum(scores) / n
    most = p * (1 - p)
    variance = (sum((x - p) ** 2 for x in scores) + most) / (n + 1)
    is_binary = all(x in (0, 1) for x in scores)
    return p, n if is_binary or variance == 0 else n * most / variance


def single(scores):
    p, n = effective(scores)
    low, high = proportion_confint(p * n, n, alpha=0.05, method="wilson")
    return {"scores": scores, "low": low, "high": high}


def paired(first, second):
    """Bonett and Price's interval of two proportions, and McNemar's mid-p."""
    n = len(first)
    won = sum(a > b for a, b in zip(first, second, strict=True))
    lost = sum(a < b for a, b in zip(first, second, strict=True))
    p12, p21 = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    half = t.ppf(0.975, n - 1) * ((p12 + p21 - (p12 - p21) ** 2) / (n + 2)) ** 0.5
    both = sum(a == b == 1 for a, b in zip(first, second, strict=True))
    exact = mcnemar([[both, won], [lost, n - both - won - lost]], exact=True).pvalue
    # Where both are equal the exact test's value is cut at 1, which the mid-p test's is without it.
    mid_p = 1.0 if won == lost else exact - binom.pmf(min(won, lost), won + lost, 0.5)
    low, high = p12 - p21 - half, p12 - p21 + half
    return {"first": first, "second": second, "low": low, "high": high, "mid_p": mid_p}


def main():
    draw = random.Random(0)
    cases = [[0, 0, 0, 0, 0], [1] * 12, [0, 1], [1, 1, 0, 1, 0, 0, 1, 1], [0.5] * 6, [0, 1, 0.5], [0.02] * 30]
    for n in (7, 25, 80):
        cases.append([float(draw.random() < 0.1) for _ in range(n)])
        cases.append([round(draw.betavariate(0.5, 2), 3) for _ in range(n)])
    pairs = []
    for n, better, worse in ((10, 3, 0), (30, 5, 0), (60, 4, 0), (60, 9, 9), (120, 14, 5), (200, 2, 1), (40, 0, 0)):
        second = [1.0] * worse + [0.0] * better + [float(draw.random() < 0.5) for _ in range(n - better - worse)]
        first = [0.0] * worse + [1.0] * better + second[better + worse :]
        pairs.append((first, second))
    golden = {"single": [single(case) for case in cases], "paired": [paired(*pair) for pair in pairs]}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(golden, separators=(",", ":")).replace('{"', '\n{"') + "\n")


if __name__ == "__main__":
    main()
