//! What is learnt of a row is what the person who wrote it meant, whatever the format of its file.

use std::path::Path;
use std::sync::Arc;

use data::{DataError, FileReport, PreparedData, Vocabulary, prepare};
use parquet::basic::{BrotliLevel, Compression};
use serde_json::{Map, Value, json};
use spec::{DataSettings, ValidationSource};

const MODEL: &str = "tests/bad_data/model";

fn prepared(name: &str, content: &[u8]) -> Result<PreparedData, DataError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (train, validation) = (dir.path().join(name), dir.path().join("validation.jsonl"));
    std::fs::write(&train, content).expect("writing the sample");
    std::fs::write(&validation, "{\"text\": \"validation\"}\n").expect("writing the sample");
    let settings = DataSettings::new(train, ValidationSource::File(validation));
    prepare(&settings, Path::new(MODEL), 4096)
}

/// The rows as the model sees them, what is learnt in brackets.
fn rows(data: &PreparedData) -> Vec<String> {
    let vocabulary = Vocabulary::load(Path::new(MODEL)).expect("the model's tokenizer");
    let shown = |example: &data::Example| {
        let pieces = vocabulary.pieces(&example.input_ids, &example.loss_mask);
        let pieces = pieces.iter().map(|piece| {
            if piece.is_target { format!("[{}]", piece.text) } else { piece.text.clone() }
        });
        pieces.collect::<String>()
    };
    data.train.examples.iter().map(shown).collect()
}

/// The row's cells, nested ones as JSON text, booleans as Python writes them.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => if *value { "True" } else { "False" }.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Files of every format with the same rows.
fn files(rows: &[Value]) -> Vec<(&'static str, Vec<u8>)> {
    let lines: Vec<String> = rows.iter().map(|row| format!("{row}\n")).collect();
    let lines = lines.concat();
    let windows = lines.replace('\n', "\r\n");
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("plain values");
    let list = Value::Array(rows.to_vec());
    let behind_each_other: String = rows.iter().map(pretty).collect();
    let on_one_line = lines.replace('\n', " ");
    let wrapped = json!({"version": "1", "size": [1, 2], "data": list, "split": {"name": "train"}});
    let lists =
        format!("{}\n{}", Value::Array(rows[..1].to_vec()), Value::Array(rows[1..].to_vec()));
    let fields: Vec<Map<String, Value>> =
        rows.iter().map(|row| row.as_object().expect("an object").clone()).collect();
    let mut columns: Vec<&String> = fields.iter().flat_map(Map::keys).collect();
    columns.sort_unstable();
    columns.dedup();
    let cells: Vec<Vec<String>> = fields
        .iter()
        .map(|row| {
            columns.iter().map(|column| row.get(*column).map(cell).unwrap_or_default()).collect()
        })
        .collect();
    let table = |delimiter| {
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        writer.write_record(&columns).expect("writing to memory");
        for row in &cells {
            writer.write_record(row).expect("writing to memory");
        }
        writer.into_inner().expect("flushing to memory")
    };
    let mut files = vec![
        ("x.jsonl", lines.into_bytes()),
        ("windows.jsonl", windows.into_bytes()),
        ("list.json", list.to_string().into_bytes()),
        ("pretty.json", pretty(&list).into_bytes()),
        ("behind_each_other.json", behind_each_other.into_bytes()),
        ("on_one_line.jsonl", on_one_line.into_bytes()),
        ("wrapped.json", pretty(&wrapped).into_bytes()),
        ("wrapped_line.json", wrapped.to_string().into_bytes()),
        ("lists.json", lists.into_bytes()),
        ("x.parquet", parquet_file(&columns, &cells, Compression::SNAPPY)),
        (
            "brotli.parquet",
            parquet_file(&columns, &cells, Compression::BROTLI(BrotliLevel::default())),
        ),
        ("lz4.parquet", parquet_file(&columns, &cells, Compression::LZ4_RAW)),
    ];
    for (name, delimiter) in [
        ("x.csv", b','),
        ("semicolons.csv", b';'),
        ("tabs.csv", b'\t'),
        ("x.tsv", b'\t'),
        ("bars.csv", b'|'),
    ] {
        files.push((name, table(delimiter)));
    }
    files
}

