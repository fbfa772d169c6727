#!/usr/bin/env bash
# Tests against a real Slurm: brings one up on this host (up.sh), runs every test that needs it, one
# after the other, and ends it (down.sh). Takes some minutes. Where Slurm is not installed it says so
# and ends with 0 unless REQUIRE_SLURM=1; INSTALL=1 tries Debian's packages first. ACCOUNTING=1: the
# Slurm has an accounting (sacct, slurmdbd), which most clusters have.
# usage: [INSTALL=1] [REQUIRE_SLURM=1] [ACCOUNTING=1] scripts/slurm/test.sh [TEST_NAME_FILTER...]
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(slurmctld slurmd slurm-client munge)
programs=(slurmctld slurmd sbatch munged)
if [ "${ACCOUNTING:-0}" = 1 ]; then
  packages+=(slurmdbd mariadb-server)
  programs+=(slurmdbd mariadbd)
fi
installed() {
  local program
  for program in "${programs[@]}"; do command -v "$program" || return 1; done
}

if ! installed >/dev/null && [ "${INSTALL:-0}" = 1 ]; then
  apt-get install -y --no-install-recommends "${packages[@]}" ||
    echo "test.sh: the packages ${packages[*]} could not be installed" >&2
fi
if ! installed >/dev/null; then
  echo "test.sh: SKIPPED: Slurm is not installed here, so its tests did not run."
  echo "test.sh: on Debian: apt-get install ${packages[*]}"
  exit "${REQUIRE_SLURM:-0}"
fi

cluster=$(mktemp -d /tmp/slurm.XXXXXX)
trap 'scripts/slurm/down.sh "$cluster"' EXIT
MIN_JOB_AGE=${MIN_JOB_AGE:-2} scripts/slurm/up.sh "$cluster" "${PORT:-28817}"
export SLURM_CONF=$cluster/slurm.conf

cargo test --locked -p lorasweep-worker --test it -- slurm_real:: --ignored --test-threads=1 "$@"
cargo test --locked -p lorasweep --test it -- slurm_real:: --ignored --test-threads=1 "$@"
