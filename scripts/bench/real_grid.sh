#!/bin/sh
# A table of real runs for the planner's benchmark: 540 trainings of the embedded example (5 ranks,
# 9 learning rates, 4 batch sizes, 3 seeds; 12 epochs each). Writes results/bench/real_grid.csv; the
# sweep itself is in results/real-grid. About 40 minutes on two cores.
#
#   scripts/bench/real_grid.sh [LORASWEEP]        (target/release/lorasweep)
#   cargo bench -p lorasweep-planner --bench planner -- --table results/bench/real_grid.csv
#
# The learning rate is constant, so that every run of 12 epochs is also one of 1, 2, ... 11: the
# table has 6,480 rows. An interrupted sweep goes on when it is started again.
set -eu
cd "$(dirname "$0")/../.."
lorasweep=${1:-target/release/lorasweep}

"$lorasweep" run scripts/bench/real_grid.yaml --results results
"$lorasweep" convert results/real-grid --csv results/real-grid/evaluations.csv --force
python3 scripts/bench/real_grid.py results/real-grid/evaluations.csv results/bench/real_grid.csv
