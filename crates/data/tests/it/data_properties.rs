//! Whatever stands in a data file, preparing it ends in data or in a message.

use std::path::Path;

use data::{DataError, PreparedData, prepare};
use proptest::prelude::*;
use spec::{DataSettings, ValidationSource};

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

const CHAT_SHREDS: &[&[u8]] = &[
    b"{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", \"value\": \"b\"}]}",
    b"{\"conversations\": [{\"from\": \"function_call\", \"value\": \"{}\"}], \"tools\": \"[{}]\"}",
    b"{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"arguments\": \"{}\"}}]}]}",
    b"{\"prompt\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}]}], \"completion\": [{\"role\": \"assistant\", \"content\": \"b\"}]}",
    b"{\"chosen\": \"a b\", \"rejected\": \"a c\"}",
    b"{\"chosen\": [{\"role\": \"assistant\", \"content\": \"b\"}], \"prompt\": 1}",
    b"{\"text\": \"a\", \"label\": false}",
    b"{\"prompt\": \"a\", \"completion\": \"b\", \"label\": 0, \"notes\": NaN}",
    b"{\"messages\": \"[{\\\"role\\\": \\\"assistant\\\", \\\"content\\\": \\\"b\\\"}]\", \"loss_mask\": [1]}",
    b"{\"instruction\": \"a\", \"output\": \"b\", \"history\": [[\"c\", \"d\"]], \"system\": \"s\"}",
    b"{\"messages\": [{\"from\": \"gpt\", \"value\": \"b\", \"train\": -Infinity}], \"chosen\": {}}",
    b"{\"data\": [",
    b",",
    b"[",
    b"]",
    b"\n",
    b"{",
];

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, content).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

/// A Parquet file of prompts, completions and a nested column that nobody reads.
fn parquet_file(rows: &[(&str, &str)]) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::writer::SerializedFileWriter;
    let schema =
        "message rows { REQUIRED BINARY prompt (UTF8); REQUIRED BINARY completion (UTF8); }";
    let schema = parquet::schema::parser::parse_message_type(schema).expect("a schema");
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema.into(), properties.into())
        .expect("a writer to memory");
    let mut group = writer.next_row_group().expect("a row group");
    for column in [0, 1] {
        let of_row = |(prompt, completion): &(&str, &str)| {
            ByteArray::from(if column == 0 { *prompt } else { *completion })
        };
        let values: Vec<ByteArray> = rows.iter().map(of_row).collect();
        let mut writer = group.next_column().expect("no error").expect("two columns");
        writer.typed::<ByteArrayType>().write_batch(&values, None, None).expect("writing");
        writer.close().expect("writing");
    }
    group.close().expect("writing");
    writer.close().expect("writing");
    bytes
}

/// Content with some bytes changed and the end cut off.
fn damaged(content: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = content.len();
    let changes = proptest::collection::vec((0..len, any::<u8>()), 0..6);
    (changes, 0..=len, any::<bool>()).prop_map(move |(changes, end, cuts)| {
        let mut content = content.clone();
        for (at, byte) in changes {
            content[at] = byte;
        }
        content.truncate(if cuts { end } else { len });
        content
    })
}

fn many_rows() -> Vec<u8> {
    (0..200).flat_map(|i| format!("{{\"text\": \"row {i}\"}}\n").into_bytes()).collect()
}

