#!/usr/bin/env bash
# Checks the engine on a GPU, in two halves, since a GPU machine need not have Rust:
#
#   scripts/gpu_check.sh build DIR    on a machine with Rust: puts what is needed into DIR
#   DIR/gpu_check.sh run              on the GPU machine, in the carried folder: logits, losses,
#                                     gradients and 20 training steps against transformers + peft's
#                                     golden values, and the other tests of the CUDA backend; then
#                                     tokens a second of one adapter alone and of 8 and 16 packed
#                                     (bf16, hidden 2048, 16 layers, vocabulary 32,000), and of
#                                     transformers + peft where PYTHON has them
#
# The GPU machine needs NVIDIA's driver, and cuBLAS for speed (`pip install nvidia-cublas-cu12`, or
# a folder named in LORASWEEP_CUDA_LIBS).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# The newest binary of a cargo target, out of cargo's own account of what it built.
built() {
    cargo "$@" --no-run --locked -p lorasweep-trainer --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

build() {
    cd "$here/.."
    mkdir -p "$1/tests"
    local tests bench
    tests=$(built test --release --test it)
    bench=$(built bench --bench training_step)
    cp "$tests" "$1/golden_tests"
    cp "$bench" "$1/training_step"
    strip "$1/golden_tests" "$1/training_step"
    cp -r crates/trainer/tests/golden "$1/tests/"
    cp scripts/gpu_check.sh scripts/bench/peft_step.py "$1/"
    du -sh "$1"
}

run() {
    cd "$here"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    # The golden files lie in this folder, not where the tests were compiled.
    CARGO_MANIFEST_DIR=$here LORASWEEP_TEST_GPU=1 ./golden_tests cuda:: --test-threads=1
    LORASWEEP_BENCH_CUDA=1 ./training_step --bench --noplot | grep -E 'training_step/|time:|thrpt:'
    local python=${PYTHON:-python3}
    if ! "$python" -c 'import torch, transformers, peft' 2>/dev/null; then
        echo "transformers + peft: not measured, $python has them not"
        return
    fi
    for batch in 1 8 16; do
        "$python" peft_step.py --device cuda --dtype bfloat16 --hidden 2048 --layers 16 --heads 32 \
            --kv-heads 8 --ffn 5632 --vocab 32000 --seq-len 512 --batch "$batch"
    done
}

case "${1:-}" in
build) build "$(realpath -m "${2:?where to: gpu_check.sh build DIR}")" ;;
run) run ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | grep -v '^set'
    exit 2
    ;;
esac
