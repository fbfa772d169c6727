#!/usr/bin/env bash
# Checks the engine on a GPU, in two halves, since a GPU machine need not have Rust:
#
#   scripts/gpu_check.sh build DIR      on a machine with Rust: one stripped binary, the golden files and
#                                       this script, under 60 MB
#   DIR/gpu_check.sh run [SECONDS]      on the GPU machine, in the carried folder
#   scripts/gpu_check.sh rehearse DIR   the run on the CUDA device of software that the tests use, with a
#                                       small model; needs a C++ compiler, no GPU
#
# `run` ends within SECONDS (340). Correctness comes first: logits, losses, gradients and 20 training
# steps against transformers + peft's golden values in f32, losses and gradients in bf16, and a packed
# step repeated many times, every bit the same. Then tokens a second in bf16 of 1, 8, 16 and 32 packed
# adapters on a random 1.5B Llama, of 1 and 16 on a random 8B one, and of transformers + peft where
# PYTHON has them. Each figure is printed when it is known; a stage that there is no time for says so.
#
# The GPU machine needs NVIDIA's driver, and cuBLAS for speed (`pip install nvidia-cublas-cu12`, or
# a folder named in LORASWEEP_CUDA_LIBS). Models are written to TMPDIR, or to /dev/shm: 16 GB for the 8B.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)

build() {
    set -e
    cd "$here/.."
    mkdir -p "$1/tests"
    local binary
    binary=$(cargo build --release --locked -p lorasweep-trainer --example gpu_check \
        --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    carry "$binary" "$1"
}

# Puts a binary, the golden files and the scripts into a folder.
carry() {
    cp "$1" "$2/gpu_check"
    strip "$2/gpu_check"
    cp -r "$here/../crates/trainer/tests/golden" "$2/tests/"
    cp "$here/gpu_check.sh" "$here/bench/peft_step.py" "$2/"
    local megabytes
    megabytes=$(du -sm "$2" | cut -f1)
    echo "$2: $megabytes MB"
    [ "$megabytes" -lt 60 ] || { echo "more than the 60 MB that may be carried"; return 1; }
}

# stage NAME MOST_SECONDS COMMAND...: within what is left of the budget.
stage() {
    local name=$1 most=$2 left=$((deadline - SECONDS)) status
    shift 2
    if [ "$left" -lt 5 ]; then
        echo "$name: not run, no time left"
        return
    fi
    [ "$left" -lt "$most" ] && most=$left
    local began=$SECONDS
    timeout -k 5 "$most" "$@" 2>&1
    status=$?
    case $status in
    0) echo "$name: ok, $((SECONDS - began)) s" ;;
    124 | 137) echo "$name: cut short after $most s" ; failed=1 ;;
    *) echo "$name: FAILED with status $status" ; failed=1 ;;
    esac
}

run() {
    cd "$here"
    SECONDS=0
    deadline=${1:-340}
    failed=0
    export TMPDIR=${TMPDIR:-/dev/shm}
    # The golden files lie in this folder, not where the binary was compiled.
    export CARGO_MANIFEST_DIR=$here
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null ||
        echo "nvidia-smi: not found"
    stage "goldens, f32" 90 ./gpu_check goldens
    stage "goldens, bf16" 40 ./gpu_check bf16
    stage "races" 40 ./gpu_check races "${RACES:-20}"
    if command -v compute-sanitizer >/dev/null; then
        stage "memcheck" 40 compute-sanitizer --tool memcheck ./gpu_check races 1
    else
        echo "compute-sanitizer: not found"
    fi
    if [ -n "${SMALL:-}" ]; then
        stage "speed, tiny" 60 ./gpu_check speed tiny 2 1 8 16 32
        return $failed
    fi
    stage "speed, 1.5B" 60 ./gpu_check speed 1.5B 5 1 8 16 32
    local python=${PYTHON:-python3}
    if "$python" -c 'import torch, transformers, peft' 2>/dev/null; then
        for batch in 1 8; do
            stage "peft, 1.5B, batch $batch" 45 "$python" peft_step.py --device cuda \
                --dtype bfloat16 --hidden 2048 --layers 28 --heads 16 --kv-heads 8 --ffn 5632 \
                --vocab 32000 --rank 16 --seq-len 512 --batch "$batch"
        done
    else
        echo "transformers + peft: not measured, $python does not have them"
    fi
    stage "speed, 8B" 100 ./gpu_check speed 8B 3 1 16
    return $failed
}

rehearse() {
    set -e
    mkdir -p "$1/tests" "$1/software"
    sh "$here/../crates/trainer/tests/fake_cuda/build.sh" "$1/software"
    cd "$here/.."
    local binary
    binary=$(cargo build --locked -p lorasweep-trainer --example gpu_check \
        --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    carry "$binary" "$1"
    set +e
    SMALL=1 RACES=3 LORASWEEP_CUDA_LIBS="$1/software" FAKE_CUDA_MEMORY=$((4 << 30)) \
        "$1/gpu_check.sh" run "${2:-340}"
}

case "${1:-}" in
build) build "$(realpath -m "${2:?where to: gpu_check.sh build DIR}")" ;;
run) run "${2:-340}" ;;
rehearse) rehearse "$(realpath -m "${2:?where to: gpu_check.sh rehearse DIR}")" "${3:-340}" ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | grep -v '^set'
    exit 2
    ;;
esac
