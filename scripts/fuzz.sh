#!/bin/sh
# Runs the property tests over hostile input for a long time, in rounds with new random cases, and
# tells the cases of each kind. A process that takes more than 4 GiB of address space fails. New
# failures are kept in the *.proptest-regressions beside the tests, as ever.
#
#   scripts/fuzz.sh [MINUTES] [CASES]      (60 minutes, rounds of 2000 cases a test)
#
# CORE=1 holds everything to one core, as the lowest priority.
set -eu
cd "$(dirname "$0")/.."
minutes=${1:-60}
cases=${2:-2000}
core=${CORE:+nice -n 19 taskset -c "$CORE"}

work=$(mktemp -d)
# Tests write files and wait for the disk, which tells nothing here.
memory=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$work")/fuzz.XXXXXX")
trap 'rm -rf "$work" "$memory"' EXIT
# What it covers, the crate and the binary of its tests, and parts of their names.
cat > "$work/kinds" <<'KINDS'
sweep files (YAML)|spec|it|a_sweep_of_anything a_file_cut_anywhere
data rows (JSONL, CSV, text)|data|it|arbitrary_bytes shreds_of any_text_file
data files (gzip, zstd, Parquet)|data|it|damaged_
weights (safetensors, index)|trainer|it|weight_file any_header an_index_of
weights (GGUF)|trainer|it|gguf
config.json|trainer|it|a_config_of_anything
tokenizer.json|trainer|it|a_tokenizer
adapters|trainer|it|an_adapter_of_anything
chat templates|data|it|random_templates shreds_of_templates
journals|store|it|a_journal_of_any_lines changed_bytes
journals cut|store|it|a_journal_cut
checkpoints, files of workers|store|it|files_of_workers
Slurm's output|worker|lib|no_text_makes_the_readers a_job_is_read_from
metrics of commands|worker|lib|no_printed_line
KINDS

# Copies of the test programs: who builds meanwhile does not change them.
cut -d '|' -f 2,3 "$work/kinds" | sort -u | while IFS='|' read -r crate target; do
    [ "$target" = lib ] && what=--lib || what="--test $target"
    # shellcheck disable=SC2086
    program=$(cargo test --package "lorasweep-$crate" $what --no-run 2>&1 | sed -n 's/.*(\(target.*\))$/\1/p')
    cp "$program" "$work/$crate-$target"
done

ends=$(($(date +%s) + minutes * 60))
ulimit -v 4194304
round=0
while [ "$(date +%s)" -lt "$ends" ]; do
    round=$((round + 1))
    while IFS='|' read -r kind crate target tests; do
        [ "$(date +%s)" -lt "$ends" ] || break
        began=$(date +%s)
        # shellcheck disable=SC2086
        if (cd "crates/$crate" && CARGO_MANIFEST_DIR=$PWD TMPDIR=$memory PROPTEST_CASES=$cases \
            $core "$work/$crate-$target" --test-threads 1 $tests) > "$work/log" 2>&1; then
            passed=$(sed -n 's/^test result: ok. \([0-9]*\) passed.*/\1/p' "$work/log")
            echo "$kind|$((passed * cases))|$(($(date +%s) - began))" >> "$work/done"
        else
            echo "round $round: FAILED: $kind"
            grep -v '^  *[0-9]*:\|^  *at ' "$work/log" | tail -n 40
            echo "$kind|0|$(($(date +%s) - began))" >> "$work/done"
        fi
    done < "$work/kinds"
done
echo "$round rounds of $cases cases a test in $minutes minutes:"
awk -F '|' '{cases[$1] += $2; seconds[$1] += $3}
    END {for (kind in cases) printf "%10d cases, %5d s: %s\n", cases[kind], seconds[kind], kind}' \
    "$work/done" | sort -k 5
