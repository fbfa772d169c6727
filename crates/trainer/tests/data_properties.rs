//! Whatever stands in a data file, preparing it ends in data or in a message.

use std::path::Path;

use proptest::prelude::*;
use spec::{DataSettings, ValidationSource};
use trainer::data::{DataError, PreparedData, prepare};

const LIMIT: usize = 32;

fn prepare_bytes(name: &str, content: &[u8]) -> Result<PreparedData, DataError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let train = dir.path().join(name);
    std::fs::write(&train, content).expect("writing the sample");
    let settings = DataSettings::new(train, ValidationSource::Fraction(0.5));
    prepare(&settings, Path::new("tests/bad_data/model"), LIMIT)
}

/// What a caller may rely on in data that was accepted.
fn check(data: &PreparedData) -> Result<(), TestCaseError> {
    for example in data.train.examples.iter().chain(&data.validation.examples) {
        prop_assert_eq!(example.input_ids.len(), example.loss_mask.len());
        prop_assert!(example.input_ids.len() <= LIMIT);
        prop_assert!(!example.loss_mask[0] && example.targets() > 0);
    }
    prop_assert!(!data.train.examples.is_empty() && !data.validation.examples.is_empty());
    let file = &data.report.files[0];
    prop_assert_eq!(file.used + file.skipped.len(), file.rows);
    prop_assert_eq!(file.used, data.train.examples.len() + data.validation.examples.len());
    prop_assert!(file.skipped.is_sorted_by_key(|row| row.line));
    Ok(())
}

/// Pieces of data files, good, bad and cut off.
fn shreds(pieces: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

const JSON_SHREDS: &[&[u8]] = &[
    b"{\"text\": \"a\"}\n",
    b"{\"text\": \"b\"}\r\n",
    b"{\"prompt\": \"a\", \"completion\": \"\xC3\xA9\"}\n",
    b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n",
    b"{\"instruction\": 1, \"output\": null}\n",
    b"{\"text\"",
    b"[[",
    b"\n",
    b"\xEF\xBB\xBF",
    b"\"\\u0000\\ud800\"",
];

const CSV_SHREDS: &[&[u8]] =
    &[b"a,b\n", b"c,d\r\n", b"\"e\ne\",f\n", b"\"", b",", b"\n", b"\r", b"g", b"\xEF\xBB\xBF"];

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        content in proptest::collection::vec(any::<u8>(), 0..200),
        name in proptest::sample::select(&["x.jsonl", "x.csv"][..]),
    ) {
        if let Ok(data) = prepare_bytes(name, &content) {
            check(&data)?;
        }
    }

    #[test]
    fn shreds_of_jsonl_give_sound_data_or_a_message(content in shreds(JSON_SHREDS)) {
        match prepare_bytes("x.jsonl", &content) {
            Ok(data) => check(&data)?,
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn shreds_of_csv_give_sound_data_or_a_message(content in shreds(CSV_SHREDS)) {
        let content = [b"prompt,completion\n".as_slice(), &content].concat();
        match prepare_bytes("x.csv", &content) {
            Ok(data) => check(&data)?,
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn every_text_survives_the_trip_through_csv(
        pairs in proptest::collection::btree_set(("[a-z\",\r\n]{0,6}", "[a-z][a-z\",\r\n]{0,6}"), 2..12),
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["prompt", "completion"]).expect("writing to memory");
        for (prompt, completion) in &pairs {
            writer.write_record([prompt, completion]).expect("writing to memory");
        }
        let content = writer.into_inner().expect("flushing to memory");
        if let Ok(data) = prepare_bytes("x.csv", &content) {
            prop_assert_eq!(data.report.files[0].used, pairs.len());
        }
    }
}

#[test]
fn the_same_files_give_the_same_data() {
    let content = b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"c\"}\n";
    let one = prepare_bytes("x.jsonl", content).expect("good rows");
    let other = prepare_bytes("x.jsonl", content).expect("good rows");
    assert_eq!(one.train.content_hash(), other.train.content_hash());
    assert_ne!(one.train.content_hash(), one.validation.content_hash());
}
