"""Optuna's samplers on the instances of lorasweep's planner benchmark.

    python scripts/bench/planner_peers.py FOLDER [--sampler tpe|gp|cmaes|random] [--batch 8] ...

FOLDER holds lora_surrogate.py. The printed line has the columns of
`cargo bench -p lorasweep-planner --bench planner`, so that both stand in one table. Needs optuna,
and cmaes or torch for the samplers of that name. `--cap` tells the sampler that a loss is at most
the untrained base model's, which keeps diverged runs from spoiling its model.
"""

import argparse
import sys
import warnings

import numpy as np
import optuna


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def sweep(surrogate, instance, optimum, args, seed: int) -> tuple[float, bool]:
    """One study of full runs; the choice is the run with the lowest final loss."""
    study = optuna.create_study(sampler=sampler(args.sampler, seed))
    runs = []
    while len(runs) < args.trials:
        asked = []
        for _ in range(min(args.batch, args.trials - len(runs) - len(asked))):
            trial = study.ask()
            asked.append(
                (
                    trial,
                    (
                        surrogate.RANKS[trial.suggest_int("rank", 0, len(surrogate.RANKS) - 1)],
                        trial.suggest_float("lr", surrogate.LR_LO, surrogate.LR_HI, log=True),
                        surrogate.BATCHES[trial.suggest_int("batch", 0, len(surrogate.BATCHES) - 1)],
                        trial.suggest_int("epochs", 1, surrogate.E_MAX),
                    ),
                )
            )
        for trial, config in asked:
            _, losses, _ = instance.run(*config, seed)
            loss = min(losses[-1], instance.L0) if args.cap else losses[-1]
            study.tell(trial, float(loss))
            runs.append((loss, config))
    chosen = min(runs, key=lambda run: run[0])[1]
    loss = float(instance.true_final(*chosen))
    regret = (loss - optimum["f_star"]) / (optimum["f_med"] - optimum["f_star"])
    return regret, loss <= 1.01 * optimum["f_grid"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--sampler", default="tpe", choices=["tpe", "gp", "cmaes", "random"])
    parser.add_argument("--cap", action="store_true")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    sys.path.insert(0, args.folder)
    import lora_surrogate as surrogate

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    results = []
    for number in range(args.first, args.first + args.instances):
        instance = surrogate.Instance(number)
        optimum = instance.optimum()
        results += [sweep(surrogate, instance, optimum, args, seed) for seed in range(args.seeds)]
    regrets = np.array([regret for regret, _ in results])
    close = np.array([is_close for _, is_close in results]).mean()
    error = np.sqrt(close * (1 - close) / len(results))
    name = f"optuna {args.sampler}{' capped' if args.cap else ''}"
    print(
        f"{name:<37} batch {args.batch:<2} instances {args.first:>2} to "
        f"{args.first + args.instances - 1:<3} None         regret: median {np.median(regrets):.3f}, "
        f"mean {regrets.mean():.3f}; within 1%: {100 * close:>3.0f}% +- {100 * error:.0f}"
    )


if __name__ == "__main__":
    main()
