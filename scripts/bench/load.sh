#!/bin/sh
# What thousands of trials cost lorasweep itself: a command that trains nothing, 4 at a time. Prints
# the seconds and the memory of the sweep, of `status` and of `report`, for each number of trials.
#
#   scripts/bench/load.sh [LORASWEEP] [TRIALS]...     (target/release/lorasweep 1000 2000 4000)
#
# Needs GNU time.
set -eu
cd "$(dirname "$0")/../.."
lorasweep=$(realpath "${1:-target/release/lorasweep}")
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- 1000 2000 4000

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
measure() {
    what=$1
    shift
    /usr/bin/time -f "$what: %e s, %U s of the processor, %M KiB" -o "$work/time" "$@" > "$work/out"
    cat "$work/time"
}
for trials in "$@"; do
    cat > "$work/load-$trials.yaml" <<YAML
method: random
run_cap: $trials
model: none
data: {train: none}
parameters:
  rank: [2, 4, 8, 16]
  learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-2}
executor:
  type: command
  command: 'echo "{\"epoch\": 1, \"eval_loss\": 2}"; echo "{\"epoch\": 2, \"eval_loss\": 1.\$LORASWEEP_TRIAL}"'
  max_parallel: 4
YAML
    measure "$trials trials: run" "$lorasweep" run "$work/load-$trials.yaml" --results "$work" --quiet
    measure "$trials trials: status" "$lorasweep" status "$work/load-$trials"
    measure "$trials trials: report" "$lorasweep" report "$work/load-$trials"
    du -sk "$work/load-$trials/journal" | sed "s/\t.*/ KiB of journal/"
done
