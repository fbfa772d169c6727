//! Jinja as transformers sets it up for chat templates: whitespace rules, Python's string methods,
//! and the functions and filters that templates count on.

use std::ops::Range;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::json::LongInteger;

mod budget;
mod code;
mod growth;
mod python_json;
mod python_text;

pub(super) use budget::is_limit;
pub(super) use code::Code;

/// `strftime_now` answers for this moment (2024-07-26 00:00:00, a Friday; Llama 3.1's template
/// has the same default). The day of the run would make today's tokens differ from tomorrow's,
/// and a resumed sweep from an uninterrupted one.
const FIXED_DATE: [(char, &str); 15] = [
    ('Y', "2024"),
    ('y', "24"),
    ('m', "07"),
    ('d', "26"),
    ('e', "26"),
    ('j', "208"),
    ('B', "July"),
    ('b', "Jul"),
    ('A', "Friday"),
    ('a', "Fri"),
    ('H', "00"),
    ('I', "12"),
    ('M', "00"),
    ('S', "00"),
    ('p', "AM"),
];

/// Characters of a template's own message that are shown.
const MOST_SHOWN: usize = 500;

/// Put around what the assistant generates; noncharacters, which no text should have.
const BEGIN: char = '\u{FDD0}';
const END: char = '\u{FDD1}';
/// Both.
pub(super) const BLOCK_MARKS: [char; 2] = [BEGIN, END];

/// The environment of all templates: its functions and filters.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(budget::FUEL));
    environment.set_formatter(budget::write);
    // It writes out all that there is.
    environment.remove_global("debug");
    growth::add_to(&mut environment);
    environment.add_filter("made", budget::made);
    environment.add_filter("kept", budget::kept);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", python_json::to_json);
    environment.add_filter("generated_part", |part: &str| format!("{BEGIN}{part}{END}"));
    environment.add_test("number", is_number);
    environment.add_test("integer", is_integer);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment
}

/// Template authors' errors span lines; a report's reason does not.
pub(super) fn one_line(error: &Error) -> String {
    let text = match (error.detail(), error.kind()) {
        (Some(detail), _) => detail.to_owned(),
        (None, ErrorKind::OutOfFuel) => {
            format!(
                "it takes more than {} million steps for one conversation",
                budget::FUEL / 1_000_000
            )
        }
        (None, kind) => kind.to_string(),
    };
    let place = error.line().map_or_else(String::new, |line| format!(" (template line {line})"));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: String = words.chars().take(MOST_SHOWN).collect();
    let rest = if shown.len() < words.len() { "…" } else { "" };
    format!("{shown}{rest}{place}")
}

