#!/bin/bash
# Plays sbatch, squeue, scancel, scontrol and sacct by the name it is called by, for tests: jobs are
# processes of this machine. It keeps what it knows beside itself, under state/. Files there change
# its mood: `hangs` submits without an answer, `refuses` and `garbles` hold what sbatch says.
here=$(cd "$(dirname "$0")" && pwd)/state
mkdir -p "$here/jobs"

option() { sed -n "s/^#SBATCH --$2=//p" "$here/jobs/$1/script" | head -n 1 | sed 's/^"//; s/"$//'; }

# Runs a job until it ends without having been queued again.
serve() {
  local job=$here/jobs/$1 output
  output=$(option "$1" output)
  output=${output//%j/$1}
  output=${output//%%/%}
  while :; do
    rm -f "$job/again" "$job/status"
    SLURM_JOB_ID=$1 PATH=$(dirname "$here"):$PATH setsid bash "$job/script" >>"$output" 2>&1 &
    echo $! >"$job/pid"
    wait $!
    echo $? >"$job/status"
    [ -e "$job/again" ] || break
  done
}

state() {
  local job=$here/jobs/$1
  if [ -e "$job/state" ]; then cat "$job/state"
  elif [ ! -e "$job/pid" ]; then echo PENDING
  elif [ ! -e "$job/status" ] || [ -e "$job/again" ]; then echo RUNNING
  elif [ -e "$job/cancelled" ]; then echo CANCELLED
  elif [ "$(cat "$job/status")" = 0 ]; then echo COMPLETED
  else echo FAILED; fi
}

case $(basename "$0") in
sbatch)
  if [ -e "$here/refuses" ]; then cat "$here/refuses" >&2; exit 1; fi
  until mkdir "$here/jobs/$((id = ${id:-0} + 1))" 2>/dev/null; do :; done
  cp "${!#}" "$here/jobs/$id/script"
  serve "$id" >/dev/null 2>&1 &
  if [ -e "$here/hangs" ]; then sleep 60; fi
  if [ -e "$here/garbles" ]; then cat "$here/garbles"; else echo "$id"; fi
  ;;
squeue)
  if [ -e "$here/refuses" ]; then cat "$here/refuses" >&2; exit 1; fi
  for job in "$here"/jobs/*; do
    id=$(basename "$job")
    if [ ! -e "$job/forgotten" ]; then echo "$id|$(state "$id")|here|$(option "$id" comment)|None"; fi
  done
  ;;
scontrol)
  if [ "$1" = requeue ]; then
    touch "$here/jobs/$2/again"
  else
    for job in "$here"/jobs/*; do
      id=$(basename "$job")
      echo "JobId=$id JobName=a b JobState=$(state "$id") ExitCode=$(cat "$job/status"):0 NodeList=here"
    done
  fi
  ;;
scancel)
  id=${!#} signal=TERM
  [ -e "$here/jobs/$id" ] || { echo "scancel: error: Kill job error on job id $id: Invalid job id specified" >&2; exit 1; }
  for word in "$@"; do
    case $word in --signal=*) signal=${word#*=} ;; esac
  done
  if [ "$signal" = TERM ]; then touch "$here/jobs/$id/cancelled"; fi
  # On a busy machine the job's process may still have to come, or to lead its group.
  for _ in $(seq 3000); do
    [ ! -e "$here/jobs/$id/status" ] || break
    process=$(cat "$here/jobs/$id/pid" 2>/dev/null)
    if [ "$signal" = TERM ]; then kill -TERM -- "-$process" 2>/dev/null && break
    else kill "-$signal" "$process" 2>/dev/null && break; fi
    sleep 0.02
  done
  exit 0
  ;;
sacct)
  echo "Slurm accounting storage is disabled" >&2
  exit 1
  ;;
esac
