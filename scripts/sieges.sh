#!/usr/bin/env bash
# Sieges of the program from outside, each of which prints what came of it:
#   clock        the clock jumps back a day (and ahead, and back a year) while sweeps train and are killed
#   memory       every command within 25 to 300 MB of address space; a run resumes without the limit
#   descriptors  every command with 64, 32 and 20 file descriptors
#   network      a sweep killed and resumed, reported, served, exported on sshfs and bindfs (FUSE)
#   tell         20,000 trials by ask and tell: seconds and megabytes
# Usage: sieges.sh BINARY clock|memory|descriptors|network|tell
# Needs faketime (clock), sshfs, bindfs and sftp-server, with the right to mount (network); Debian has them.
set -uo pipefail
binary=$(realpath "$1")
siege=$2
project=$(cd "$(dirname "$0")/.." && pwd)
export RAYON_NUM_THREADS=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
cp -r "$project/sweeps/quickstart" . && chmod -R u+w .
head -120 quickstart/train.jsonl > train.jsonl
head -40 quickstart/validation.jsonl > validation.jsonl

# sweep NAME EPOCHS METHOD EXECUTOR: writes NAME.yaml.
sweep() {
    cat > "$1.yaml" <<Y
name: $1
$3
metric: {name: eval_loss, goal: minimize}
parameters: {rank: [2, 8], learning_rate: [1.0e-3, 3.0e-3]}
model: quickstart/base
data: {train: train.jsonl, validation: validation.jsonl}
train: {batch_size: 4, epochs: $2, lora_alpha: 32, lr_scheduler: constant, max_seq_len: 64}
executor: {$4}
Y
}
learning=$'method: bayes\nrun_cap: 8\nearly_terminate: {type: asha, min_iter: 1, eta: 2, promote: true}\nreplicates: {top: 2, seeds: 1}'
prints="type: command, max_parallel: 2, grace_seconds: 1, command: 'for e in 1 2 3; do sleep 1; echo \"{\\\"step\\\": \${e}0, \\\"epoch\\\": \$e, \\\"eval_loss\\\": 1.\$((5 - e)){{rank}}}\"; done'"

# Says how a command ended, with its first errors.
try() {
    timeout 300 "$binary" "$@" > out 2>&1
    echo "$*: exit code $? $(grep -E 'error|cause|failed$|panicked' out | head -2 | tr '\n' '|')"
}

# compare A B: trials in the order of the ranking, with their losses.
compare() {
    columns='import csv,sys; [print(r["trial"], "%.4f" % float(r["eval_loss"] or "nan")) for r in csv.DictReader(open(sys.argv[1]))]'
    diff <(python3 -c "$columns" "$1/ranking.csv") <(python3 -c "$columns" "$2/ranking.csv") && echo "the ranking is that of the undisturbed sweep"
}

everything() {
    try report "$1" && try status "$1"
    try export "$1" --best --to "$2/out" --force
    try export "$1" --merge --to "$2/merged" --force
    try convert "$1" --parquet "$2/tables" --csv "$2/all.csv" --optuna "$2/o.log" --mlflow "$2/mlflow" --tensorboard "$2/events" --force
}

# In one step: a half-written file is no time.
set_clock() { echo "$1" > time.new && mv time.new time; }

clock() {
    library=${LIBFAKETIME:-/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1}
    sweep own 12 "$learning" "devices: cpu, checkpoint_seconds: 1, max_packed: 2, heartbeat_seconds: 10"
    sweep command 3 "method: grid" "$prints"
    for name in own command; do "$binary" run $name.yaml --results alone > log 2>&1; done
    # Timers count by a clock of their own, which nobody can set.
    export FAKETIME_TIMESTAMP_FILE=$work/time FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
    for name in own command; do
        set_clock +0
        for jump in -1d +0 -1d +2d -365d; do
            LD_PRELOAD=$library "$binary" run $name.yaml --results jumped >> log 2>&1 &
            driver=$!
            sleep 3; set_clock $jump; sleep 3
            worker=$(cat jumped/$name/workers/*/alive 2> /dev/null | sed -n 's/.*"pid":\([0-9]*\).*/\1/p' | tail -1)
            kill -0 $driver 2> /dev/null || break
            [ $jump = -1d ] && kill -9 "$worker" 2> /dev/null && sleep 2
            kill -9 $driver 2> /dev/null; wait $driver 2> /dev/null
        done
        LD_PRELOAD=$library try run $name.yaml --results jumped
        compare alone/$name jumped/$name
    done
}

memory() {
    sweep own 3 "method: grid" "devices: cpu, checkpoint_seconds: 1, max_packed: 1"
    "$binary" run own.yaml --results alone > log 2>&1
    for megabytes in 25 60 75 85 100 150 300; do
        rm -rf limited; echo "== $megabytes MB"
        (ulimit -v $((megabytes * 1024)); try check own.yaml; try run own.yaml --results limited; everything alone/own limited-out)
        try run own.yaml --results limited
        compare alone/own limited/own
    done
}

descriptors() {
    sweep own 3 "$learning" "devices: cpu, max_packed: 4"
    sweep command 3 "method: grid" "$prints"
    for count in 64 32 20; do
        rm -rf results; echo "== $count descriptors"
        (ulimit -n $count; for name in own command; do try check $name.yaml; try run $name.yaml; done; everything results/own limited-out)
    done
}

network() {
    sweep own 3 "method: grid" "devices: cpu, checkpoint_seconds: 1, max_packed: 1"
    "$binary" run own.yaml --results alone > log 2>&1
    mkdir near far bound mounted
    printf '#!/bin/sh\nexec %s\n' "${SFTP_SERVER:-/usr/lib/openssh/sftp-server}" > ssh.sh && chmod +x ssh.sh
    bindfs -o attr_timeout=3,entry_timeout=3 near bound || exit 1
    sshfs -o ssh_command="$work/ssh.sh" -o cache_timeout=20,dcache_timeout=20 "x:$work/far" mounted || exit 1
    for place in bound mounted; do
        echo "== $place"
        for seconds in 3 4 5; do timeout -s KILL $seconds "$binary" run own.yaml --results $place > log 2>&1; done
        try run own.yaml --results $place
        compare alone/own $place/own
        everything $place/own $place
        find $place -name '*.tmp-*' -o -name '*.replaced-*'
    done
    fusermount3 -u bound; fusermount3 -u mounted
}

tell() {
    sweep own 3 $'method: random\nrun_cap: 20000' "type: external"
    sed -i 's/^parameters.*/parameters: {rank: [2, 4, 8], learning_rate: {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-2}}/' own.yaml
    measured() { /usr/bin/env time -f "$1: %e s, %U s of processor time, %M KiB" "$binary" "$@"; }
    while measured ask own.yaml -n 2000 > asked && grep -q '"answer":"trial"' asked; do
        python3 -c 'import json,sys
for trial in map(json.loads, sys.stdin):
    for epoch in 1, 2, 3: print(json.dumps({"trial": trial["trial"], "epoch": epoch, "eval_loss": 1 + trial["params"]["learning_rate"] / epoch}))
    print(json.dumps({"trial": trial["trial"], "outcome": "completed"}))' < asked > lines
        measured tell own.yaml < lines > answers
    done
    measured report results/own > /dev/null
}

$siege
