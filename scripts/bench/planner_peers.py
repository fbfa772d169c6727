"""Optuna's samplers and Syne Tune's searchers on the instances of lorasweep's planner benchmark.

    python scripts/bench/planner_peers.py FOLDER [--sampler NAME] ...

    python scripts/bench/planner_peers.py FOLDER --table TABLE.csv [--sampler NAME] [--cap]

FOLDER holds lora_surrogate.py; with --table it is not read, and real runs are replayed instead. The
printed line has the columns of `cargo bench -p lorasweep-planner --bench planner`, so that both
stand in one table. Needs optuna, cmaes for the sampler of that name, torch for `gp`, and
optuna-integration with botorch for `botorch` (its logarithmic expected improvement, after 8 random
trials); for `syne-cqr` (conformal quantile regression), `syne-bore` and `syne-kde` syne-tune,
pandas, scikit-learn, xgboost and statsmodels; `grid` is a person's: 2 ranks, 4 learning rates, 2 batch sizes, 2 numbers of epochs. `--cap`
tells the sampler that a loss is at most the untrained base model's, which keeps diverged runs from
spoiling its model.
"""

import argparse
import csv
import sys
import warnings
from collections import defaultdict

import numpy as np
import optuna


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed)
    if name == "botorch":
        from optuna_integration.botorch import BoTorchSampler, qlogei_candidates_func

        return BoTorchSampler(
            candidates_func=qlogei_candidates_func,
            seed=seed,
            n_startup_trials=8,
            consider_running_trials=True,
        )
    return optuna.samplers.RandomSampler(seed=seed)


class OptunaStudy:
    """One sweep's ask and tell; a configuration is rank, learning rate, batch size, epochs."""

    def __init__(self, name: str, surrogate, seed: int):
        self.surrogate = surrogate
        self.study = optuna.create_study(sampler=sampler(name, seed))

    def ask(self):
        trial, s = self.study.ask(), self.surrogate
        config = (
            s.RANKS[trial.suggest_int("rank", 0, len(s.RANKS) - 1)],
            trial.suggest_float("lr", s.LR_LO, s.LR_HI, log=True),
            s.BATCHES[trial.suggest_int("batch", 0, len(s.BATCHES) - 1)],
            trial.suggest_int("epochs", 1, s.E_MAX),
        )
        return trial, config

    def tell(self, trial, loss: float) -> None:
        self.study.tell(trial, loss)


SYNE = {"syne-cqr": "cqr", "syne-bore": "bore", "syne-kde": "kde"}


class SyneTuneStudy:
    """The same with a searcher of Syne Tune; ranks and batch sizes are ordered lists to it."""

    def __init__(self, name: str, surrogate, seed: int):
        from syne_tune.config_space import loguniform, ordinal, randint
        from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler
        from syne_tune.optimizer.schedulers.single_objective_scheduler import (
            SingleObjectiveScheduler,
        )

        space = {
            "rank": ordinal(surrogate.RANKS),
            "lr": loguniform(surrogate.LR_LO, surrogate.LR_HI),
            "batch": ordinal(surrogate.BATCHES),
            "epochs": randint(1, surrogate.E_MAX),
        }
        self.scheduler = AskTellScheduler(
            SingleObjectiveScheduler(space, "loss", searcher=SYNE[name], random_seed=seed)
        )

    def ask(self):
        trial = self.scheduler.ask()
        config = trial.config
        return trial, (config["rank"], config["lr"], config["batch"], config["epochs"])

    def tell(self, trial, loss: float) -> None:
        self.scheduler.tell(trial, {"loss": loss})


GRID = [
    (rank, rate, batch, epochs)
    for rank in (16, 64)
    for rate in (1e-4, 2e-4, 5e-4, 1e-3)
    for batch in (8, 32)
    for epochs in (2, 4)
]


def shifted(instance, shift: str):
    """The same instance with its optimum elsewhere, as benches/planner/surrogate.rs does it."""
    if shift.startswith("rate="):
        instance.lr0 *= float(shift.removeprefix("rate="))
    elif shift == "rank":
        instance.G = max(instance.G, 0.1) * 2
        instance.ro, instance.onset, instance.rc = 8, 1, 1
    return instance


def grid_sweep(instance, optimum, seed: int) -> tuple[float, bool]:
    losses = [instance.run(*config, seed)[1][-1] for config in GRID]
    loss = float(instance.true_final(*GRID[int(np.argmin(losses))]))
    regret = (loss - optimum["f_star"]) / (optimum["f_med"] - optimum["f_star"])
    return regret, loss <= 1.01 * optimum["f_grid"]