/// The template as this engine takes it: Jinja reads every line end as `\n`, and transformers
/// marks assistant text with `{% generation %}` blocks, which Jinja does not know; they become
/// filters that put [`BEGIN`] and [`END`] around it.
pub(super) fn portable(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = source.as_str();
    let mut out = String::with_capacity(source.len());
    while let Some((before, tag, after)) = next_tag(rest) {
        out.push_str(before);
        match tag_word(tag) {
            "generation" => out.push_str(&tag.replace("generation", "filter generated_part")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endfilter")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether the template says itself what the assistant generates.
pub(super) fn marks_generation(source: &str) -> bool {
    let mut rest = source;
    while let Some((_, tag, after)) = next_tag(rest) {
        if tag_word(tag) == "generation" {
            return true;
        }
        rest = after;
    }
    false
}

/// What comes before the next block tag's inside, with its opening; the inside; and the rest.
fn next_tag(source: &str) -> Option<(&str, &str, &str)> {
    let (before, tag) = source.split_at(source.find("{%")? + 2);
    let (tag, after) = tag.split_at(tag.find("%}")?);
    Some((before, tag, after))
}

fn tag_word(tag: &str) -> &str {
    tag.trim_matches(['-', '+', ' ', '\t', '\r', '\n'])
}

/// The text without the marks of generated parts, and where those are, in bytes; `None` where the
/// marks are not in pairs.
pub(super) fn take_marks(marked: &str) -> Option<(String, Vec<Range<usize>>)> {
    let mut text = String::with_capacity(marked.len());
    let mut spans = Vec::new();
    let mut parts = marked.split(BEGIN);
    text.push_str(parts.next().filter(|first| !first.contains(END))?);
    for part in parts {
        let (inside, after) = part.split_once(END).filter(|(_, after)| !after.contains(END))?;
        let start = text.len();
        text.push_str(inside);
        if !inside.is_empty() {
            spans.push(start..text.len());
        }
        text.push_str(after);
    }
    Some((text, spans))
}

/// Python iterates strings and Jinja its undefined values, but nobody iterates `none`, which is
/// what absent tools are.
fn is_iterable(value: &Value) -> bool {
    value.as_str().is_some() || (!value.is_none() && value.try_iter().is_ok())
}

fn is_number(value: &Value) -> bool {
    value.is_number() || value.kind() == ValueKind::Bool || is_long(value)
}

fn is_integer(value: &Value) -> bool {
    value.is_integer() || is_long(value)
}

fn is_long(value: &Value) -> bool {
    value.downcast_object_ref::<LongInteger>().is_some()
}

/// As in Jinja: whatever has a length and can be indexed.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        // `%-d` is `%d` without a leading zero.
        let mut directive = chars.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = chars.next();
        }
        match directive.and_then(|wanted| FIXED_DATE.iter().find(|(known, _)| *known == wanted)) {
            Some((_, text)) if unpadded && *text == "00" => out.push('0'),
            Some((_, text)) if unpadded => out.push_str(text.trim_start_matches('0')),
            Some((_, text)) => out.push_str(text),
            None if directive == Some('%') => out.push('%'),
            None => {
                let message = format!("strftime_now does not know all of {format:?}");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use minijinja::context;
    use serde::Serialize;

    use super::*;

    /// The text that `source` renders to for one message, or what it fails with.
    fn rendered(source: &str, role: &str, content: &str) -> String {
        #[derive(Serialize)]
        struct Turn<'a> {
            role: &'a str,
            content: &'a str,
        }
        let messages = [Turn { role, content }];
        Code::new(&portable(source))
            .and_then(|code| code.render(&environment(), context! { messages }))
            .unwrap_or_else(|error| one_line(&error))
    }

    #[test]
    fn block_tags_leave_neither_their_line_nor_its_indentation() {
        let source = "{% for m in messages %}\n    {% if true %}\n{{ m.role }}\n    \
                      {% endif %}\n{% endfor %}";
        assert_eq!(rendered(source, "user", "x"), "user\n");
    }

    #[test]
    fn python_string_methods_work() {
        let source = "{% for m in messages %}{{ m.content.strip().upper().split(' ')[-1] }}\
                      {{ m['content'].startswith(' a') }}{{ m.get('role') }}{% endfor %}";
        assert_eq!(rendered(source, "user", " a b "), "BTrueuser");
    }

    #[test]
    fn tojson_writes_as_python_does() {
        let source = "{{ messages[0] | tojson }} {{ [1, '<é>'] | tojson(indent=2) }}";
        assert_eq!(
            rendered(source, "user", "it's"),
            "{\"role\": \"user\", \"content\": \"it's\"} [\n  1,\n  \"<é>\"\n]"
        );
    }

    #[test]
    fn a_template_that_raises_fails_with_its_own_words() {
        let source = "{% if messages[0].role != 'user' %}\
                      {{ raise_exception('roles must alternate') }}{% endif %}";
        assert_eq!(rendered(source, "system", "x"), "roles must alternate (template line 1)");
    }

    #[test]
    fn the_date_in_a_template_is_the_same_every_day() {
        let source = "{{ strftime_now('%d %b %Y, %A %-H%%') }}";
        assert_eq!(rendered(source, "user", "x"), "26 Jul 2024, Friday 0%");
        let unknown = rendered("{{ strftime_now('%Q') }}", "user", "x");
        assert!(unknown.contains("does not know all of \"%Q\""), "{unknown}");
    }

    #[test]
    fn absent_tools_are_neither_iterable_nor_a_sequence() {
        let source = "{{ none is iterable }} {{ none is sequence }} {{ 'a' is iterable }} \
                      {{ 'a' is sequence }} {{ messages is iterable }} {{ 1 is iterable }}";
        assert_eq!(rendered(source, "user", "x"), "False False True True True False");
    }

    #[test]
    fn line_ends_of_the_template_file_do_not_matter() {
        assert_eq!(rendered("a\r\n{% if true %}\r\nb{% endif %}", "user", "x"), "a\nb");
    }

    #[test]
    fn generation_tags_mark_what_is_between_them() {
        let source = "{% for m in messages %}a {%- generation -%} {{ m.content }} {%- endgeneration %}\n\
                      b{% generation %}c{% endgeneration %}{% endfor %}";
        assert!(marks_generation(source) && !marks_generation("{% if generation %}{% endif %}"));
        let marked = rendered(source, "user", "xé");
        assert_eq!(take_marks(&marked), Some(("axébc".to_owned(), vec![1..4, 5..6])));
    }

    #[test]
    fn marks_that_are_not_in_pairs_are_noticed() {
        for marked in
            ["\u{FDD1}", "\u{FDD0}", "\u{FDD0}\u{FDD0}\u{FDD1}", "\u{FDD0}\u{FDD1}\u{FDD1}"]
        {
            assert_eq!(take_marks(marked), None);
        }
    }
}
