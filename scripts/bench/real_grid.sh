#!/bin/sh
# A table of real runs for the planner's benchmark: every combination of rank, learning rate, batch
# size and number of epochs, with three seeds, on the embedded example. Writes
# results/bench/real_grid.csv; sweep and journal are in results/real-grid.
#
#   scripts/bench/real_grid.sh [LORASWEEP]        (target/release/lorasweep)
#
# The schedule is constant, so that a run of 12 epochs is also one of 1, 2, ... 11: 432 runs are
# trained and 1,728 combinations measured. An interrupted sweep goes on when it is started again.
set -eu
cd "$(dirname "$0")/../.."
lorasweep=${1:-target/release/lorasweep}

"$lorasweep" run scripts/bench/real_grid.yaml --results results
"$lorasweep" convert results/real-grid --csv results/real-grid/evaluations.csv --force
python3 scripts/bench/real_grid.py results/real-grid/evaluations.csv results/bench/real_grid.csv
