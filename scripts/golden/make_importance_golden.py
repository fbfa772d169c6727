"""Optuna's fANOVA of real runs, which the report's importances are held to.

    pip install optuna scikit-learn
    python scripts/golden/make_importance_golden.py

writes crates/reporter/tests/importance/{runs,shares}.csv. The runs are from results/bench/real_grid.csv, one seed of
each configuration: all of 12 epochs; those of every number of epochs; a random third of them. Losses above the base model's count
as the base model's, as in the report. The shares are the means over ten forests (Optuna's own depend on
the seed by one or two points).
"""

import csv
import math
import random
import warnings
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "crates/reporter/tests/importance"
BASE_LOSS = 6.954
NAMES = ["rank", "learning_rate", "batch_size", "epochs"]
FORESTS = 10


def read():
    with (ROOT / "results/bench/real_grid.csv").open() as file:
        for row in csv.DictReader(file):
            if row["seed"] == "1" and int(row["epochs"]) % 3 == 0:
                yield {name: float(row[name]) for name in NAMES} | {"loss": float(row["eval_loss"])}


def shares(runs):
    names = [name for name in NAMES if len({run[name] for run in runs}) > 1]
    # Optuna's forest sees even parameters with `log=True` on a linear scale: they are given as logarithms.
    logs = {name: [math.log(run[name]) for run in runs] for name in names}
    space = {name: FloatDistribution(min(x), max(x)) for name, x in logs.items()}
    study = optuna.create_study()
    for at, run in enumerate(runs):
        parameters = {name: logs[name][at] for name in names}
        value = min(run["loss"], BASE_LOSS)
        study.add_trial(optuna.trial.create_trial(params=parameters, distributions=space, value=value))
    found = [FanovaImportanceEvaluator(seed=seed).evaluate(study) for seed in range(FORESTS)]
    return {name: sum(one[name] for one in found) / FORESTS for name in names}


def main():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    runs = list(read())
    sets = {
        "long": [run for run in runs if run["epochs"] == 12],
        "all": runs,
        "third": random.Random(0).sample(runs, len(runs) // 3),
    }
    with (TARGET / "runs.csv").open("w") as file:
        file.write(",".join(["set", *NAMES, "loss"]) + "\n")
        for name, members in sets.items():
            for run in members:
                cells = [f"{run[n]:g}" for n in NAMES] + [f"{min(run['loss'], BASE_LOSS):.4f}"]
                file.write(",".join([name, *cells]) + "\n")
    with (TARGET / "shares.csv").open("w") as file:
        file.write("set,parameter,share\n")
        for name, members in sets.items():
            for parameter, share in shares(members).items():
                file.write(f"{name},{parameter},{share:.4f}\n")
                print(name, parameter, f"{share:.4f}")


if __name__ == "__main__":
    main()
