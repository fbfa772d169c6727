//! What makes more of its arguments than their sum, checked before it is made: the operators `~` and
//! `*`, and the filters and methods that repeat a text or pad it.

use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters};
use minijinja_contrib::pycompat;

use super::budget::{Budget, MOST_OF_ONE, NODE, limit, text_len};
use super::python_text;

/// The largest width and precision of a formatted value.
const MOST_WIDTH: usize = 999;

/// Puts the checked functions in place of the engine's own.
pub(super) fn add_to(environment: &mut Environment) {
    environment.add_filter("concat", concat);
    environment.add_filter("times", times);
    environment.add_filter("sliced", sliced);
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
    environment.add_filter("string", string);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("format", format);
    environment.add_filter("batch", counted(filters::batch));
    environment.add_filter("slice", counted(filters::slice));
    environment.set_unknown_method_callback(method);
}

/// `left ~ right`.
fn concat(state: &State, left: Value, right: Value) -> Result<String, Error> {
    Budget::of(state).take(written_len(&left)? + written_len(&right)?)?;
    let [left, right] = [left, right].map(|value| python_text::text(&value));
    Ok(format!("{left}{right}"))
}

/// `left * right`: of numbers, or a text or list repeated.
#[expect(clippy::needless_pass_by_value, reason = "the signature that makes it a filter")]
fn times(state: &State, left: Value, right: Value) -> Result<Value, Error> {
    let (what, count) = if right.is_number() { (&left, &right) } else { (&right, &left) };
    if what.is_number() {
        return product(&left, &right);
    }
    let count = i64::try_from(count.clone())
        .map(|count| usize::try_from(count).unwrap_or(0))
        .map_err(|_| {
            let message = "only numbers, and texts and lists with whole numbers, can be multiplied";
            Error::new(ErrorKind::InvalidOperation, message)
        })?;
    let own = match what.as_str() {
        Some(text) => text.len(),
        None => text_len(what)?.max(NODE),
    };
    Budget::of(state).take(own.saturating_mul(count))?;
    if let Some(text) = what.as_str() {
        return Ok(text.repeat(count).into());
    }
    let items: Vec<Value> = what.try_iter()?.collect();
    Ok(std::iter::repeat_n(items, count).flatten().collect())
}

