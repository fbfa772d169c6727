#!/usr/bin/env bash
# The kill harness at length: kills and holds (SIGSTOP) the processes of sweeps at random moments and
# compares proposals and ranking with those of the undisturbed sweep: a grid, a method that learns with
# stops, promotions and replicates, a command, ask/tell. Prints kills, trials, lost, differing.
# Usage: kills.sh [KILLS [SEED [PART OF A TEST'S NAME]]]
# CORE=1 holds everything to one core, as the lowest priority.
set -euo pipefail
cd "$(dirname "$0")/.."
# Copies: who builds meanwhile does not change them.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
${CARGO:-cargo} test --workspace --locked --no-run --message-format json 2> "$work/log" > "$work/built" ||
    { cat "$work/log"; exit 1; }
executable() {
    sed -n "s|.*/crates/lorasweep/Cargo.toml\",\"target\":{\"kind\":\\[\"$1\"\\].*\"test\":$2},\"features\".*\"executable\":\"\\([^\"]*\\)\".*|\\1|p" "$work/built"
}
cp "$(executable test true)" "$work/it"
cp "$(executable bin false)" "$work/lorasweep"
# shellcheck disable=SC2086
LORASWEEP_BINARY="$work/lorasweep" LORASWEEP_KILLS="${1:-50}" LORASWEEP_KILLS_SEED="${2:-1}" \
    ${CORE:+nice -n 19 taskset -c "$CORE"} "$work/it" --nocapture --test-threads 1 "kills::${3:-}"
