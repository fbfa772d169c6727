#!/usr/bin/env bash
# Ends the Slurm that up.sh brought up in DIR, by its pid files, and removes DIR.
# usage: [KEEP=1] scripts/slurm/down.sh DIR
set -uo pipefail

dir=$(realpath -m "${1:?usage: down.sh DIR}")
export SLURM_CONF=$dir/slurm.conf
[ -e "$SLURM_CONF" ] || { echo "down.sh: there is no $SLURM_CONF" >&2; exit 1; }

daemons="n1 n2 slurmctld slurmdbd mariadbd munged"
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# Jobs first: what they started does not end with the daemons.
jobs=$(timeout 5 squeue -h -o %A 2>/dev/null)
# shellcheck disable=SC2086
[ -z "$jobs" ] || timeout 5 scancel --quiet $jobs
for _ in $(seq 40); do
  [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break
  sleep 0.2
done
for daemon in $daemons; do
  if alive "$dir/pid/$daemon"; then kill "$(cat "$dir/pid/$daemon")"; fi
done
for _ in $(seq 40); do
  left=0
  for daemon in $daemons; do
    if alive "$dir/pid/$daemon"; then left=1; fi
  done
  [ $left = 0 ] && break
  sleep 0.2
done
[ "${KEEP:-0}" = 1 ] || rm -rf "$dir"
exit $left