/// `value[start:stop:step]` as in Python; the engine's own panics where an empty list is reversed.
#[expect(clippy::needless_pass_by_value, reason = "the signature that makes it a filter")]
fn sliced(
    value: Value,
    start: Option<i64>,
    stop: Option<i64>,
    step: Option<i64>,
) -> Result<Value, Error> {
    let step = step.unwrap_or(1);
    if step == 0 || matches!(value.kind(), ValueKind::Map | ValueKind::Number | ValueKind::Bool) {
        let message = format!("a {} cannot be sliced in steps of {step}", value.kind());
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let items: Vec<Value> = value.try_iter()?.collect();
    // As many as fit into memory.
    let count = items.len() as i64;
    let (first, last) = if step > 0 { (0, count) } else { (-1, count - 1) };
    let place = |bound: Option<i64>, default: i64| {
        let Some(bound) = bound else { return default };
        (if bound < 0 { bound.saturating_add(count) } else { bound }).clamp(first, last)
    };
    let (from, to) = if step > 0 { (first, last) } else { (last, first) };
    let (from, to) = (place(start, from), place(stop, to));
    let places = std::iter::successors(Some(from), |at| at.checked_add(step))
        .take_while(|&at| if step > 0 { at < to } else { at > to });
    let taken = places.map(|at| items[at as usize].clone());
    if value.as_str().is_some() {
        let text: String = taken.map(|char| char.to_string()).collect();
        return Ok(text.into());
    }
    Ok(taken.collect())
}

fn product(left: &Value, right: &Value) -> Result<Value, Error> {
    if left.is_integer() && right.is_integer() {
        let whole = i128::try_from(left.clone())?.checked_mul(i128::try_from(right.clone())?);
        let too_large = || Error::new(ErrorKind::InvalidOperation, "the product is too large");
        let whole = whole.ok_or_else(too_large)?;
        return Ok(i64::try_from(whole).map_or_else(|_| whole.into(), Value::from));
    }
    Ok((f64::try_from(left.clone())? * f64::try_from(right.clone())?).into())
}

fn replace(
    state: &State,
    value: StringInput<'_>,
    from: StringInput<'_>,
    to: StringInput<'_>,
) -> Result<Value, Error> {
    check_replace(state, value.as_str(), from.as_str(), to.as_str())?;
    filters::replace(state, value, from, to)
}

fn check_replace(state: &State, text: &str, from: &str, to: &str) -> Result<(), Error> {
    let grown = text.matches(from).count().saturating_mul(to.len());
    Budget::of(state).take(text.len().saturating_add(grown))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that makes it a filter")]
fn join(state: &State, value: &Value, joiner: Option<StringInput<'_>>) -> Result<Value, Error> {
    let joiner = joiner.as_ref().map_or("", StringInput::as_str);
    check_join(state, value, joiner)?;
    let items: Vec<String> = value.try_iter()?.map(|item| python_text::text(&item)).collect();
    Ok(items.join(joiner).into())
}

/// `str(value)`.
fn string(state: &State, value: &Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    Budget::of(state).take(text_len(value)?)?;
    Ok(python_text::text(value).into())
}

/// Escapes for HTML as Python's markupsafe does.
fn escape(state: &State, value: &Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    Budget::of(state).take(text_len(value)?)?;
    let mut text = python_text::text(value);
    for (char, name) in
        [("&", "&amp;"), (">", "&gt;"), ("<", "&lt;"), ("'", "&#39;"), ("\"", "&#34;")]
    {
        text = text.replace(char, name);
    }
    Ok(Value::from_safe_string(text))
}

fn check_join(state: &State, items: &Value, joiner: &str) -> Result<(), Error> {
    let mut bytes = 0_usize;
    for item in items.try_iter()? {
        bytes = bytes.saturating_add(written_len(&item)?).saturating_add(joiner.len());
        if bytes > MOST_OF_ONE {
            break;
        }
    }
    Budget::of(state).take(bytes)
}

/// As in Jinja: lines but the first, and blank lines only on request.
#[expect(clippy::needless_pass_by_value, reason = "the signature that makes it a filter")]
fn indent(
    state: &State,
    value: StringInput<'_>,
    width: Option<Value>,
    first: Option<bool>,
    arguments: Kwargs,
) -> Result<Value, Error> {
    let named = |name: &str, given: Option<bool>| -> Result<bool, Error> {
        let named: Option<bool> = arguments.get(name)?;
        Ok(given.or(named).unwrap_or(false))
    };
    let width = width.map_or_else(|| arguments.get("width"), |width| Ok(Some(width)))?;
    let (first, blank) = (named("first", first)?, named("blank", None)?);
    arguments.assert_all_used()?;
    let lines = lines_of(value.as_str());
    let length = match &width {
        Some(width) if width.as_str().is_some() => width.as_str().map_or(0, str::len),
        Some(width) => usize::try_from(width.clone())?,
        None => 4,
    };
    let grown = lines.len().saturating_mul(length);
    Budget::of(state).take(value.as_str().len().saturating_add(grown))?;
    let step = width.as_ref().and_then(Value::as_str).map_or(" ".repeat(length), str::to_owned);
    let mut text = if first { step.clone() } else { String::new() };
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            text.push('\n');
            text += if blank || !line.is_empty() { &step } else { "" };
        }
        text += line;
    }
    Ok(text.into())
}

/// The lines of a text as Python splits them, the one after a last line end included.
fn lines_of(text: &str) -> Vec<&str> {
    let is_end = |char: char| {
        matches!(char, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}')
            || matches!(char, '\u{2028}' | '\u{2029}')
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_end) {
        let (line, after) = rest.split_at(at);
        lines.push(line);
        let end = after.chars().next().map_or(0, char::len_utf8);
        rest = after.strip_prefix("\r\n").unwrap_or(&after[end..]);
    }
    lines.push(rest);
    lines
}

