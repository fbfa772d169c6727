#!/usr/bin/env bash
# Brings up a real Slurm on this host for tests: a controller and two nodes (n1, n2) with four CPUs
# and two pretended GPUs each, on loopback, without systemd or any other host.
# Needs Debian's packages slurmctld, slurmd, slurm-client and munge. Everything it writes is under DIR,
# which should be a short path on a local disk: a socket's path must stay below 108 characters.
# usage: [ACCOUNTING=1] scripts/slurm/up.sh DIR [PORT]     then: export SLURM_CONF=DIR/slurm.conf
#        scripts/slurm/down.sh DIR                         ends it
# ACCOUNTING=1 adds the accounting (sacct): slurmdbd and a database of its own, from Debian's packages
# slurmdbd and mariadb-server.
set -euo pipefail

dir=$(realpath -m "${1:?usage: up.sh DIR [PORT]}")
port=${2:-27817}
host=$(hostname -s)
user=$(id -un)
accounting=${ACCOUNTING:-0}
export SLURM_CONF=$dir/slurm.conf

missing() {
  local program
  local programs=(munged slurmctld slurmd sbatch squeue scancel scontrol)
  [ "$accounting" = 0 ] || programs+=(slurmdbd sacctmgr mariadbd mariadb-install-db)
  for program in "${programs[@]}"; do
    command -v "$program" >/dev/null || echo "$program"
  done
}

# A GPU is a character device whose name ends in its number, or jobs are not told which is theirs.
# Root makes two that are as good as /dev/null; anybody else borrows two terminals.
gpu_files() {
  if [ "$user" = root ]; then
    local number
    for number in 0 1; do
      [ -e "$dir/gpu/nvidia$number" ] || mknod "$dir/gpu/nvidia$number" c 1 3
    done
    echo "$dir/gpu/nvidia[0-1]"
  else
    echo "/dev/tty[0-1]"
  fi
}

accounting_conf() {
  if [ "$accounting" = 0 ]; then
    echo "AccountingStorageType=accounting_storage/none"
    return
  fi
  echo "AccountingStorageType=accounting_storage/slurmdbd"
  echo "AccountingStorageHost=127.0.0.1"
  echo "AccountingStoragePort=$((port + 3))"
  echo "AccountingStoragePass=$dir/munge/socket"
  echo "AccountingStoreFlags=job_comment"
}

# A database that listens on loopback and asks nobody who they are, and the daemon between it and Slurm.
start_accounting() {
  mariadb-install-db --no-defaults --datadir="$dir/db" --user="$user" --skip-test-db \
    --auth-root-authentication-method=normal >"$dir/log/database-install" 2>&1
  mariadbd --no-defaults --datadir="$dir/db" --user="$user" --bind-address=127.0.0.1 \
    --port=$((port + 4)) --socket="$dir/db.socket" --pid-file="$dir/pid/mariadbd" \
    --skip-grant-tables --innodb-lock-wait-timeout=900 >"$dir/log/mariadbd" 2>&1 &
  (umask 077 && cat >"$dir/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$((port + 3))
SlurmUser=$user
PidFile=$dir/pid/slurmdbd
LogFile=$dir/log/slurmdbd
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 4))
StorageUser=root
StorageLoc=slurm
CONF
  )
  until_true mariadb-admin --no-defaults --socket="$dir/db.socket" ping
  slurmdbd
  until_true sacctmgr --immediate add cluster lorasweep-test
}

# Repeats a command for half a minute until it succeeds.
until_true() {
  local tries
  for tries in $(seq 100); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.3
  done
  echo "up.sh: no success of: $*" >&2
  tail -n 15 "$dir"/log/* >&2
  return 1
}

# Short times throughout, so that tests of node failures and preemption take seconds.
write_conf() {
  cat >"$SLURM_CONF" <<CONF
ClusterName=lorasweep-test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/pid/slurmctld
SlurmdPidFile=$dir/pid/%n
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
$(accounting_conf)
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=${MIN_JOB_AGE:-60}
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=4 RealMemory=4000 Gres=gpu:2
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=4 RealMemory=4000 Gres=gpu:2
PartitionName=main Nodes=n[1-2] Default=YES PriorityTier=1
PartitionName=urgent Nodes=n[1-2] PriorityTier=9 PreemptMode=OFF
CONF
  echo "NodeName=n[1-2] Name=gpu File=$(gpu_files)" >"$dir/gres.conf"
}

start_munge() {
  if [ ! -s "$dir/munge/key" ]; then
    (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
  fi
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
    --pid-file="$dir/pid/munged" --seed-file="$dir/munge/seed" --log-file="$dir/log/munged"
}

# Both nodes idle and a job through both of them: only then is it up.
wait_until_up() {
  local tries
  for tries in $(seq 150); do
    if [ "$(sinfo -h -N -p main -o %t 2>/dev/null | grep -cx idle)" = 2 ] &&
      sbatch --quiet --wait --nodes=2 --output=/dev/null --wrap=true; then
      return 0
    fi
    sleep 0.2
  done
  return 1
}

lacking=$(missing)
if [ -n "$lacking" ]; then
  echo "up.sh: not installed: $(tr '\n' ' ' <<<"$lacking")" >&2
  echo "up.sh: on Debian: apt-get install slurmctld slurmd slurm-client munge$(
    [ "$accounting" = 0 ] || echo " slurmdbd mariadb-server"
  )" >&2
  exit 3
fi
mkdir -p "$dir"/{munge,state,pid,log,gpu,db,spool/n1,spool/n2}
chmod 755 "$dir" "$dir/munge" "$dir/pid" "$dir/log"
write_conf
start_munge
[ "$accounting" = 0 ] || start_accounting
slurmctld -c
for node in n1 n2; do slurmd -c -N "$node"; done
if ! wait_until_up; then
  echo "up.sh: Slurm did not come up; the ends of its logs:" >&2
  tail -n 15 "$dir"/log/* >&2
  exit 1
fi
echo "up: $(sinfo --version), nodes n1 and n2; export SLURM_CONF=$SLURM_CONF"