/// A table of texts.
fn parquet_file(columns: &[&String], rows: &[Vec<String>], compression: Compression) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::writer::SerializedFileWriter;
    let fields: Vec<String> =
        columns.iter().map(|name| format!("REQUIRED BINARY {name} (UTF8); ")).collect();
    let fields = fields.concat();
    let schema =
        parquet::schema::parser::parse_message_type(&format!("message rows {{ {fields} }}"))
            .expect("a schema");
    let properties =
        parquet::file::properties::WriterProperties::builder().set_compression(compression).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema.into(), properties.into())
        .expect("a writer to memory");
    let mut group = writer.next_row_group().expect("a row group");
    for column in 0..columns.len() {
        let values: Vec<ByteArray> =
            rows.iter().map(|row| ByteArray::from(row[column].as_str())).collect();
        let mut writer = group.next_column().expect("no error").expect("another column");
        writer.typed::<ByteArrayType>().write_batch(&values, None, None).expect("writing");
        writer.close().expect("writing");
    }
    group.close().expect("writing");
    writer.close().expect("writing");
    bytes
}

/// Asserts what is seen and learnt of the rows, in files of every format.
#[track_caller]
fn assert_learnt(rows_of_file: &[Value], expected: &[&str]) {
    for (name, content) in files(rows_of_file) {
        let data = prepared(name, &content).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(rows(&data), expected, "{name}");
    }
}

fn report(data: &PreparedData) -> &FileReport {
    &data.report.files[0]
}

#[test]
fn a_turn_with_any_flag_against_it_is_context_in_every_format() {
    let flags = [
        json!({"weight": 0}),
        json!({"train": false}),
        json!({"training": false}),
        json!({"loss": false}),
        json!({"trainable": false}),
        json!({"loss_mask": 0}),
        json!({"loss_weight": 0.0}),
        json!({"loss_scale": "0"}),
        json!({"masked": true}),
    ];
    let rows: Vec<Value> = flags
        .iter()
        .flat_map(|flag| {
            let mut ours = json!({"role": "assistant", "content": "no"});
            let mut share_gpt = json!({"from": "gpt", "value": "no"});
            for turn in [&mut ours, &mut share_gpt] {
                let fields = flag.as_object().expect("an object").clone();
                turn.as_object_mut().expect("an object").extend(fields);
            }
            let (user, right) = (json!({"role": "user", "content": "q"}), "right");
            let answer = json!({"role": "assistant", "content": right});
            [
                json!({"messages": [user, ours, user, answer]}),
                json!({"messages": [{"from": "human", "value": "q"}, share_gpt,
                    {"from": "human", "value": "q"}, {"from": "gpt", "value": right}]}),
            ]
        })
        .collect();
    let seen =
        "<s>### User:\nq\n\n### Assistant:\nno</s>\n\n### User:\nq\n\n### Assistant:\n[right</s>]";
    assert_learnt(&rows, &vec![seen; rows.len()]);
}

#[test]
fn a_list_of_flags_says_it_for_every_turn() {
    let turns = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "no"},
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}]);
    let seen =
        "<s>### User:\nq\n\n### Assistant:\nno</s>\n\n### User:\nq\n\n### Assistant:\n[yes</s>]";
    let rows = [
        json!({"messages": turns, "loss_mask": [0, 0, 0, 1]}),
        json!({"messages": turns, "loss_mask": [false, false, false, true]}),
    ];
    assert_learnt(&rows, &[seen, seen]);
    let told = |mask: Value| {
        let row = json!({"messages": turns, "loss_mask": mask}).to_string();
        prepared("x.jsonl", row.as_bytes()).expect_err("a refused row").to_string()
    };
    assert!(told(json!([0, 1])).contains("`loss_mask` has 2 flag(s) for 4 turn(s)"));
    assert!(told(json!([1, 0, 0, 1])).contains("`loss_mask[0]` says that a turn of the user"));
    assert!(told(json!([0, 0.5, 0, 1])).contains("`loss_mask[1]` must be 0 or 1"));
    assert!(
        told(json!("no list")).contains("`loss_mask` must be a list with a flag for every turn")
    );
}

