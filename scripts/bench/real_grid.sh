#!/bin/sh
# A table of 600 real runs of the embedded example (5 ranks, 5 learning rates, 2 batch sizes, 4 numbers
# of epochs, 3 seeds). About 20 minutes on two cores. Writes
#   results/bench/real_grid.csv   what the planner's benchmark replays
# The sweep itself is in results/real-grid.
#
#   scripts/bench/real_grid.sh [LORASWEEP]        (target/release/lorasweep)
#   cargo bench -p lorasweep-planner --bench planner -- --table results/bench/real_grid.csv
#
# The learning rate is constant, so that every run of 12 epochs is also one of 1, 2, ... 11: 150 are
# trained, and the table has a row for each of their epochs. An interrupted sweep resumes when it is
# started again.
set -eu
cd "$(dirname "$0")/../.."
lorasweep=${1:-target/release/lorasweep}

python3 scripts/bench/real_grid_rows.py 600 results/real_grid_rows.jsonl
"$lorasweep" run scripts/bench/real_grid.yaml --results results
"$lorasweep" report results/real-grid >results/real-grid/terminal.txt
"$lorasweep" convert results/real-grid --csv results/real-grid/evaluations.csv --force
python3 scripts/bench/real_grid.py results/real-grid/evaluations.csv results/bench/real_grid.csv
