#!/usr/bin/env bash
# Greedy answers, ours and transformers + peft's, in turn on the same machine with two threads each: eight
# adapters with 16 prompts each and one adapter with 16. Needs Python with scripts/golden/requirements.txt;
# PYTHON names it. ANSWERS names the example `answers` where it is built already; ROUNDS is how often each
# is started (2), for medians of three rounds each.
# usage: scripts/bench/generate.sh > results/bench/generate.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

answers=${ANSWERS:-}
if [ -z "$answers" ]; then
  cargo build --release -q -p lorasweep-trainer --example answers
  answers=${CARGO_TARGET_DIR:-target}/release/examples/answers
fi

echo "# $(uname -m), $(nproc) cores, $(rustc --version); 53 to 68 prompt tokens, 40 new ones, f32"
for shape in "" "--hidden 128 --layers 4 --heads 4 --kv-heads 2 --ffn 512 --vocab 1024"; do
  echo "# ${shape:-hidden 512 x 8 layers}"
  # shellcheck disable=SC2086
  "$python" scripts/bench/peft_generate.py make "$dir" $shape > /dev/null
  for adapters in 8 1; do
    folders=()
    for ((i = 0; i < adapters; i++)); do folders+=("$dir/adapter-$i"); done
    for ((round = 0; round < ${ROUNDS:-2}; round++)); do
      "$answers" "$dir/base" "${folders[@]}"
      "$python" scripts/bench/peft_generate.py time "$dir" "$adapters"
    done
  done
done
