//! Each file of `bad_data/`, and the message that it gets.

use std::path::{Path, PathBuf};

use data::prepare;
use spec::{DataSettings, ValidationSource};

const GOOD_MODEL: &str = "model";
const LIMIT: usize = 128;

fn path(name: &str) -> PathBuf {
    Path::new("tests/bad_data").join(name)
}

/// The error, or the report where the file is good enough to be used.
fn told(train: &str, validation: ValidationSource, model: &str, limit: usize) -> String {
    let settings = DataSettings::new(path(train), validation);
    match prepare(&settings, &path(model), limit) {
        Ok(data) => format!("used:\n{}", data.report),
        Err(error) => format!("error: {error}"),
    }
}

fn assert_told(snapshot: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../bad_data/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(snapshot, text));
}

macro_rules! bad_files {
    ($($test:ident: $file:literal),* $(,)?) => {$(
        #[test]
        fn $test() {
            let text = told($file, ValidationSource::Fraction(0.5), GOOD_MODEL, LIMIT);
            assert_told(stringify!($test), &text);
        }
    )*};
}

bad_files! {
    bytes_that_are_not_utf8_are_named_with_their_place: "not_utf8.jsonl",
    a_half_bad_file_with_one_row_left_cannot_be_split: "not_utf8_half.jsonl",
    utf16_is_recognised: "utf16.jsonl",
    malformed_json_is_named_with_its_place: "malformed.jsonl",
    unknown_schemas_show_the_keys_found_and_the_accepted_ones: "wrong_schema.jsonl",
    wrong_types_name_the_field: "wrong_types.jsonl",
    empty_fields_are_named: "empty_fields.jsonl",
    fields_whose_meaning_would_be_lost_are_refused: "unsupported_fields.jsonl",
    an_empty_jsonl_file_has_no_rows: "empty.jsonl",
    a_blank_jsonl_file_has_no_rows: "blank.jsonl",
    an_empty_csv_file_has_no_rows: "empty.csv",
    a_csv_header_alone_has_no_rows: "only_header.csv",
    a_json_list_is_read_as_well: "list.json",
    a_pretty_printed_object_is_one_row: "pretty_printed.json",
    an_unknown_ending_shows_the_accepted_ones: "rows.xlsx",
    a_missing_ending_shows_the_accepted_ones: "no_ending",
    bad_rows_of_one_cause_are_named_together: "many_bad_rows.jsonl",
    a_missing_file_is_named: "no_such_file.jsonl",
    bad_rows_among_good_ones_are_reported_and_left_out: "mixed.jsonl",
    a_csv_header_of_no_schema_shows_its_columns: "wrong_columns.csv",
    a_csv_header_of_half_a_schema_shows_its_columns: "half_schema.csv",
    a_repeated_csv_column_is_refused: "repeated_column.csv",
    csv_records_of_the_wrong_length_are_named: "field_counts.csv",
    an_open_quote_is_named_where_it_opens: "open_quote.csv",
    an_open_quote_in_the_header_is_named: "open_quote_in_header.csv",
    csv_cells_that_are_not_utf8_name_their_column: "not_utf8.csv",
    csv_messages_that_are_no_json_are_named: "bad_messages.csv",
    flags_that_are_not_understood_are_refused_by_name: "flags.jsonl",
    parts_that_are_no_text_are_named_with_their_place: "parts.jsonl",
    one_distinct_row_cannot_be_split: "one_distinct_row.jsonl",
}

macro_rules! bad_models {
    ($($test:ident: $model:literal),* $(,)?) => {$(
        #[test]
        fn $test() {
            let text = told("mixed.jsonl", ValidationSource::Fraction(0.5), $model, LIMIT);
            assert_told(stringify!($test), &text);
        }
    )*};
}

bad_models! {
    a_model_without_a_tokenizer_says_what_to_copy: "model_without_tokenizer",
    a_sentencepiece_model_says_how_to_convert_it: "model_sentencepiece",
    a_broken_tokenizer_is_named: "model_broken_tokenizer",
    a_broken_tokenizer_config_is_named: "model_broken_config",
    a_model_without_an_end_token_says_where_to_set_it: "model_without_eos",
    an_end_token_outside_the_vocabulary_is_named: "model_unknown_eos",
    a_broken_chat_template_is_named: "model_broken_template",
}

#[test]
fn over_long_rows_are_cut_or_left_out_by_line() {
    let text = told("over_long.jsonl", ValidationSource::Fraction(0.5), GOOD_MODEL, 20);
    assert_told("over_long_rows_are_cut_or_left_out_by_line", &text);
}

#[test]
fn leaks_between_given_files_are_warned_of_by_line() {
    let validation = ValidationSource::File(path("leaking_validation.csv"));
    let text = told("mixed.jsonl", validation, GOOD_MODEL, LIMIT);
    assert_told("leaks_between_given_files_are_warned_of_by_line", &text);
}

#[test]
fn a_fraction_that_leaves_nothing_is_refused() {
    let text = told("mixed.jsonl", ValidationSource::Fraction(1.0), GOOD_MODEL, LIMIT);
    assert_told("a_fraction_that_leaves_nothing_is_refused", &text);
}
