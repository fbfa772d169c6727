//! Text of others (files, logs, models, other programs) on its way to a terminal, a log or a
//! spreadsheet: what it says stays, what it would do there does not.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

/// Text of several lines for a terminal or a log: control characters other than line ends and tabs,
/// and those that change the direction of what follows, are shown by their code (`\u{1b}`).
pub fn printable(text: &str) -> Cow<'_, str> {
    cleaned(text, |c| matches!(c, '\n' | '\t'))
}

/// Text within a line: like [`printable`], with line ends and tabs shown by their code too.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    cleaned(text, |_| false)
}

/// A path within a line.
pub fn shown(path: &Path) -> String {
    printable_line(&path.to_string_lossy()).into_owned()
}

/// Text for a cell of a table that spreadsheets open: like [`printable`], and a cell that would be
/// run as a formula begins with `'`, which spreadsheets take for "this is text". Numbers are
/// unchanged.
pub fn spreadsheet_cell(text: &str) -> Cow<'_, str> {
    let clean = printable(text);
    let begins = clean.trim_start_matches([' ', '\t', '\n']);
    if begins.starts_with(['=', '+', '@', '-', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
        && clean.parse::<f64>().is_err()
    {
        return Cow::Owned(format!("'{clean}"));
    }
    clean
}

/// JSON text with the same values that [`printable`] could print: what acts is written `\u001b`.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let is_kept = |c: char| !acts(c) || matches!(c, '\n' | '\t');
    if json.chars().all(is_kept) {
        return Cow::Borrowed(json);
    }
    // Outside strings JSON has no such character, and all of them are of the basic plane.
    let shown =
        |c: char| if is_kept(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
    Cow::Owned(json.chars().map(shown).collect())
}

/// Text as code within a line of Markdown, also in a cell of a table.
pub fn markdown_code(text: &str) -> String {
    let text = printable_line(text).replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space =
        if text.starts_with('`') || text.ends_with('`') || text.is_empty() { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// A name within a line of Markdown: as it is where nothing in it could be markup, else as code.
pub fn markdown_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.chars().all(is_plain) { name.to_owned() } else { markdown_code(name) }
}

fn cleaned(text: &str, is_kept: fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| acts(c) && !is_kept(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            _ if !acts(c) || is_kept(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            _ => {
                let _ = write!(out, "{}", c.escape_unicode());
            }
        }
    }
    Cow::Owned(out)
}

/// Whether a character does something instead of being shown: C0, DEL and C1 controls, line and
/// paragraph separators, and the marks, embeddings, overrides and isolates of text direction.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_shown_by_its_code() {
        assert_eq!(printable("\x1b[31mred\x07"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(printable("a\u{9b}31m\u{202e}b\u{7f}"), "a\\u{9b}31m\\u{202e}b\\u{7f}");
        assert_eq!(printable("10 %\r20 %\nend\tx"), "10 %\\r20 %\nend\tx");
        assert_eq!(printable_line("a\nb\tc\r"), "a\\nb\\tc\\r");
        assert!(matches!(printable("tiếng Việt, 日本語, 🙂"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_formula_is_text_in_a_spreadsheet_and_a_number_stays_one() {
        for formula in ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "\t=1", " =1", "＝1"] {
            assert!(spreadsheet_cell(formula).starts_with('\''), "{formula}");
        }
        for plain in ["-1.5", "+2", "-1e-5", "a=b", "", "2-1", "-inf"] {
            assert_eq!(spreadsheet_cell(plain), plain);
        }
    }

    #[test]
    fn code_in_markdown_ends_where_it_should() {
        assert_eq!(markdown_code("org/base"), "`org/base`");
        assert_eq!(markdown_code("a`b`` | c\n# d"), r"```a`b`` \| c\n# d```");
        assert_eq!(markdown_code("`x"), "`` `x ``");
        assert_eq!(markdown_name("my_sweep-1.0"), "my_sweep-1.0");
        assert_eq!(markdown_name("[x](y)"), "`[x](y)`");
    }

    proptest! {
        #[test]
        fn json_keeps_its_values(text in "(\\PC|\\pC){0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            let clean = printable_json(&json);
            prop_assert!(!clean.chars().any(acts));
            prop_assert_eq!(serde_json::from_str::<String>(&clean).unwrap(), text);
        }

        #[test]
        fn nothing_of_any_text_acts(text in "(\\PC|\\pC){0,40}") {
            prop_assert!(!printable(&text).chars().any(|c| acts(c) && c != '\n' && c != '\t'));
            prop_assert!(!printable_line(&text).chars().any(acts));
            let clean = printable(&text);
            prop_assert_eq!(&printable(&clean), &clean);
        }

        #[test]
        fn plain_text_is_unchanged(text in "[a-zà-ÿ0-9 .,:/\n]{0,40}") {
            prop_assert_eq!(&*printable(&text), &*text);
        }
    }
}
