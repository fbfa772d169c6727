#!/usr/bin/env bash
# One training step, ours and transformers + peft's, one after the other on the same machine with
# two threads each. Needs Python with scripts/golden/requirements.txt; PYTHON names it.
# usage: scripts/bench/step.sh > results/bench/step.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2

echo "# $(uname -m), $(nproc) cores, $(rustc --version)"
cargo bench -q -p lorasweep-trainer --bench training_step -- --noplot 2>/dev/null |
  grep -E 'training_step/|time:|thrpt:'
LORASWEEP_BENCH_MEMORY=1 cargo bench -q -p lorasweep-trainer --bench training_step 2>/dev/null |
  grep 'peak memory'

small=(--hidden 128 --layers 4 --heads 4 --kv-heads 2 --ffn 512 --vocab 1024)
echo "# transformers + peft"
for shape in "--batch 4 --seq-len 128" "--batch 1 --seq-len 64"; do
  # shellcheck disable=SC2086
  "$python" scripts/bench/peft_step.py $shape
  # shellcheck disable=SC2086
  "$python" scripts/bench/peft_step.py "${small[@]}" $shape
done
