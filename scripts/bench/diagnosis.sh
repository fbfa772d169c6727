#!/bin/sh
# How often the report's diagnoses are right. Writes
#   results/bench/diagnosis_runs.csv.gz  the real runs that the benchmark replays
#   results/bench/diagnosis.txt          areas, precision and recall
# The runs (about 25 minutes on two cores) are trained where `train` is given; otherwise the
# committed table is replayed. An interrupted training resumes when it is started again.
#
#   scripts/bench/diagnosis.sh [train [LORASWEEP]]        (target/release/lorasweep)
#
# Needs Python with numpy; training also needs requirements.txt for the second base model.
set -eu
cd "$(dirname "$0")/../.."
table=results/bench/diagnosis_runs.csv.gz
if [ "${1:-}" = train ]; then
    lorasweep=${2:-target/release/lorasweep}
    [ -e results/diagnosis-base/config.json ] ||
        python3 scripts/bench/diagnosis_base.py results/diagnosis-base
    python3 scripts/bench/diagnosis_runs.py "$lorasweep" results/diagnosis-base results/diagnosis
    python3 scripts/bench/diagnosis_table.py results/diagnosis "$table"
fi
cases=$(mktemp)
trap 'rm -f "$cases"' EXIT
{
    cargo bench -p lorasweep-reporter --bench diagnosis -- "$PWD/$table" "$cases"
    python3 scripts/bench/diagnosis_falling.py "$table" "$cases"
    python3 scripts/bench/diagnosis_pool.py "$cases"
    python3 scripts/bench/diagnosis_limit.py "$table"
} >results/bench/diagnosis.txt
