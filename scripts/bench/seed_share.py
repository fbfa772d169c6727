"""What replicated real runs say beforehand of the seed's share: the constants PRIOR_SHARE,
PRIOR_FREEDOM of crates/reporter/src/compare/seeds.rs and SEED_SHARE of diagnose/matched.rs. Needs nothing but Python.

    python scripts/bench/seed_share.py >> results/bench/claims.txt

The notation is that of crates/reporter/src/compare/seeds.rs: `v(k)` is half the median, over the six runs with
the closest losses (under the same seed), of the squared differences per example, and the variance
between seeds of the loss of k is `phi v(k)`. For each set phi is estimated from how far the difference of two
configurations under one seed is from the mean difference over all seeds,

    phi = mean (d - mean d)^2 m / (m - 1) / (v(k) + v(j)),

over the better half of the configurations. A scaled-inverse-chi-square with the mean and the variance
of ln phi over the sets is the prior. The second table is of results/bench/real_grid.csv, which has no losses of
single examples: the standard deviation between seeds as a share of the improvement over the base.

The third table is about LEAST_OF_BASE, the least `v(k)` as a share of half the spread of k against the base model. Two
configurations alone, under one seed, are held to the mean difference under the other seeds on the same rows, with an
interval of Student's quantile of the prior and `v = s2(k, j) / 2`, which is at least so much.
"""

import csv
import math
from itertools import combinations
from pathlib import Path
from statistics import mean, median, variance

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "crates/reporter/tests/replicated"
GRID = ROOT / "results/bench/real_grid.csv"
GRID_BASE_LOSS = 6.954  # of the quickstart's base model on the same validation rows
NEIGHBOURS = 6
LEAST_OF_BASE = (0, 0.006, 0.02)
PRIOR_SHARE, QUANTILE = 0.008, 3.182  # of Student's t with three degrees of freedom
FILES = ["quickstart.csv", "diagnoses.csv"]


def read_sets(base=None):
    """Set -> (targets, {configuration: {seed: losses}}). The base model's losses go into `base`."""
    sets, base = {}, {} if base is None else base
    rows = [row for name in FILES for row in csv.DictReader((RUNS / name).open())]
    for row in rows:
        losses = [float(x) for x in row["losses"].split()]
        targets, runs = sets.setdefault(row["set"], ([], {}))
        if row["rank"] == "targets":
            targets += losses
        elif row["rank"] == "base":
            base[row["set"]] = losses
        else:
            key = (row["rank"], row["learning_rate"], row["batch_size"])
            runs.setdefault(key, {})[row["seed"]] = losses
    return sets


def spread(a, b, targets):
    """The squared difference of two runs per example."""
    count, tokens = len(targets), sum(targets)
    rate = (sum(a) - sum(b)) / tokens
    squares = sum((x - y - rate * t) ** 2 for x, y, t in zip(a, b, targets))
    return count / (count - 1) * squares * count / tokens**2


def spreads(nll, targets):
    tokens = sum(targets)
    loss = {key: sum(own) / tokens for key, own in nll.items()}
    of = {}
    for key in nll:
        others = sorted((k for k in nll if k != key), key=lambda k: abs(loss[k] - loss[key]))
        of[key] = 0.5 * median(spread(nll[key], nll[k], targets) for k in others[:NEIGHBOURS])
    return of, loss


def share(targets, runs):
    """phi of one set."""
    tokens, seeds = sum(targets), sorted(next(iter(runs.values())))
    means = {key: mean(sum(own) / tokens for own in of.values()) for key, of in runs.items()}
    found = []
    for seed in seeds:
        of, loss = spreads({key: own[seed] for key, own in runs.items()}, targets)
        near = sorted(loss, key=loss.get)[: max(6, len(loss) // 2)]
        for a, b in combinations(near, 2):
            apart = loss[a] - loss[b] - (means[a] - means[b])
            found.append(apart**2 * len(seeds) / (len(seeds) - 1) / (of[a] + of[b]))
    return mean(found)


def scaled_inverse_chi_square(values):
    """Scale and degrees of freedom with the mean and the variance of ln phi of the values."""
    logs = [math.log(value) for value in values]
    freedom = 2 / variance(logs) + 1
    return math.exp(mean(logs) - 1 / freedom - 1 / (3 * freedom**2)), freedom


def grid_shares():
    """Standard deviation between seeds over the improvement, by number of epochs, near the best."""
    losses = {}
    for row in csv.DictReader(GRID.open()):
        key = (row["rank"], row["learning_rate"], row["batch_size"])
        losses.setdefault(int(row["epochs"]), {}).setdefault(key, []).append(float(row["eval_loss"]))
    for epochs in (1, 2, 3, 6, 9, 12):
        runs = [own for own in losses[epochs].values() if len(own) == 3]
        improvement = GRID_BASE_LOSS - min(map(mean, runs))
        near = [own for own in runs if GRID_BASE_LOSS - mean(own) > 0.85 * improvement]
        yield epochs, len(near), math.sqrt(mean(map(variance, near))) / improvement


def pairs():
    """Of every two configurations under every seed: `v` as a share of the base's, and whether the interval
    holds with each of LEAST_OF_BASE."""
    base = {}
    for name, (targets, runs) in read_sets(base).items():
        tokens, seeds = sum(targets), sorted(next(iter(runs.values())))
        for seed in seeds:
            others = [other for other in seeds if other != seed]
            widening = QUANTILE * math.sqrt(len(seeds) / len(others))
            for a, b in combinations(runs.values(), 2):
                apart = {s: (sum(a[s]) - sum(b[s])) / tokens for s in seeds}
                error = abs(apart[seed] - mean(apart[s] for s in others))
                own = 0.5 * spread(a[seed], b[seed], targets)
                of_base = [0.5 * spread(side[seed], base[name], targets) for side in (a, b)]
                least = [sum(max(own, share * x) for x in of_base) for share in LEAST_OF_BASE]
                yield own / max(of_base), [error <= widening * math.sqrt(PRIOR_SHARE * v) for v in least]


def print_pairs():
    print("\nTwo configurations alone under one seed: intervals that hold, by the least v(k)")
    print("v / the base's   pairs  " + "  ".join(f"{share:>7}" for share in LEAST_OF_BASE))
    found = list(pairs())
    for low, high in ((0, 0.006), (0.006, 0.02), (0.02, 0.1), (0.1, math.inf), (0, math.inf)):
        held = [of for share, of in found if low <= share < high]
        shares = "  ".join(f"{100 * mean(of[at] for of in held):5.1f} %" for at in range(len(LEAST_OF_BASE)))
        print(f"{low:>5} to {high:<5} {len(held):>8}  {shares}")


def main():
    print("set              configurations  seeds  share of the seed (phi)")
    shares = []
    for name, (targets, runs) in read_sets().items():
        shares.append(share(targets, runs))
        print(f"{name:<16} {len(runs):>14} {len(next(iter(runs.values()))):>6} {shares[-1]:>24.4f}")
    scale, freedom = scaled_inverse_chi_square(shares)
    print(f"prior: scale {scale:.4f}, {freedom:.1f} degrees of freedom\n")
    print("real_grid.csv: epochs  configurations near the best  deviation between seeds / improvement")
    found = list(grid_shares())
    for epochs, count, ratio in found:
        print(f"{epochs:>21} {count:>29} {ratio:>44.4f}")
    scale, freedom = scaled_inverse_chi_square([ratio**2 for *_, ratio in found])
    print(f"scale of the ratio {math.sqrt(scale):.4f}")
    print_pairs()


if __name__ == "__main__":
    main()