fn format(state: &State, text: &Value, arguments: Rest<Value>) -> Result<Value, Error> {
    check_format(state, text.as_str().unwrap_or_default(), '%', &arguments)?;
    filters::format(state, text, arguments)
}

/// Every field may write every argument, each with all its digits and as wide as can be.
fn check_format(state: &State, text: &str, field: char, arguments: &[Value]) -> Result<(), Error> {
    let numbers = text.split(|char: char| !char.is_ascii_digit());
    let is_wide = |digits: &str| digits.parse().is_ok_and(|width: usize| width > MOST_WIDTH);
    if numbers.into_iter().any(|digits| digits.len() > 9 || is_wide(digits))
        || text.contains('*') && field == '%'
    {
        return Err(limit(format!("it formats a value wider than {MOST_WIDTH} characters")));
    }
    let mut each = MOST_WIDTH;
    for argument in arguments {
        each = each.saturating_add(text_len(argument)?);
    }
    let fields = text.matches(field).count();
    Budget::of(state).take(text.len().saturating_add(fields.saturating_mul(each)))
}

/// `batch` or `slice`, whose number of values is checked before they are made.
fn counted(
    filter: fn(&State, Value, usize, Option<Value>) -> Result<Value, Error>,
) -> impl Fn(&State, Value, usize, Option<Value>) -> Result<Value, Error> {
    move |state, value, count, fill_with| {
        Budget::of(state).take(count.saturating_mul(NODE))?;
        filter(state, value, count, fill_with)
    }
}

/// Python's methods of texts, lists and mappings.
fn method(state: &State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match (name, arguments) {
            ("replace", [from, to, ..]) => {
                let [from, to] = [from, to].map(|value| value.as_str().unwrap_or_default());
                check_replace(state, text, from, to)?;
            }
            ("join", [items]) => check_join(state, items, text)?,
            ("format", _) => check_format(state, text, '{', arguments)?,
            _ => {}
        }
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

/// The most bytes that the value takes where it is written without quotes.
fn written_len(value: &Value) -> Result<usize, Error> {
    value.as_str().map_or_else(|| text_len(value), |text| Ok(text.len()))
}

#[cfg(test)]
mod tests {
    use crate::jinja::{Code, environment, one_line};

    fn rendered(source: &str) -> String {
        Code::new(source)
            .and_then(|code| code.render(&environment(), ().into()))
            .unwrap_or_else(|error| one_line(&error))
    }

    #[test]
    fn slices_are_those_of_python() {
        let source = "{{ [1, 2, 3][1:] }}{{ [1, 2, 3][::-1] }}{{ [][::-1] }}{{ 'aéb'[::-1] }}\
                      {{ [1, 2, 3, 4][-2::-2] }}{{ 'abc'[:-1] }}{{ [1, 2][5:] }}{{ [1, 2][-9:9] }}\
                      {{ [1, 2, 3][1:0:-1] }}{{ none[1:] }}{{ [1][9223372036854775807::-1] }}";
        assert_eq!(rendered(source), "[2, 3][3, 2, 1][]béa[3, 1]ab[][1, 2][2][][1]");
        assert!(rendered("{{ [1][::0] }}").contains("steps of 0"));
    }

    #[test]
    fn texts_are_indented_and_escaped_as_in_jinja() {
        let source = "{{ '{\n' | indent(2, first=true) }}a{{ 'a\n\nb' | indent(width=1) }}\
                      {{ 'a\n\nb' | indent('> ', true, blank=true) }} {{ '<\"' | e }} {{ [1.5, 'a'] | join(',') }}\
                      {{ [none] | string }}";
        let expected = "  {\na".to_owned() + "a\n\n b> a\n> \n> b &lt;&#34; 1.5,a[None]";
        assert_eq!(rendered(source), expected);
    }

    #[test]
    fn products_are_those_of_python() {
        let source = "{{ 3 * 4 }} {{ 1.5 * 2 }} {{ 'ab' * 2 }} {{ 2 * [1] }} {{ 'a' * -1 }}|";
        assert_eq!(rendered(source), "12 3.0 abab [1, 1] |");
        assert!(rendered("{{ 'a' * 'b' }}").contains("whole numbers"));
    }
}
