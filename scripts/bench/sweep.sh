#!/usr/bin/env bash
# A 16-trial sweep, ours and Optuna + transformers' Trainer + peft, one after the other on the same
# machine with two threads each: the time from command to ranking, and each trial's best loss.
# Needs Python with scripts/golden/requirements.txt and scripts/bench/requirements.txt; PYTHON
# names it.
# usage: scripts/bench/sweep.sh > results/bench/sweep.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
sweep=scripts/bench/sweep_16.yaml

cargo build -q --release --locked
echo "# $(uname -m), $(nproc) cores, $(rustc --version)"
echo "# lorasweep"
began=$(date +%s.%N)
target/release/lorasweep run "$sweep" --results "$temporary" --quiet
ended=$(date +%s.%N)
cat "$temporary"/sweep-16/journal/*.jsonl |
  sed -n 's/.*"busy_seconds":\([0-9.]*\).*/\1/p' |
  awk -v a="$began" -v b="$ended" '{ busy += $1 } END {
    printf "seconds from command to ranking: %.1f\n", b - a
    printf "of them outside training steps and evaluations: %.2f (%.1f%%)\n", b - a - busy,
      100 * (b - a - busy) / (b - a)
  }'
python3 - "$temporary/sweep-16/ranking.csv" <<'PY'
import csv, sys
columns = "trial rank learning_rate batch_size eval_loss eval_loss_stderr flag".split()
print(",".join(columns))
for row in csv.DictReader(open(sys.argv[1])):
    print(",".join(row[column] for column in columns))
PY
echo "# Optuna GridSampler + transformers Trainer + peft"
"$python" scripts/bench/peft_sweep_trainer.py "$sweep" --threads 2
