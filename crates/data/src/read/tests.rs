use super::*;

struct Read {
    facts: FileFacts,
    rows: Vec<LocatedRow>,
}

impl Read {
    fn lines(&self) -> Vec<u64> {
        self.rows.iter().filter(|row| row.parsed.is_ok()).map(|row| row.line).collect()
    }

    fn row(&self, index: usize) -> &Row {
        &self.rows[index].parsed.as_ref().expect("a good row").1
    }

    fn skipped(&self) -> Vec<(u64, String)> {
        let reason = |row: &LocatedRow| Some((row.line, row.parsed.as_ref().err()?.to_string()));
        self.rows.iter().filter_map(reason).collect()
    }
}

fn read_as(name: &str, content: &[u8], columns: &[(&str, &str)]) -> Result<Read, DataError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("writing the sample");
    let columns = columns.iter().map(|(field, name)| ((*field).into(), (*name).into()));
    let mut rows = Vec::new();
    let facts = each_row(&path, &Columns::new(&columns.collect()), &mut |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok(Read { facts, rows })
}

fn read(name: &str, content: &[u8]) -> Result<Read, DataError> {
    read_as(name, content, &[])
}

fn prompt_row(prompt: &str, completion: &str) -> Row {
    Row::Completion { prompt: prompt.to_owned(), completion: completion.to_owned() }
}

#[test]
fn jsonl_rows_keep_their_line_numbers_past_blank_and_bad_lines() {
    let content = b"{\"text\":\"a\"}\r\n\n{oops\n  \n{\"text\":\"b\"}";
    let rows = read("x.jsonl", content).expect("a readable file");
    assert_eq!(rows.lines(), [1, 5]);
    assert_eq!(rows.facts.blank_lines, 2);
    assert_eq!(rows.skipped().len(), 1);
    assert_eq!(rows.skipped()[0].0, 3);
}

#[test]
fn every_line_of_a_jsonl_file_may_have_its_own_schema() {
    let content = b"{\"text\":\"a\"}\n{\"prompt\":\"p\",\"completion\":\"c\"}\n";
    let rows = read("x.jsonl", content).expect("a readable file");
    let schema = |row: &LocatedRow| row.parsed.as_ref().expect("a good row").0;
    let schemas: Vec<_> = rows.rows.iter().map(schema).collect();
    assert_eq!(schemas, [Schema::Text, Schema::PromptCompletion]);
}

#[test]
fn a_csv_record_is_located_where_it_starts() {
    let content = b"prompt,completion\n\n\"two\nlines\",x\nb,y\n\n\nc,z\n";
    let rows = read("x.csv", content).expect("a readable file");
    assert_eq!(rows.lines(), [3, 5, 8]);
    assert_eq!(*rows.row(0), prompt_row("two\nlines", "x"));
}