proptest! {
    #[test]
    fn shreds_of_chats_and_lists_give_sound_data_or_a_message(
        content in shreds(CHAT_SHREDS),
        name in proptest::sample::select(&["x.jsonl", "x.json"][..]),
        is_list in any::<bool>(),
    ) {
        let content = if is_list { [b"[", content.as_slice(), b"]"].concat() } else { content };
        match prepare_bytes(name, &content) {
            Ok(data) => check(&data)?,
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn damaged_compressed_files_give_sound_data_or_a_message(content in damaged(gzip(&many_rows()))) {
        match prepare_bytes("x.jsonl.gz", &content) {
            Ok(data) => check(&data)?,
            Err(error) => prop_assert!(error.to_string().contains("x.jsonl.gz")),
        }
    }

    #[test]
    fn damaged_zstd_files_give_sound_data_or_a_message(
        content in damaged(zstd::encode_all(&many_rows()[..], 1).expect("compressing")),
    ) {
        match prepare_bytes("x.jsonl.zst", &content) {
            Ok(data) => check(&data)?,
            Err(error) => prop_assert!(error.to_string().contains("x.jsonl.zst")),
        }
    }

    #[test]
    fn damaged_parquet_files_give_sound_data_or_a_message(
        content in damaged(parquet_file(&[("a", "one"), ("b", "two"), ("c", "three"), ("d", "four")])),
    ) {
        match prepare_bytes("x.parquet", &content) {
            Ok(data) => check(&data)?,
            Err(error) => prop_assert!(error.to_string().contains("x.parquet")),
        }
    }

    #[test]
    fn any_text_file_gives_its_tokens_in_order_or_a_message(
        content in "[a-zé\n ]{0,400}", bytes in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        let content = [content.as_bytes(), &bytes].concat();
        match prepare_bytes("x.txt", &content) {
            Ok(data) => check(&data)?,
            Err(error) => prop_assert!(error.to_string().contains("x.txt")),
        }
    }
}

#[test]
fn a_parquet_file_is_read_row_by_row() {
    let rows = [("the first", "one"), ("the second", "two"), ("the third", " ")];
    let data = prepare_bytes("x.parquet", &parquet_file(&rows)).expect("good rows");
    let file = &data.report.files[0];
    assert_eq!((file.rows, file.used), (3, 2));
    assert!(data.report.to_string().contains("row 3: `completion` is empty"), "{}", data.report);
}

#[test]
fn nesting_without_end_is_a_bad_row_and_not_the_end_of_the_program() {
    let deep = format!("{{\"text\": {}", "[".repeat(1 << 20));
    let content = format!("{{\"text\": \"a\"}}\n{deep}\n{{\"text\": \"b\"}}\n");
    let data = prepare_bytes("x.jsonl", content.as_bytes()).expect("two good rows");
    let reason = &data.report.files[0].skipped[0].reason;
    assert!(reason.contains("recursion limit"), "{reason}");
    let list = prepare_bytes("x.json", format!("[{deep}").as_bytes()).expect_err("no list");
    assert!(list.to_string().contains("line 1, column"), "{list}");
}

/// Compressed, since such a file is small and what it holds need not be.
#[test]
fn a_row_without_end_is_left_out_before_it_fills_the_memory() {
    let long = format!("{{\"text\": \"{}\"}}\n", "x".repeat(65 << 20));
    let content = format!("{{\"text\": \"a\"}}\n{long}{{\"text\": \"b\"}}\n");
    let data = prepare_bytes("x.jsonl.gz", &gzip(content.as_bytes())).expect("two good rows");
    let skipped = &data.report.files[0].skipped;
    assert_eq!((skipped[0].line, skipped[0].reason.as_str()), (2, "longer than 64 MiB"));
    let list = prepare_bytes("x.json.gz", &gzip(format!("[{long}]").as_bytes())).expect_err("long");
    assert!(list.to_string().contains("line 1 is longer than 64 MiB"), "{list}");
    let line = "x".repeat(1 << 20) + "\n";
    let csv = format!("text\na\n\"{}", line.repeat(65));
    let csv = prepare_bytes("x.csv.gz", &gzip(csv.as_bytes())).expect_err("a quote left open");
    assert!(csv.to_string().contains("begins on line 3 is longer than 64 MiB"), "{csv}");
}

#[test]
fn tokens_of_a_large_file_are_kept_and_give_the_same_data() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (rows, cache) = (dir.path().join("x.jsonl"), dir.path().join("cache"));
    let line =
        |i: usize| format!("{{\"prompt\": \"{i}\", \"completion\": \"{}\"}}\n", "é".repeat(200));
    let content: String = (0..11_000).map(line).collect::<String>() + "{oops\n";
    std::fs::write(&rows, content).expect("writing the sample");
    let settings = DataSettings::new(&rows, ValidationSource::Fraction(0.5));
    let prepared = || {
        let model = Path::new("tests/bad_data/model");
        data::prepare_cached(&settings, model, LIMIT, Some(&cache)).expect("good rows")
    };
    let first = prepared();
    let entries = || std::fs::read_dir(&cache).expect("the cache").count();
    assert_eq!(entries(), 1);
    let second = prepared();
    assert_eq!(entries(), 1);
    assert_eq!(first.train, second.train);
    assert_eq!(first.validation, second.validation);
    assert_eq!(first.report, second.report);
    assert_eq!(first.places.train, second.places.train);
    assert!(second.report.to_string().contains("line 11001: malformed JSON"));
}
