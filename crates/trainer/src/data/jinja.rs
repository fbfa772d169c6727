//! Jinja as transformers sets it up for chat templates: whitespace rules, Python's string methods,
//! and the functions and filters that templates count on.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

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

/// An environment without templates.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", to_json);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment
}

/// Template authors' errors span lines; a report's reason does not.
pub(super) fn one_line(error: &Error) -> String {
    let text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let place = error.line().map_or_else(String::new, |line| format!(" (template line {line})"));
    format!("{}{place}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The template as this engine takes it: Jinja reads every line end as `\n`, and transformers
/// marks assistant text with `{% generation %}` blocks, which Jinja does not know;
/// they become blocks that change nothing.
pub(super) fn portable(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = source.as_str();
    let mut out = String::with_capacity(source.len());
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open + 2);
        out.push_str(before);
        let Some(close) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(close);
        match tag.trim_matches(['-', '+', ' ', '\t', '\r', '\n']) {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Python iterates strings and Jinja its undefined values, but nobody iterates `none`, which is
/// what absent tools are.
fn is_iterable(value: &Value) -> bool {
    value.as_str().is_some() || (!value.is_none() && value.try_iter().is_ok())
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

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`, which is what templates were
/// written against; Jinja's own filter escapes HTML.
#[expect(clippy::needless_pass_by_value, reason = "the signature that makes it a filter")]
fn to_json(value: &Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    let mut bytes = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = " ".repeat(width);
            let formatter = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, PythonFormatter)),
    };
    let failed = |message: String| Error::new(ErrorKind::BadSerialization, message);
    written.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map(Value::from_safe_string).map_err(|error| failed(error.to_string()))
}

/// One line with a blank after each `,` and `:`.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W>(&mut self, writer: &mut W) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    /// The text that `source` renders to for one message, or what it fails with.
    fn rendered(source: &str, role: &str, content: &str) -> String {
        #[derive(Serialize)]
        struct Turn<'a> {
            role: &'a str,
            content: &'a str,
        }
        let messages = [Turn { role, content }];
        environment()
            .render_str(&portable(source), context! { messages })
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
    fn generation_tags_change_nothing_but_are_accepted() {
        let source = "{% for m in messages %}{%- generation -%} {{ m.content }} {%- endgeneration %}\
                      {% endfor %}";
        assert_eq!(rendered(source, "user", "x"), "x");
    }
}