#[test]
fn windows_line_ends_do_not_move_csv_lines() {
    let content = b"prompt,completion\r\na,x\r\n\"b\r\nb\",y\r\n\r\nc,z\r\n";
    let rows = read("x.csv", content).expect("a readable file");
    assert_eq!(rows.lines(), [2, 3, 6]);
    assert_eq!(*rows.row(2), prompt_row("c", "z"));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_row() {
    let csv = read("x.csv", b"\xEF\xBB\xBFprompt,completion\na,x\n").expect("a readable file");
    assert_eq!(csv.rows.len(), 1);
    let jsonl = read("x.jsonl", b"\xEF\xBB\xBF{\"text\":\"a\"}\n").expect("a readable file");
    assert_eq!(jsonl.rows.len(), 1);
}

#[test]
fn a_quote_left_open_is_reported_at_the_record_that_opens_it() {
    let content = b"prompt,completion\na,x\nb,\"y\nc,z\nd,w\n";
    let rows = read("x.csv", content).expect("a readable file");
    assert_eq!(rows.lines(), [2]);
    assert_eq!(rows.skipped(), [(3, SkipReason::OpenQuote.to_string())]);
}

#[test]
fn a_bad_csv_record_does_not_take_its_neighbours_with_it() {
    let content = b"prompt,completion\na,x\nb\nc,\xFF\nd,w\n";
    let rows = read("x.csv", content).expect("a readable file");
    assert_eq!(rows.lines(), [2, 5]);
    let bad: Vec<String> = rows.skipped().into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(
        bad,
        [
            "1 field(s) where the header has 2",
            "not UTF-8: byte 0xFF at byte 1 of column `completion`"
        ]
    );
}

#[test]
fn a_csv_messages_column_holds_json() {
    let content = b"messages\n\"[{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"hi\"\"}]\"\n";
    let rows = read("x.csv", content).expect("a readable file");
    assert!(matches!(rows.row(0), Row::Messages(turns) if turns.messages.len() == 1));
}

#[test]
fn a_list_of_objects_is_located_by_line_and_its_bad_rows_are_left_out() {
    let content = b"\n[{\"text\": \"a\"},\n 5,\n{\n\"text\": \"b\"\n}]\n";
    let rows = read("x.json", content).expect("a readable file");
    assert_eq!((rows.facts.format, rows.lines()), (FileFormat::JsonList, vec![2, 4]));
    assert_eq!(rows.skipped()[0].0, 3);
}

#[test]
fn a_list_that_breaks_off_is_an_error_with_its_place() {
    let told = |content: &[u8]| read("x.json", content).err().expect("broken").to_string();
    let open = told(b"[{\"text\": \"a\"},\n{\"text\"");
    assert!(open.contains("line 2, column 7: malformed JSON: EOF"), "{open}");
    let more = told(b"[{\"text\": \"a\"}]\n]");
    assert!(more.contains("line 2, column 1: malformed JSON: expected value"), "{more}");
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, content).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

#[test]
fn compressed_files_are_read_as_what_they_hold() {
    let content = b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
    // Two members behind each other are one file, as after `cat a.gz b.gz`.
    let twice = [gzip(content), gzip(content)].concat();
    assert_eq!(read("x.jsonl.gz", &twice).expect("readable").lines(), [1, 2, 3, 4]);
    let packed = zstd::encode_all(&content[..], 1).expect("compressing");
    assert_eq!(read("x.jsonl.zst", &packed).expect("readable").lines(), [1, 2]);
}

#[test]
fn a_compressed_file_that_is_cut_off_is_an_error_with_its_place() {
    let content = "{\"text\": \"some words\"}\n".repeat(5000);
    let packed = gzip(content.as_bytes());
    let cut = read("x.jsonl.gz", &packed[..packed.len() / 2]).err().expect("cut off");
    let told = cut.to_string();
    assert!(told.contains("x.jsonl.gz after line ") && told.contains("damaged"), "{told}");
    let other = read("x.jsonl.gz", content.as_bytes()).err().expect("no gzip file");
    assert!(other.to_string().contains("failed to read"), "{other}");
}

#[test]
fn tabs_separate_the_fields_of_a_tsv_file() {
    let rows = read("x.tsv", b"prompt\tcompletion\na, b\tc\n").expect("a readable file");
    assert_eq!(*rows.row(0), prompt_row("a, b", "c"));
}

#[test]
fn columns_of_other_names_are_taken_for_our_fields() {
    let columns = [("prompt", "question"), ("completion", "answer")];
    let csv = b"answer,text,question\nx,t,a\n";
    assert_eq!(*read_as("x.csv", csv, &columns).expect("readable").row(0), prompt_row("a", "x"));
    let jsonl = b"{\"question\": \"a\", \"answer\": \"x\", \"messages\": 1}\n{\"prompt\": 1}\n";
    let rows = read_as("x.jsonl", jsonl, &columns).expect("a readable file");
    assert_eq!(*rows.row(0), prompt_row("a", "x"));
    let skipped = rows.skipped();
    assert!(skipped[0].1.starts_with("no column `answer` (`data.columns.completion`)"));
    let header = read_as("x.csv", b"prompt,answer\na,x\n", &columns).err().expect("a column less");
    assert!(header.to_string().contains("there is no column `question`"), "{header}");
}

#[test]
fn text_comes_in_pieces_that_lose_nothing_and_know_their_lines() {
    let paragraph = format!("{}\n\n", "wörd ".repeat(2000));
    let text = paragraph.repeat(10);
    let rows = read("x.txt", text.as_bytes()).expect("a readable file");
    let pieces: Vec<&str> = (0..rows.rows.len())
        .map(|index| match rows.row(index) {
            Row::Text(piece) => piece.as_str(),
            _ => panic!("a piece is text"),
        })
        .collect();
    assert!(pieces.len() > 2);
    assert_eq!(pieces.concat(), text);
    assert_eq!(rows.lines(), [1, 5, 9, 13, 17]);
}

#[test]
fn text_in_one_long_line_is_cut_between_characters_and_bad_bytes_are_located() {
    let long = format!("x{}", "é".repeat(1 << 20));
    let rows = read("x.txt", long.as_bytes()).expect("a readable file");
    assert!(rows.rows.len() > 1);
    let bad = read("x.txt", b"good\nb\xFFd and more\n").err().expect("not UTF-8");
    assert!(bad.to_string().contains("line 2: not UTF-8: byte 0xFF at byte 2"), "{bad}");
    let cut = read("x.txt", b"good\nb\xC3").err().expect("not UTF-8");
    assert!(cut.to_string().contains("line 2: not UTF-8: byte 0xC3"), "{cut}");
}
