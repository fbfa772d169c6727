#!/usr/bin/env bash
# The table of what a training step asks of a GPU, from the counters of the CUDA device of software:
#
#   scripts/cuda/counters.sh > results/bench/cuda_counters.txt
#
# Needs a C++ compiler, no GPU. The same test holds the figures to their limits.
set -euo pipefail
cd "$(dirname "$0")/../.."
cat <<'END'
What a steady training step asks of the device: a Llama with adapters of mixed ranks (2, 4, 3, 8) at all
linear layers, one sequence a slot. A launch is a kernel of ours or a call of cuBLAS; memory is never
cleared by calls of their own. A pass is forward and backward, and with recomputation the forward pass of
each block once more; the launches of a block are those of 5 blocks less those of 3, halved, and the rest
is embedding, last norm, head and losses, less what the first and the last block do not do. The candle
path's figures are counted in its code: it is what this backend replaces.

END
cargo nextest run --workspace --no-capture \
    -E 'package(lorasweep-trainer) & test(a_step_of_many_slots_asks)' 2>/dev/null |
    sed -n '/^numbers/,/^$/p'