#[test]
fn what_is_labelled_bad_is_left_out_on_purpose_in_every_spelling() {
    let labels =
        [json!(true), json!(false), json!(0), json!(1), json!("false"), json!("0"), json!("no")];
    for field in ["label", "kto_tag"] {
        let kinds = |label: &Value| {
            [
                json!({"prompt": "p", "completion": " c", field: label}),
                json!({"instruction": "p", "output": "c", field: label}),
                json!({"messages": [{"role": "user", "content": "p"},
                    {"role": "assistant", "content": "c"}], field: label}),
            ]
        };
        for kind in 0..3 {
            let rows_of_file: Vec<Value> =
                labels.iter().map(|label| kinds(label)[kind].clone()).collect();
            for (name, content) in files(&rows_of_file) {
                let data =
                    prepared(name, &content).unwrap_or_else(|error| panic!("{name}: {error}"));
                let file = report(&data);
                assert_eq!((file.used, file.left_out(), file.rows), (2, 5, 7), "{name} {field}");
                assert!(
                    file.skipped.iter().all(|row| row.reason.contains("is false: an answer to"))
                );
                let told = data.report.to_string();
                assert!(told.contains("left out on purpose: 5 rows"), "{told}");
                assert!(!told.contains("skipped"), "{told}");
            }
        }
    }
}

#[test]
fn a_label_that_judges_nothing_is_refused_and_the_class_of_a_text_is_none() {
    let row = json!({"prompt": "p", "completion": "c", "label": "great"}).to_string();
    let told = prepared("x.jsonl", row.as_bytes()).expect_err("a refused row").to_string();
    assert!(told.contains("`label` must be true or false (or 1 or 0), found \"great\""), "{told}");
    assert_learnt(
        &[json!({"text": "abc", "label": 0}), json!({"text": "def", "label": 3})],
        &["<s>[abc</s>]", "<s>[def</s>]"],
    );
    let all = json!({"prompt": "p", "completion": "c", "label": false}).to_string();
    let told = prepared("x.jsonl", all.as_bytes()).expect_err("nothing to learn").to_string();
    assert!(told.contains("all 1 rows are left out on purpose: `label` is false"), "{told}");
}

#[test]
fn the_chosen_answer_is_learnt_after_its_turns_or_its_instruction() {
    let turns = json!([{"from": "human", "value": "q1"}, {"from": "gpt", "value": "OLD"},
        {"from": "human", "value": "q2"}]);
    let (good, bad) =
        (json!({"from": "gpt", "value": "GOOD"}), json!({"from": "gpt", "value": "b"}));
    let seen = "<s>### User:\nq1\n\n### Assistant:\nOLD</s>\n\n### User:\nq2\n\n### Assistant:\n[GOOD</s>]";
    let rows = [
        json!({"conversations": turns, "chosen": good, "rejected": bad}),
        json!({"conversations": turns, "chosen": [good], "rejected": [bad]}),
        json!({"conversations": turns, "chosen": "GOOD", "rejected": "b"}),
    ];
    assert_learnt(&rows, &[seen; 3]);
    let prompt = "Below is an instruction that describes a task. Write a response that \
        appropriately completes the request.\n\n### Instruction:\nSay hi\n\n### Response:\n";
    assert_learnt(
        &[
            json!({"instruction": "Say hi", "input": "", "chosen": "hello", "rejected": "go away"}),
            json!({"instruction": "Say hi", "output": "hello"}),
        ],
        &[&format!("<s>{prompt}[hello</s>]"), &format!("<s>{prompt}[hello</s>]")],
    );
}

#[test]
fn what_is_said_before_a_prompt_makes_a_conversation_of_it() {
    let system = "<s>### System:\nS\n\n### User:\nSay hi\n\n### Assistant:\n[hello</s>]";
    let rows = [
        json!({"instruction": "Say hi", "input": "", "output": "hello", "system": "S"}),
        json!({"instruction": "Say", "input": "hi", "output": "hello", "system": "S"}),
    ];
    let joined = system.replace("Say hi", "Say\nhi");
    assert_learnt(&rows, &[system, &joined]);
    assert_learnt(&[json!({"prompt": "Say hi", "completion": "hello", "system": "S"})], &[system]);
    assert_learnt(
        &[json!({"prompt": "Say hi", "chosen": "hello", "rejected": "x", "system": "S"})],
        &[system],
    );
    let old =
        "<s>### User:\na\n\n### Assistant:\n[b</s>]\n\n### User:\nc\n\n### Assistant:\n[d</s>]";
    let history = json!([["a", "b"]]);
    assert_learnt(
        &[
            json!({"instruction": "c", "output": "d", "history": history}),
            json!({"instruction": "c", "output": "d",
                "history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
        ],
        &[old, old],
    );
    assert_learnt(
        &[json!({"prompt": "c", "chosen": "d", "rejected": "e", "history": history})],
        &[&old.replace("[b</s>]", "b</s>")],
    );
}

#[test]
fn plain_prompts_among_conversations_are_warned_of() {
    let with = json!({"prompt": "a", "completion": "b", "system": "S"});
    let without = json!({"prompt": "a", "completion": "b"});
    let content = format!("{with}\n{without}\n");
    let data = prepared("x.jsonl", content.as_bytes()).expect("two good rows");
    assert!(data.report.to_string().contains("the others as plain prompts"), "{}", data.report);
    let alone = prepared("x.jsonl", format!("{with}\n").as_bytes()).expect("a good row");
    assert!(!alone.report.to_string().contains("plain prompts"), "{}", alone.report);
}

#[test]
fn rows_with_pictures_are_refused_by_name_in_every_format() {
    let row = |images: Value| {
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "images": images})
    };
    for (name, content) in files(&[row(json!(["a.jpg"])), row(json!([])), row(json!([]))]) {
        let data = prepared(name, &content).unwrap_or_else(|error| panic!("{name}: {error}"));
        let skipped = &report(&data).skipped;
        assert_eq!((skipped.len(), report(&data).used), (1, 2), "{name}");
        assert!(skipped[0].reason.contains("`images` is not supported"), "{}", skipped[0].reason);
    }
}

