"""What the runs of a sweep add to the probability of overfitting, and the numbers they add it by.

    python diagnosis_pool.py CASES.csv

CASES.csv is what the benchmark `diagnosis` writes as its second argument. The module `pool` of the
crate curves has the formula; here its BESIDE and LESS are estimated by logistic regression, and each
regime is judged by the numbers of the other ones. SURE is chosen by what it gives held out: the
wider it is, the better the many cases become of which a run itself says little, and the worse the few
large rises. Prints the table of results/bench/diagnosis.txt.
"""

import csv
import sys
from collections import defaultdict

import numpy as np

NEAR, OWN, SURE, LEAST = 0.15, 0.5, 2.0, 1e-3
RIDGE = 1.0
WIDTHS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, np.inf)


def logit(p):
    p = np.clip(p, LEAST, 1 - LEAST)
    return np.log(p / (1 - p))


def read(path):
    sets = defaultdict(list)
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            sets[float(row["rise"]), int(row["rows"])].append(row)
    return sets


class Set:
    """The cases of one validation set and one smallest rise."""

    def __init__(self, rows):
        column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        self.regime, self.truth = column["regime"], column["truth"] == "1"
        self.alone = column["alone"].astype(float)
        self.own = logit(self.alone)
        self.sure = column["rise_over_error"].astype(float)
        self.all_features = np.zeros((len(rows), 2))
        sweeps = np.char.add(column["regime"], column["seed"])
        end = column["end"].astype(int)
        train = np.log(column["train"].astype(float))
        for sweep in np.unique(sweeps):
            here = np.flatnonzero(sweeps == sweep)
            apart = np.subtract.outer(train[here], train[here]) / NEAR
            weights = np.exp(-apart * apart / 2)
            # Another run, at an evaluation that the sweep, cut at this one, has.
            weights *= column["run"][here][:, None] != column["run"][here][None]
            weights *= end[here][None] <= end[here][:, None]
            weight = weights.sum(axis=1)
            share = weight / (OWN + weight)
            pooled = (OWN * self.alone[here] + weights @ self.alone[here]) / (OWN + weight)
            self.all_features[here] = np.stack([share * logit(pooled), -share * self.own[here]], axis=1)

    def features(self, width):
        return self.all_features * np.exp(-((self.sure / width) ** 2) / 2)[:, None]


def regression(sets, chosen, width):
    """BESIDE and LESS, by Newton's method."""
    x = np.concatenate([s.features(width)[chosen(s)] for s in sets])
    own = np.concatenate([s.own[chosen(s)] for s in sets])
    truth = np.concatenate([s.truth[chosen(s)] for s in sets]).astype(float)
    weights = np.zeros(2)
    for _ in range(50):
        said = 1 / (1 + np.exp(-(own + x @ weights)))
        slope = x.T @ (truth - said) - RIDGE * weights
        curvature = (x * (said * (1 - said))[:, None]).T @ x + RIDGE * np.eye(2)
        weights += np.linalg.solve(curvature, slope)
    return weights


def area(score, truth):
    """Average precision, ties taken together."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order])
    last = np.append(np.diff(score[order]) != 0, True)
    hits, seen = hits[last], np.arange(1, len(score) + 1)[last]
    return float(np.sum(np.diff(hits, prepend=0) / truth.sum() * hits / seen))


def both(score, truth):
    said = score >= 0
    return f"{(said & truth).sum() / max(said.sum(), 1):.2f} / {(said & truth).sum() / truth.sum():.2f}"


def held_out(sets, width):
    """Log odds of each case by the numbers from the other regimes, and these numbers."""
    everything = list(sets.values())
    held = {key: s.own.copy() for key, s in sets.items()}
    found = []
    for regime in np.unique(everything[0].regime):
        weights = regression(everything, lambda s, out=regime: s.regime != out, width)
        found.append(f"{weights[0]:.2f}/{weights[1]:.2f}")
        for key, s in sets.items():
            here = s.regime == regime
            held[key][here] += s.features(width)[here] @ weights
    return held, found


def log_loss(score, truth):
    return np.mean(np.logaddexp(0, np.where(truth, -score, score)))


def print_widths(sets, order):
    print("\nThe same by SURE (inf: the others' weight does not fall). Log loss: its change to that of a run")
    print("alone, in percent, the mean and the worst of the nine lines above; then precision / recall of")
    print("rises of 10 % with 400, 150 and 40 rows\n")
    print("SURE  mean area  log loss, mean  worst")
    for width in WIDTHS:
        held, _ = held_out(sets, width)
        areas = np.mean([area(held[key], sets[key].truth) for key in order])
        change = [log_loss(held[k], sets[k].truth) / log_loss(sets[k].own, sets[k].truth) - 1 for k in order]
        flags = "  ".join(both(held[key], sets[key].truth) for key in order if key[0] == 0.1)
        print(f"{width:4}  {areas:9.3f} {100 * np.mean(change):15.1f} {100 * max(change):6.1f}  {flags}")


def main(path):
    sets = {key: Set(rows) for key, rows in read(path).items()}
    order = sorted(sets, key=lambda key: (-key[1], key[0]))
    held, found = held_out(sets, SURE)
    print("\nThe other runs of the sweep (pool): each regime judged by numbers from the other regimes;")
    print("area, and precision / recall at probability 0.5\n")
    print("rows  rise  alone        held out    alone        held out")
    for rise, rows in order:
        s, score = sets[rise, rows], held[rise, rows]
        areas = f"{area(s.own, s.truth):.3f}        {area(score, s.truth):.3f}"
        flags = f"{both(s.own, s.truth)}  {both(score, s.truth)}"
        print(f"{rows:4} {100 * rise:3.0f} %  {areas}       {flags}")
    weights = regression(list(sets.values()), lambda s: s.regime != "", SURE)
    print(f"\nBESIDE / LESS from all: {weights[0]:.2f} / {weights[1]:.2f}; from all but one: {' '.join(found)}")
    print_widths(sets, order)


if __name__ == "__main__":
    main(sys.argv[1])
