"""From which share of a run's improvement on its last third says that the run still falls.

    python diagnosis_falling.py results/bench/diagnosis_runs.csv.gz CASES.csv

CASES.csv is what the benchmark `diagnosis` writes as its second argument. A run cut at an evaluation is called
`too_slow` where it is behind the best run and its last third brought more than the share (FALLING_SHARE of
crates/reporter/src/diagnose/progress.rs), and `underfit` where it brought less; what is true is in
crates/reporter/benches/diagnosis/rates.rs. Held out: the share is chosen in the other regimes. Prints the table of
results/bench/diagnosis.txt.
"""

import csv
import gzip
import sys
from collections import defaultdict

import numpy as np

SHARES = (0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05)
FIRST, REACHED, FALLS = 3, 0.8, 0.05


def read(path):
    sweeps = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            runs = sweeps[row["regime"], row["seed"]]
            if row["step"] == "0":
                runs.append(defaultdict(list))
            for name in ("step", "truth", "loss_400", "loss_150", "loss_40"):
                runs[-1][name].append(float(row[name]))
    return {key: [{n: np.array(v) for n, v in run.items()} for run in runs] for key, runs in sweeps.items()}


def flagged(path):
    """The cases that are flagged as overfitting, by the run's own curve."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["rise"] == "0.01" and float(row["alone"]) >= 0.5]
    return {(row["regime"], row["seed"], int(row["run"]), int(row["end"]), int(row["rows"])) for row in rows}


def lowest(losses, end):
    return losses[1 : min(end, len(losses) - 1) + 1].min()


def cases(sweeps, overfit, rows):
    """Regime, whether the run is behind, what its last third brought, and both of what is true."""
    found = []
    for (regime, seed), runs in sweeps.items():
        for end in range(FIRST, max(len(run["step"]) for run in runs)):
            best = min(lowest(run[f"loss_{rows}"], end) for run in runs)
            best_truth = min(lowest(run["truth"], end) for run in runs)
            for number, run in enumerate(runs, 1):
                step, truth, losses = run["step"], run["truth"], run[f"loss_{rows}"]
                if 2 * end > len(step) - 1:
                    continue
                before = np.flatnonzero((step < step[end]) & (step <= step[end] * 2 / 3))[-1]
                improvement = losses[0] - losses[end]
                brought = (losses[before] - losses[end]) / improvement if improvement > 0 else np.inf
                reached = max(losses[0] - lowest(losses, end), 0) / max(losses[0] - best, 1e-9)
                is_behind = reached < REACHED and (regime, seed, number, end, rows) not in overfit
                own = truth[0] - lowest(truth, end)
                is_true = own < REACHED * (truth[0] - best_truth)
                falls = lowest(truth, end) - lowest(truth, len(truth)) > FALLS * own
                found.append((regime, is_behind, brought, is_true and falls, is_true and not falls))
    return [np.array(column) for column in zip(*found)]


def both(said, true):
    return f"{(said & true).sum() / max(said.sum(), 1):.2f} / {(said & true).sum() / true.sum():.2f}"


def main(table, path):
    sweeps, overfit = read(table), flagged(path)
    print("\nStill falling: precision / recall by the share that the last third must have brought\n")
    print("rows  share  too_slow     underfit")
    for rows in (400, 150, 40):
        regimes, behind, brought, slow, under = cases(sweeps, overfit, rows)

        def said(share):
            return behind & (brought > share), behind & ~(brought > share)

        def score(share, where):
            pairs = zip(said(share), (slow, under))
            return sum(2 * (s & t & where).sum() / max(((s & where).sum() + (t & where).sum()), 1) for s, t in pairs)

        for share in SHARES:
            print(f"{rows:4} {share:6}  {both(said(share)[0], slow)}  {both(said(share)[1], under)}")
        held, chosen = [np.zeros(len(behind), bool), np.zeros(len(behind), bool)], []
        for regime in np.unique(regimes):
            share = max(SHARES, key=lambda share, here=regimes != regime: score(share, here))
            chosen.append(f"{share}")
            for at in (0, 1):
                held[at][regimes == regime] = said(share)[at][regimes == regime]
        print(f"{rows:4} held out {both(held[0], slow)}  {both(held[1], under)}  with {' '.join(chosen)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