#[test]
fn columns_with_text_that_is_not_read_are_named_once_a_file() {
    let row = |n: usize| {
        json!({"prompt": format!("p{n}"), "completion": " c", "notes": "read me", "id": "a1",
            "category": "maths", "score": 0.5})
    };
    for (name, content) in files(&[row(1), row(2)]) {
        let data = prepared(name, &content).unwrap_or_else(|error| panic!("{name}: {error}"));
        let warnings = data.report.warnings();
        let told: Vec<_> = warnings.iter().filter(|told| told.contains("not used")).collect();
        assert_eq!(told.len(), 1, "{name}: {warnings:?}");
        assert!(told[0].contains("columns `category`, `notes` hold text"), "{name}: {told:?}");
    }
}

#[test]
fn nan_is_an_empty_cell_and_nothing_else() {
    let row = |input: &str| {
        format!("{{\"instruction\": \"NaN\", \"input\": {input}, \"output\": \"b\"}}")
    };
    for word in ["NaN", "Infinity", "-Infinity"] {
        let files = [
            ("x.jsonl", row(word)),
            ("list.json", format!("[{}]", row(word))),
            ("pretty.json", row(word).replace(", ", ",\n")),
            ("wrapped.json", format!("{{\"loss\": NaN, \"rows\": [{}]}}", row(word))),
        ];
        for (name, content) in files {
            let data = prepared(name, content.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(rows(&data)[0].ends_with("### Instruction:\nNaN\n\n### Response:\n[b</s>]"));
        }
    }
    let nested = r#"{"messages": [{"role": "assistant", "content": "b", "weight": NaN}]}"#;
    let told = prepared("x.jsonl", nested.as_bytes()).expect_err("refused").to_string();
    assert!(told.contains("NaN is no JSON; write null"), "{told}");
    let told = prepared("x.json", format!("[{nested}]").as_bytes()).expect_err("refused");
    assert!(told.to_string().contains("no JSON: write null"), "{told}");
}

#[test]
fn an_answer_that_is_json_text_stays_the_text_that_it_is() {
    let answer = r#"[{"name": "f", "arguments": {"x": 1}}]"#;
    let turns = r#"[{"role": "user", "content": "hi"}]"#;
    assert_learnt(
        &[
            json!({"prompt": "call", "completion": answer}),
            json!({"prompt": "write turns", "completion": turns}),
        ],
        &[&format!("<s>call[{answer}</s>]"), &format!("<s>write turns[{turns}</s>]")],
    );
}

#[test]
fn an_object_with_several_lists_of_rows_is_one_error() {
    let rows = json!([{"prompt": "a", "completion": "b"}]);
    let both = json!({"train": rows, "test": rows});
    let pretty = serde_json::to_string_pretty(&both).expect("plain values");
    for content in [both.to_string(), pretty] {
        let told = prepared("x.json", content.as_bytes()).expect_err("two lists").to_string();
        assert!(told.contains("is one JSON object, not a list of rows"), "{told}");
        assert!(told.contains("`test`, `train`") || told.contains("`train`, `test`"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn a_line_that_breaks_off_is_a_bad_row_and_an_object_that_does_is_an_error() {
    let good = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
    let line = prepared("x.jsonl", format!("{{\"prompt\": \"a\"\n{good}").as_bytes());
    assert_eq!(report(&line.expect("a good row")).skipped[0].line, 1);
    let object = prepared("x.json", b"{\n\"data\": [\n{\"prompt\": \"a\",");
    let told = object.expect_err("cut off").to_string();
    assert!(told.contains("line 3") && told.contains("EOF") && told.lines().count() == 1, "{told}");
}

/// Two rows, the first one's picture a struct of its bytes and its name, as `datasets` stores it.
/// Values of a column, and the levels at which they are defined.
type Column<'a> = (&'a [&'a [u8]], Option<&'a [i16]>);

fn parquet_with_a_picture() -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::writer::SerializedFileWriter;
    let schema = "message rows { REQUIRED BINARY text (UTF8);
        OPTIONAL group image { OPTIONAL BINARY bytes; OPTIONAL BINARY path (UTF8); } }";
    let schema = parquet::schema::parser::parse_message_type(schema).expect("a schema");
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema.into(), Arc::default())
        .expect("a writer to memory");
    let mut group = writer.next_row_group().expect("a row group");
    let columns: [Column<'_>; 3] =
        [(&[b"a", b"b"], None), (&[b"\x89PNG\xFF"], Some(&[2, 0])), (&[], Some(&[1, 0]))];
    for (values, levels) in columns {
        let values: Vec<ByteArray> =
            values.iter().map(|value| ByteArray::from(value.to_vec())).collect();
        let mut writer = group.next_column().expect("no error").expect("another column");
        writer.typed::<ByteArrayType>().write_batch(&values, levels, None).expect("writing");
        writer.close().expect("writing");
    }
    group.close().expect("writing");
    writer.close().expect("writing");
    bytes
}

#[test]
fn a_picture_in_a_parquet_file_is_refused_by_name() {
    let data = prepared("x.parquet", &parquet_with_a_picture()).expect("a good row");
    assert_eq!(rows(&data), ["<s>[b</s>]"]);
    let reason = &report(&data).skipped[0].reason;
    assert!(reason.contains("`image` is not supported"), "{reason}");
}

/// Why a row is left out; good rows stand beside it, so that the file is used.
fn refused(row: &Value) -> String {
    let good = json!({"prompt": "p", "completion": "c"});
    let lines = [row, &good, &good].map(Value::to_string).join("\n");
    let data = prepared("x.jsonl", lines.as_bytes()).expect("good rows");
    report(&data).skipped[0].reason.clone()
}

#[test]
fn what_keeps_a_row_from_being_learnt_counts_beside_named_columns() {
    let rows = [
        json!({"q": "Q1", "a": "GOOD", "label": true}),
        json!({"q": "Q2", "a": "AVOID", "label": false}),
        json!({"q": "Q3", "a": "SEEN", "images": ["x.png"]}),
        json!({"q": "Q4", "a": "said", "system": "S"}),
    ];
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rows.jsonl");
    std::fs::write(&path, lines.join("\n")).expect("writing the rows");
    let mut settings = DataSettings::new(&path, ValidationSource::File(path.clone()));
    let named = [("prompt", "q"), ("completion", "a")];
    settings.columns = named.map(|(field, column)| (field.to_owned(), column.to_owned())).into();
    let model = Path::new("tests/bad_data/model");
    let data = prepare(&settings, model, 512).expect("usable rows");
    let file = &data.report.files[0];
    assert_eq!((file.used, file.left_out()), (2, 1));
    assert!(file.skipped[1].reason.contains("`images`"), "{:?}", file.skipped);
    assert_eq!(file.conversations, 1, "the row with a system turn");
}

#[test]
fn a_role_in_another_spelling_is_refused_with_the_one_that_is_meant() {
    for (role, meant) in [("model", "assistant"), ("Assistant", "assistant"), ("human", "user")] {
        let row = json!({"messages": [{"role": "user", "content": "a"},
            {"role": role, "content": "b"}, {"role": "assistant", "content": "c"}]});
        let reason = refused(&row);
        assert!(reason.contains("messages[1].role") && reason.contains(meant), "{reason}");
    }
}

#[test]
fn a_thought_that_no_template_writes_is_refused_by_name() {
    let row = json!({"messages": [{"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "THOUGHT"}]});
    assert!(
        refused(&row)
            .contains("`messages[1].reasoning_content` is written by the model's chat template")
    );
}

#[test]
fn a_chosen_text_alone_is_refused_because_its_prompt_cannot_be_told() {
    let reason = refused(&json!({"chosen": "Human: why? Assistant: so"}));
    assert!(reason.contains("`chosen` without `prompt`"), "{reason}");
}

#[test]
fn answers_that_are_the_same_on_both_sides_are_left_out_and_counted() {
    let ties = [
        json!({"prompt": "p", "chosen": "same", "rejected": "same "}),
        json!({"prompt": "p", "chosen": [{"role": "assistant", "content": "a"}],
               "rejected": [{"role": "assistant", "content": "a"}]}),
        json!({"chosen": "Human: a\n\nAssistant: b", "rejected": "Human: a\n\nAssistant: b"}),
        json!({"messages": [{"role": "user", "content": "a"}],
               "chosen": {"role": "assistant", "content": "b"},
               "rejected": {"role": "assistant", "content": "b"}}),
    ];
    let good = json!({"prompt": "p", "chosen": "a", "rejected": "b"});
    let lines: Vec<String> = ties.iter().chain([&good]).map(Value::to_string).collect();
    let data = prepared("x.jsonl", lines.join("\n").as_bytes()).expect("a good row");
    let file = report(&data);
    assert_eq!((file.used, file.left_out(), file.rows), (1, 4, 5));
    let told = data.report.to_string();
    assert!(told.contains("left out on purpose: 4 rows (lines 1, 2, 3, 4)"), "{told}");
    assert!(told.contains("`chosen` and `rejected` are the same"), "{told}");
}

#[test]
fn text_of_the_user_in_a_chosen_transcript_is_not_learnt() {
    let hh = |chosen: &str, rejected: &str| json!({"chosen": chosen, "rejected": rejected});
    for row in [
        hh(
            "\n\nHuman: hi\n\nAssistant: yes\n\nHuman: SECRET\n\nAssistant: ok",
            "\n\nHuman: hi\n\nAssistant: no",
        ),
        hh("\n\nHuman: hi there\n\nAssistant: yes", "\n\nHuman: hi you\n\nAssistant: no"),
        json!({"prompt": "Human: hi\n\nAssistant:", "rejected": "no",
               "chosen": " yes\n\nHuman: SECRET\n\nAssistant: ok"}),
    ] {
        let reason = refused(&row);
        assert!(reason.contains("text of the user (\"Human:\") would be learnt"), "{reason}");
    }
    let good = hh(
        "\n\nHuman: hi\n\nAssistant: hm\n\nHuman: well?\n\nAssistant: yes",
        "\n\nHuman: hi\n\nAssistant: hm\n\nHuman: well?\n\nAssistant: no",
    );
    let data = prepared("x.jsonl", good.to_string().as_bytes()).expect("a good row");
    assert_eq!(data.train.examples.len(), 1);
}

#[test]
fn a_prompt_that_is_null_is_refused_where_nothing_else_asks_for_the_answer() {
    let answer = json!([{"role": "assistant", "content": "a"}]);
    for row in [
        json!({"prompt": null, "completion": "a"}),
        json!({"prompt": null, "completion": answer}),
        json!({"prompt": null, "chosen": "b", "rejected": "c"}),
        json!({"prompt": null, "chosen": answer, "rejected": "c"}),
    ] {
        let reason = refused(&row);
        assert!(reason.contains("`prompt` is null"), "{reason}");
    }
    let lines = "{\"prompt\": NaN, \"completion\": \"a\"}\n".to_owned()
        + &"{\"prompt\": \"\", \"completion\": \"a\"}\n".repeat(2);
    let data = prepared("x.jsonl", lines.as_bytes()).expect("good rows");
    assert_eq!((report(&data).skipped[0].line, report(&data).skipped.len()), (1, 1));
    let asked = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let row = json!({"prompt": null, "completion": asked});
    assert!(prepared("x.jsonl", row.to_string().as_bytes()).is_ok());
}

#[test]
fn a_flag_that_an_answer_within_the_prompt_is_learnt_is_refused() {
    for flag in ["train", "weight"] {
        let earlier = json!({"role": "assistant", "content": "a", flag: 1});
        let turns = json!([{"role": "user", "content": "q"}, earlier,
                           {"role": "user", "content": "r"}]);
        for answer in ["completion", "chosen"] {
            let row = json!({"prompt": turns, answer: "b", "rejected": "c"});
            let reason = refused(&row);
            let said = format!("`prompt[1].{flag}` says that an earlier answer is learnt");
            assert!(reason.contains(&said), "{reason}");
        }
    }
}
