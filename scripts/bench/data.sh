#!/usr/bin/env bash
# Memory and time of reading a large data file: of `lorasweep data` and `lorasweep check`, the first time
# and from the token cache, and of a worker that has begun to train on it. Once with documents that are
# far longer than max_seq_len, and once with rows that are shorter, of a fifth of the size: these are
# what memory grows with.
# Needs Python, GNU time, and as much room in $TMPDIR as the file and its tokens take.
# usage: scripts/bench/data.sh [MB] [LORASWEEP] > results/bench/data.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
mb=${1:-2000}
lorasweep=$(realpath "${2:-target/release/lorasweep}")
base=$(realpath sweeps/quickstart/base)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LORASWEEP_CACHE=$work/cache

measure() {
    what=$1
    shift
    /usr/bin/time -f "%e %U %M" -o "$work/time" "$@" >"$work/out"
    awk -v what="$what" '{ printf "  %-34s %6.0f s  %6.0f s of the processor  peak %5d MiB\n",
        what, $1, $2, $3 / 1024 }' "$work/time"
}

# A worker from its start to its first optimizer steps.
train() {
    "$lorasweep" run "$1" --results "$work/results" --quiet >/dev/null 2>"$work/log" &
    driver=$!
    until grep -qs '"type":"trained"' "$work"/results/*/journal/*.jsonl; do
        kill -0 $driver || { cat "$work/log" >&2; exit 1; }
        sleep 1
    done
    kill -INT $driver
    wait $driver || true
    grep -ho '"peak_bytes":[0-9]*' "$work"/results/*/journal/*.jsonl | tail -1 |
        awk -F: '{ printf "  %-34s %39s  peak %5d MiB\n", "worker, training", "", $2 / 1048576 }'
    rm -rf "$work/results"
}

echo "# $(uname -m), $(getconf _NPROCESSORS_ONLN) cores"
for of in "$mb 20000" "$((mb / 5)) 400"; do
    read -r size row_bytes <<<"$of"
    head -20 sweeps/quickstart/validation.jsonl >"$work/validation.jsonl"
    python3 scripts/bench/data.py $((size * 1000000)) "$row_bytes" "$work/train.jsonl"
    cat >"$work/large.yaml" <<YAML
method: grid
parameters: {rank: 4}
model: $base
data: {train: train.jsonl, validation: validation.jsonl}
train: {max_seq_len: 128, batch_size: 4, epochs: 1, eval_train_examples: 20}
executor: {devices: cpu}
YAML
    echo "$size MB, rows of $row_bytes bytes, max_seq_len 128"
    measure "data, tokenised" "$lorasweep" data "$work/large.yaml"
    grep '^train' "$work/out" | sed "s|$work/||; s/^/  /"
    measure "data, from the token cache" "$lorasweep" data "$work/large.yaml"
    measure "check, from the token cache" "$lorasweep" check "$work/large.yaml"
    du -sk "$LORASWEEP_CACHE" | awk '{ printf "  the token cache takes %d MiB\n", $1 / 1024 }'
    train "$work/large.yaml"
    rm -rf "$LORASWEEP_CACHE" "$work/train.jsonl"
done
