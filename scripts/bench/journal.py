#!/usr/bin/env python3
"""Writes the results folder of a sweep that never ran, to see what many trials cost the report.

    python scripts/bench/journal.py TEMPLATE OUT [--trials 2000] [--points 20] [--seed 1]

TEMPLATE is the results folder of a small finished sweep: its settings, its data and its base model's
losses are taken over. The trials of OUT have 5 to 10 epochs with `--points` optimizer steps each, an
evaluation after every epoch and the losses of all validation examples at the best one, as real ones
do. A twentieth diverges, some fail before their first evaluation, some have not ended, and some
values are missing.
"""

import argparse
import json
import math
import random
import shutil
from pathlib import Path

VERSION = 3
BEGAN_MS = 1_750_000_000_000
RANKS = [2, 4, 8, 16, 32, 64]
BATCHES = [4, 8, 16, 32]


class Journal:
    """Numbered records, one a line."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.seq = 0

    def write(self, kind, at_ms, attempt=None, **content):
        self.seq += 1
        record = {"v": VERSION, "at_ms": int(at_ms), "seq": self.seq}
        if attempt is not None:
            record["attempt"] = attempt
        record["event"] = {"type": kind, **content}
        self.file.write(json.dumps(record, separators=(",", ":")) + "\n")


def read_template(folder):
    """The settings of one of its trials, and its facts, base losses and example losses."""
    found = {}
    for path in sorted((folder / "journal").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)["event"]
            kind = event["type"]
            if kind == "examples_evaluated" and event["trial"] != 0:
                continue
            if kind in ("data_prepared", "base_evaluated", "examples_evaluated", "trial_proposed"):
                found.setdefault(kind, event)
    return found


def draw_config(template, rng):
    rank = rng.choice(RANKS)
    return {
        **template,
        "rank": rank,
        "lora_alpha": 2.0 * rank,
        "learning_rate": float(f"{10 ** rng.uniform(-5, -2):.3g}"),
        "batch_size": rng.choice(BATCHES),
        "epochs": rng.randint(5, 10),
    }


def losses(config, base, epoch, rng):
    """An approach to a floor that the rank sets, and memorisation that lifts validation again."""
    speed = (config["learning_rate"] / 3e-4) ** 0.9 * (8 / config["batch_size"]) ** 0.5
    floor = base * (0.15 + 0.25 / math.sqrt(config["rank"]))
    left = math.exp(-1.1 * speed * epoch)
    memory = 1 - math.exp(-0.05 * config["rank"] ** 0.4 * speed * epoch)
    noise = rng.gauss(0, 0.004) * base
    validation = floor + (base - floor) * left + 0.25 * base * memory**2 + noise
    train = (floor - 0.02 * base) * (1 - 0.8 * memory) + (base - floor) * left + noise / 2
    return validation, train, 0.3 * base + 0.05 * math.log1p(speed * epoch)


def write_trial(journal, number, config, template, points, rng):
    trial = {"trial": number, "attempt": 1}
    base = template["base_evaluated"]["evaluation"]["eval_loss"]
    at = BEGAN_MS + number * 4_000
    journal.write("trial_proposed", at, trial={"id": number, "config": config})
    total = config["epochs"] * points
    device = f"cuda:{number % 8}"
    journal.write("trial_started", at, device=device, from_step=0, total_steps=total, **trial)
    if rng.random() < 0.02:
        outcome = {"kind": "failed", "error": "the adapter does not fit into memory"}
        journal.write("trial_finished", at, outcome=outcome, **trial)
        return
    diverges = config["learning_rate"] > 7e-3
    has_retention, has_ended = rng.random() < 0.9, rng.random() < 0.98
    best, evaluations = math.inf, 0
    for step in range(1, total + 1):
        epoch, seconds = step / points, 0.1 * step
        validation, train, retention = losses(config, base, epoch, rng)
        if diverges and epoch > 1.5:
            outcome = {"kind": "diverged", "step": step, "reason": "the loss is NaN"}
            journal.write("trial_finished", at + 100 * step, outcome=outcome, **trial)
            return
        progress = {"step": step, "epoch": epoch, "tokens": 96 * step, "seconds": seconds}
        point = {"loss": train * rng.uniform(0.9, 1.1), "grad_norm": rng.uniform(0.1, 2)}
        point["learning_rate"] = config["learning_rate"]
        journal.write("trained", at + 100 * step, point={**progress, **point}, **trial)
        if step % points == 0:
            evaluation = {
                **progress,
                "eval_loss": validation,
                "eval_loss_stderr": 0.02 * validation,
                "rise_stderr": 0.004 * validation if evaluations else None,
                "train_loss": train,
                "retention_loss": retention if has_retention else None,
            }
            journal.write("evaluated", at + 100 * step, evaluation=evaluation, **trial)
            best, evaluations = min(best, validation), evaluations + 1
    if not has_ended:
        return
    own = template["examples_evaluated"]["examples"]
    share = best / base
    nll = [float(f"{x * share * rng.uniform(0.9, 1.1):.7g}") for x in own["nll"]]
    examples = {"nll": nll, "targets": own["targets"]}
    journal.write("examples_evaluated", at + 100 * total, step=total, examples=examples, **trial)
    journal.write("trial_finished", at + 100 * total, outcome={"kind": "completed"}, **trial)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("template", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--points", type=int, default=20, help="optimizer steps of an epoch")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    template = read_template(args.template)
    (args.out / "journal").mkdir(parents=True)
    for name in ("resolved.json", "sweep.yaml"):
        shutil.copy(args.template / name, args.out / name)
    identity = json.loads((args.out / "resolved.json").read_text())
    journal = Journal(args.out / "journal" / "driver-1.jsonl")
    journal.write("data_prepared", BEGAN_MS, facts=template["data_prepared"]["facts"])
    started = {"name": identity["name"], "fingerprint": identity["fingerprint"], "version": "0"}
    journal.write("sweep_started", BEGAN_MS, **started)
    for kind in ("examples_evaluated", "base_evaluated"):
        content = {key: value for key, value in template[kind].items() if key != "type"}
        journal.write(kind, BEGAN_MS, **content)
    config = template["trial_proposed"]["trial"]["config"]
    for number in range(1, args.trials + 1):
        write_trial(journal, number, draw_config(config, rng), template, args.points, rng)
    print(f"{journal.seq} records in {args.out}")


if __name__ == "__main__":
    main()
