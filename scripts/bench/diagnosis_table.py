"""The table of real runs that the benchmark of diagnoses replays.

    python diagnosis_table.py OUT results/bench/diagnosis_runs.csv.gz

OUT is what diagnosis_runs.py wrote. One row for each evaluation of each run, the base model's first
(step 0). For validation sets of n = 400, 150 and 40 rows:

loss_n     validation loss on these rows
cov_n      covariance, in units of 1e-8, of the sampling noise of this loss with that of each evaluation
           of the run up to this one: the last number is the squared standard error of loss_n
groups_n   groups of rows that the covariance comes from

The smaller sets are drawn from the 400 anew for every seed, so that a seed of a regime is a sweep of
its own. `truth` is the loss on 1,000 other rows, which no rule sees, `train` that on training rows,
`steps` the training losses of the optimizer steps since the evaluation before, in units of 0.01.
"""

import csv
import gzip
import io
import json
import random
import sys
from pathlib import Path

import numpy as np
from diagnosis_runs import REGIMES

GROUPS, VALIDATION = 256, 400
DOUBLES = VALIDATION - GROUPS
# Groups of two rows and of one row.
SUBSETS = {400: (DOUBLES, GROUPS - DOUBLES), 150: (30, 90), 40: (0, 40)}
COLUMNS = ["regime", "seed", "rank", "learning_rate", "batch_size", "epochs", "step", "epoch", "truth", "train"]


def subset(regime, seed, rows):
    """Numbers of the groups of a validation set of this many rows."""
    rng = random.Random(f"{regime} {seed} {rows}")
    doubles, singles = SUBSETS[rows]
    chosen = rng.sample(range(DOUBLES), doubles) + rng.sample(range(DOUBLES, GROUPS), singles)
    return np.array(sorted(chosen))


def runs_of(folder):
    """The base's evaluation, targets by group, and the runs: config, evaluations, step losses."""
    base, targets, runs = None, None, {}
    for file in sorted(folder.glob("journal/*")):
        for line in file.read_text(encoding="utf-8").splitlines():
            event = json.loads(line).get("event", {})
            kind = event.get("type")
            if kind == "base_evaluated":
                base = event["evaluation"]
            elif kind == "examples_evaluated" and event["trial"] == 0:
                targets = np.zeros(GROUPS)
                for at, count in enumerate(event["examples"]["targets"]):
                    targets[at % GROUPS] += count
            elif kind == "trial_proposed":
                runs[event["trial"]["id"]] = (event["trial"]["config"], {}, {})
            elif kind == "evaluated":
                runs[event["trial"]][1][event["evaluation"]["step"]] = event["evaluation"]
            elif kind == "trained":
                runs[event["trial"]][2][event["point"]["step"]] = event["point"]["loss"]
    return base, targets, runs


def losses_and_covariance(nll, targets):
    """Mean losses of the rows of `nll` (evaluations by groups), and the covariance of their noise
    (Cochran 1977, eq. 6.13, for pairs of evaluations)."""
    total, groups = targets.sum(), len(targets)
    means = nll.sum(axis=1) / total
    apart = nll - means[:, None] * targets
    return means, apart @ apart.T * groups / (groups - 1) / total**2


def rows_of(regime, base, targets, run):
    config, evaluations, steps = run
    curve = [base] + [evaluations[step] for step in sorted(evaluations)]
    nll = np.array([evaluation["group_nll"] for evaluation in curve])
    sets = {}
    for count in SUBSETS:
        chosen = subset(regime, config["seed"], count)
        sets[count] = (*losses_and_covariance(nll[:, chosen], targets[chosen]), len(chosen))
    before = 0
    for at, evaluation in enumerate(curve):
        step = evaluation["step"]
        row = {
            "regime": regime,
            **{name: config[name] for name in COLUMNS[1:6]},
            "step": step,
            "epoch": round(evaluation["epoch"], 4),
            "truth": f"{evaluation['retention_loss']:.5f}",
            "train": f"{evaluation['train_loss']:.5f}",
            "steps": " ".join(str(round(100 * steps[s])) for s in sorted(steps) if before < s <= step),
        }
        for count, (means, covariance, groups) in sets.items():
            row[f"loss_{count}"] = f"{means[at]:.5f}"
            row[f"cov_{count}"] = " ".join(f"{x * 1e8:.6g}" for x in covariance[at, : at + 1])
            row[f"groups_{count}"] = groups
        before = step
        yield row


def main(source, target):
    columns = [*COLUMNS, "steps"]
    columns += [f"{name}_{count}" for count in SUBSETS for name in ("loss", "cov", "groups")]
    text, count = io.StringIO(), 0
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for regime in REGIMES:
        folder = Path(source) / regime / "results" / regime
        if not folder.exists():
            continue
        base, targets, runs = runs_of(folder)
        for trial in sorted(runs):
            for row in rows_of(regime, base, targets, runs[trial]):
                writer.writerow(row)
                count += 1
    # No time and no name in the header: the same runs give the same file.
    with open(target, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(text.getvalue().encode())
    print(f"{target}: {count} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
