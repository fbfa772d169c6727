#!/usr/bin/env bash
# Best validation losses of the same trials under three seeds, ours and those of Optuna +
# transformers' Trainer + peft: whether what they reach differs by more than seeds do.
# Needs what sweep.sh needs; PYTHON names it.
# usage: scripts/bench/seeds.sh > results/bench/seeds.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
sweep=scripts/bench/seeds.yaml

cargo build -q --release --locked
target/release/lorasweep run "$sweep" --results "$temporary" --quiet
"$python" scripts/bench/peft_sweep_trainer.py "$sweep" --threads 2 --csv "$temporary/peer.csv" \
  > "$temporary/peer.log"
python3 - "$temporary/seeds/ranking.csv" "$temporary/peer.csv" <<'PY'
import csv, sys

def losses(path):
    found = {}
    for row in csv.DictReader(open(path)):
        if not row["rank"]:
            continue  # the base model
        key = tuple(float(row[name]) for name in ("rank", "learning_rate", "batch_size"))
        found.setdefault(key, []).append(float(row["eval_loss"]))
    return found

ours, theirs = losses(sys.argv[1]), losses(sys.argv[2])
print("rank,learning_rate,batch_size,lorasweep,peft,difference_of_means,standard_error")
for key in sorted(ours):
    sides = [sorted(side[key]) for side in (ours, theirs)]
    means = [sum(side) / len(side) for side in sides]
    squares = [sum((x - m) ** 2 for x in side) for side, m in zip(sides, means)]
    n = len(sides[0])
    error = (sum(squares) / (2 * (n - 1)) * 2 / n) ** 0.5
    shown = [" ".join(f"{x:.3f}" for x in side) for side in sides]
    print(",".join([*(f"{x:g}" for x in key), *shown, f"{means[0] - means[1]:+.3f}", f"{error:.3f}"]))
PY
