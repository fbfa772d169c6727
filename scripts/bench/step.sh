#!/usr/bin/env bash
# One training step, ours and transformers + peft's, one after the other on the same machine with
# two threads each, in three rounds because the speed of a shared machine drifts. Needs Python with
# scripts/golden/requirements.txt; PYTHON names it.
# usage: scripts/bench/step.sh > results/bench/step.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2

echo "# $(uname -m), $(nproc) cores, $(rustc --version)"
LORASWEEP_BENCH_MEMORY=1 cargo bench -q -p lorasweep-trainer --bench training_step 2>/dev/null |
  grep 'peak memory'

small=(--hidden 128 --layers 4 --heads 4 --kv-heads 2 --ffn 512 --vocab 1024)
for round in 1 2 3; do
  echo "# round $round: lorasweep"
  cargo bench -q -p lorasweep-trainer --bench training_step -- --noplot --discard-baseline \
    2>/dev/null | grep -E '^training_step/|time:|thrpt:'
  echo "# round $round: transformers + peft"
  for shape in "--batch 4 --seq-len 128" "--batch 1 --seq-len 64"; do
    # shellcheck disable=SC2086
    "$python" scripts/bench/peft_step.py $shape
    # shellcheck disable=SC2086
    "$python" scripts/bench/peft_step.py "${small[@]}" $shape
  done
done
