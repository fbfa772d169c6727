"""How often the report's diagnoses are right, on the runs of scripts/bench/real_grid.sh.

    python diagnosis.py results/real-grid

The report sees the curve on 150 validation rows. What is true is taken from the same runs' losses
on 600 other rows (the sweep's retention set) and from what became of them later or elsewhere:

overfitting             both of the last two evaluations are at least 1 % above the run's lowest, and the
                        training loss is lower at the end than there; of 10 %: at least 10 % above
still falling           in a run of twice the epochs the lowest loss falls by more than 5 % of what this
                        one had improved on the base model; said of the runs of 3 and of 6 epochs (the
                        flag too_slow or the note more_epochs)
learning rate too high  a lower rate of the same rank, batch size and seed reached a loss at least 10 %
                        lower by the same epoch, and the run is not overfitting
learning rate too low   a higher rate did
"""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

SIDE = ("rank", "batch_size", "seed", "epochs")


def curves(folder):
    """Loss on the 600 rows by trial and epoch, where every trial begins with the base model at 0, and
    that on the training rows."""
    found, train = defaultdict(dict), defaultdict(dict)
    with open(folder / "evaluations.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["retention_loss"]:
                trial, epoch = int(row["trial"]), float(row["epoch"])
                found[trial][epoch] = float(row["retention_loss"])
                train[trial][epoch] = float(row["train_loss"])
    return found, train


def overfits(curve, train, rise=0.01):
    best, last = min(curve, key=curve.get), max(curve)
    ends = [curve[epoch] for epoch in sorted(curve)[-2:]]
    return min(ends) >= (1 + rise) * curve[best] and train[last] < train[best]


def main(folder):
    folder = Path(folder)
    rows = json.loads((folder / "ranking.json").read_text(encoding="utf-8"))["rows"]
    curve_of, train_of = curves(folder)
    base = next(iter(curve_of.values()))[0.0]
    runs = {}
    for row in rows:
        if row["config"] and row["trial"] in curve_of:
            config = row["config"]
            key = tuple(config[name] for name in (*SIDE, "learning_rate"))
            runs[key] = (row, curve_of[row["trial"]], train_of[row["trial"]])

    beside = defaultdict(list)
    for key, (_, curve, _) in runs.items():
        beside[key[:-1]].append((key[-1], min(curve.values())))

    counts = defaultdict(lambda: [0, 0, 0, 0])

    def count(name, said, true):
        counts[name][2 * (not said) + (not true)] += 1

    for key, (row, curve, train) in runs.items():
        rank, batch, seed, epochs, rate = key
        said = {row["flag"], *row["notes"]}
        lowest = min(curve.values())
        others = beside[key[:-1]]
        best_below = min((loss for other, loss in others if other < rate), default=float("inf"))
        best_above = min((loss for other, loss in others if other > rate), default=float("inf"))
        longer = runs.get((rank, batch, seed, 2 * epochs, rate))
        if longer:
            falls = lowest - min(longer[1].values()) > 0.05 * (base - lowest)
            count("still falling", bool(said & {"too_slow", "more_epochs"}), falls)
        count("overfitting", "overfit" in said, overfits(curve, train))
        count("overfitting of 10 %", "overfit" in said, overfits(curve, train, 0.1))
        too_high = best_below <= 0.9 * lowest and not overfits(curve, train)
        count("learning rate too high", "learning_rate_too_high" in said, too_high)
        count("learning rate too low", "learning_rate_too_low" in said, best_above <= 0.9 * lowest)

    print(__doc__.split("\n\n", 1)[1].split("\n\n", 1)[1])
    print(f"{'diagnosis':24} {'runs':>5} {'true':>5} {'said':>5} {'precision':>9} {'recall':>6}")
    for name, (both, said_only, missed, neither) in counts.items():
        said, true = both + said_only, both + missed
        precision = f"{both / said:.2f}" if said else "-"
        recall = f"{both / true:.2f}" if true else "-"
        runs_in_all = both + said_only + missed + neither
        print(f"{name:24} {runs_in_all:5} {true:5} {said:5} {precision:>9} {recall:>6}")


if __name__ == "__main__":
    main(*sys.argv[1:])
