#!/usr/bin/env bash
# The kill harness at length: kills the driver and the workers of one sweep at random moments and
# compares proposals and ranking with the sweep left alone. Prints kills, trials, lost, differing.
# Usage: kills.sh [KILLS [SEED]]
set -euo pipefail
cd "$(dirname "$0")/.."
LORASWEEP_KILLS="${1:-50}" LORASWEEP_KILLS_SEED="${2:-1}" \
    cargo test --package lorasweep --test it --locked -- kills:: --nocapture