def sweep(surrogate, instance, optimum, args, seed: int) -> tuple[float, bool]:
    """One study of full runs; the choice is the run with the lowest final loss."""
    make = SyneTuneStudy if args.sampler in SYNE else OptunaStudy
    study = make(args.sampler, surrogate, seed)
    runs = []
    while len(runs) < args.trials:
        asked = [study.ask() for _ in range(min(args.batch, args.trials - len(runs)))]
        for trial, config in asked:
            _, losses, _ = instance.run(*config, seed)
            loss = min(losses[-1], instance.L0) if args.cap else losses[-1]
            study.tell(trial, float(loss))
            runs.append((loss, config))
    chosen = min(runs, key=lambda run: run[0])[1]
    loss = float(instance.true_final(*chosen))
    regret = (loss - optimum["f_star"]) / (optimum["f_med"] - optimum["f_star"])
    return regret, loss <= 1.01 * optimum["f_grid"]


ONLY_BATCH = 128


def read_table(path: str) -> dict:
    """Losses by model, configuration, seed and epoch; see benches/planner/replay.rs."""
    models = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = (
                int(row.get("rank") or row["lora_rank"]),
                float(row["learning_rate"]),
                int(row.get("batch_size") or ONLY_BATCH),
            )
            loss = float(row.get("eval_loss") or row["test_nll"])
            epoch = int(row.get("epochs") or 1)
            models[row.get("model", "")][key][int(row.get("seed") or 0)][epoch] = loss
    return models


def replay(runs: dict, args, seed: int, trials: int) -> list[float]:
    """The expected loss of the choice after every run, as a share above the best one."""
    ranks, rates, batches = ([*dict.fromkeys(sorted(k[i] for k in runs))] for i in range(3))
    curves = [curve for seeds in runs.values() for curve in seeds.values()]
    epochs = sorted({epoch for curve in curves for epoch in curve})
    losses = [loss for curve in curves for loss in curve.values()]
    worst = max(losses) + (max(losses) - min(losses))

    def expected(key, epoch):
        found = [curve.get(epoch) for curve in runs[key].values()]
        return np.inf if None in found else np.mean(found)

    best = min(expected(key, epoch) for key in runs for epoch in epochs)
    study = optuna.create_study(sampler=sampler(args.sampler, seed))
    chosen, regrets = (np.inf, max(losses)), []
    for _ in range(trials):
        trial = study.ask()
        key = (
            ranks[trial.suggest_int("rank", 0, len(ranks) - 1)],
            rates[trial.suggest_int("lr", 0, len(rates) - 1)],
            batches[trial.suggest_int("batch", 0, len(batches) - 1)],
        )
        epoch = epochs[trial.suggest_int("epochs", 0, len(epochs) - 1)]
        seeds = runs.get(key, {})
        curve = list(seeds.values())[seed % len(seeds)] if seeds else {}
        study.tell(trial, curve.get(epoch, worst))
        for at, loss in curve.items():
            if at <= epoch and loss < chosen[0] and np.isfinite(expected(key, at)):
                chosen = (loss, expected(key, at))
        regrets.append(chosen[1] / best - 1)
    return regrets


def replay_table(args) -> None:
    models = read_table(args.table)
    after = (3, 5, 8, 16, 32)
    means = [
        np.mean([replay(runs, args, seed, max(after)) for runs in models.values()], axis=0)
        for seed in range(args.seeds)
    ]
    shown = []
    for n in after:
        values = 100 * np.array([mean[n - 1] for mean in means])
        shown.append(f"after {n}: {values.mean():.3f}% +- {1.96 * values.std() / len(values)**0.5:.3f}")
    print(f"optuna {args.sampler:<30} {'; '.join(shown)}; {len(models)} models, {args.seeds} seeds")


NAMES = ["tpe", "gp", "cmaes", "botorch", "random", "grid", *SYNE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--sampler", default="tpe", choices=NAMES)
    parser.add_argument("--cap", action="store_true")
    parser.add_argument("--table")
    parser.add_argument("--shift", default="None", help="rate=FACTOR or rank")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    if args.table and args.sampler in SYNE:
        parser.error("tables are replayed with optuna's samplers only")
    if args.table:
        replay_table(args)
        return
    sys.path.insert(0, args.folder)
    import lora_surrogate as surrogate

    results = []
    for number in range(args.first, args.first + args.instances):
        instance = shifted(surrogate.Instance(number), args.shift)
        optimum = instance.optimum()
        for seed in range(args.seeds):
            if args.sampler == "grid":
                results.append(grid_sweep(instance, optimum, seed))
            else:
                results.append(sweep(surrogate, instance, optimum, args, seed))
    regrets = np.array([regret for regret, _ in results])
    close = np.array([is_close for _, is_close in results]).mean()
    error = np.sqrt(close * (1 - close) / len(results))
    name = f"{'' if args.sampler in SYNE else 'optuna '}{args.sampler}{' capped' if args.cap else ''}"
    name = "a person's grid" if args.sampler == "grid" else name
    print(
        f"{name:<37} batch {args.batch:<2} instances {args.first:>2} to "
        f"{args.first + args.instances - 1:<3} {args.shift:<12} regret: median {np.median(regrets):.3f}, "
        f"mean {regrets.mean():.3f}; within 1%: {100 * close:>3.0f}% +- {100 * error:.0f}"
    )


if __name__ == "__main__":
    main()
