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
# What it covers: the crate, its test program (`test` or `lib`), and the tests by their full names.
cat > "$work/kinds" <<'KINDS'
sweep files (YAML)|spec|test|hostile_files::a_sweep_of_anything_is_refused_with_places_or_can_be_told_apart hostile_files::a_file_cut_anywhere_is_read_or_refused
data rows (JSONL, CSV, text)|data|test|data_properties::arbitrary_bytes_never_panic data_properties::shreds_of_jsonl_give_sound_data_or_a_message data_properties::shreds_of_csv_give_sound_data_or_a_message data_properties::shreds_of_chats_and_lists_give_sound_data_or_a_message data_properties::any_text_file_gives_its_tokens_in_order_or_a_message
data files (gzip, zstd, Parquet)|data|test|data_properties::damaged_compressed_files_give_sound_data_or_a_message data_properties::damaged_zstd_files_give_sound_data_or_a_message data_properties::damaged_parquet_files_give_sound_data_or_a_message
weights (safetensors, index)|trainer|test|hostile_models::changed_bytes_in_a_weight_file_are_an_error_or_other_weights hostile_models::a_weight_file_cut_anywhere_is_refused hostile_models::any_header_is_refused hostile_models::an_index_of_anything_is_refused
weights (GGUF)|trainer|test|hostile_models::changed_bytes_in_a_gguf_files_header_are_an_error_or_another_model hostile_models::a_gguf_header_of_large_numbers_is_refused
config.json|trainer|test|hostile_models::a_config_of_anything_is_refused_or_its_model_is_loaded
tokenizer.json|trainer|test|hostile_models::a_tokenizer_that_was_changed_is_refused_or_used hostile_models::a_tokenizer_with_keys_of_anything_is_refused_or_used
adapters|trainer|test|hostile_models::an_adapter_of_anything_is_refused_or_loaded
chat templates|data|test|hostile_templates::random_templates_of_what_grows_end_in_bounded_memory hostile_templates::shreds_of_templates_end_in_data_or_a_message
journals|store|test|hostile_files::a_journal_of_any_lines_is_read_or_refused hostile_files::changed_bytes_anywhere_are_noticed_or_harmless
journals cut|store|test|journal::a_journal_cut_at_any_byte_goes_on_with_whole_records journal::a_changed_bit_never_changes_what_a_journal_says
checkpoints, files of workers|store|test|hostile_files::files_of_workers_and_checkpoints_may_hold_anything
checkpoints' content|trainer|test|hostile_checkpoints::a_checkpoint_whose_scalars_say_anything_is_refused_or_trained_on_from hostile_checkpoints::a_checkpoint_whose_tensors_are_anything_is_refused_or_trained_on_from hostile_checkpoints::changed_bytes_in_a_checkpoint_are_refused_or_trained_on_from
SHA256SUMS, manifests|store|test|hostile_lists::checksums_of_anything_vouch_only_for_what_they_name_with_its_content hostile_lists::lists_of_anything_make_no_file_elsewhere_or_changed_since_ours
hub (JSON, headers, index)|lorasweep|lib|hub::hostile::what_a_hub_answers_is_refused_or_stays_within_the_cache hub::hostile::an_index_of_anything_names_plain_files_or_is_refused
journals in reports, tables|reporter|test|hostile_journals::a_journal_of_anything_is_ranked_and_exported_in_well_formed_files
journals in trackers' files|reporter|test|hostile_journals::trackers_get_whole_lines_and_paths_below_their_folder
lines of tell|worker|test|board::whatever_is_told_is_taken_or_refused_and_the_sweep_goes_on
Slurm's output|worker|lib|launch::slurm::jobs::tests::no_text_makes_the_readers_panic launch::slurm::jobs::tests::a_job_is_read_from_a_listing_whatever_its_reason
metrics of commands|worker|lib|metrics::line::tests::no_printed_line_makes_the_reader_panic
KINDS

# Copies of the test programs: who builds meanwhile does not change them. All crates are built together,
# so that their features are those of every other build.
${CARGO:-cargo} test --workspace --no-run --message-format json 2> "$work/log" |
    sed -n 's|.*"manifest_path":"[^"]*/crates/\([a-z]*\)/Cargo.toml","target":{"kind":\["\([a-z]*\)"\].*"executable":"\([^"]*\)".*|\1 \2 \3|p' \
    > "$work/programs"
while read -r crate target program; do
    cp "$program" "$work/$crate-$target"
done < "$work/programs"

# A name that selects nothing must not pass for a test that found nothing.
while IFS='|' read -r kind crate target tests; do
    [ -x "$work/$crate-$target" ] || { cat "$work/log"; echo "no test program of $crate ($target)"; exit 1; }
    "$work/$crate-$target" --list 2> /dev/null > "$work/list"
    for name in $tests; do
        grep -qxF "$name: test" "$work/list" || { echo "no test $name ($kind)"; exit 1; }
    done
done < "$work/kinds"

ends=$(($(date +%s) + minutes * 60))
ulimit -v 4194304
round=0
failed=0
while [ "$(date +%s)" -lt "$ends" ]; do
    round=$((round + 1))
    while IFS='|' read -r kind crate target tests; do
        [ "$(date +%s)" -lt "$ends" ] || break
        began=$(date +%s)
        # shellcheck disable=SC2086
        if (cd "crates/$crate" && CARGO_MANIFEST_DIR=$PWD TMPDIR=$memory PROPTEST_CASES=$cases \
            $core "$work/$crate-$target" --test-threads 1 --exact $tests) > "$work/log" 2>&1 &&
            passed=$(sed -n 's/^test result: ok. \([0-9]*\) passed.*/\1/p' "$work/log") &&
            [ "$passed" = "$(echo "$tests" | wc -w)" ]; then
            echo "$kind|$((passed * cases))|$(($(date +%s) - began))" >> "$work/done"
        else
            echo "round $round: FAILED: $kind"
            failed=1
            grep -v '^  *[0-9]*:\|^  *at ' "$work/log" | tail -n 40
            echo "$kind|0|$(($(date +%s) - began))" >> "$work/done"
        fi
    done < "$work/kinds"
done
echo "$round rounds of $cases cases a test in $minutes minutes:"
awk -F '|' '{cases[$1] += $2; seconds[$1] += $3}
    END {for (kind in cases) printf "%10d cases, %5d s: %s\n", cases[kind], seconds[kind], kind}' \
    "$work/done" | sort -k 5
# Of the children, which a subshell does not have.
times > "$work/times"
echo "processor time (user, system) of all tests: $(tail -n 1 "$work/times")"
exit "$failed"
