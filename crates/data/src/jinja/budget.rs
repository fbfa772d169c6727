//! What one rendering of a chat template may make. The engine's fuel bounds how many steps it takes,
//! but one step can double a text or join two long lists, so sixty of them fill any memory. Hence
//! [`code`](super::code) puts every value that a template makes through [`made`], and what could
//! grow by more than a sum is done by the checked functions of [`growth`](super::growth).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use minijinja::value::{DynObject, Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, escape_formatter};

use super::python_text;

/// Bytes of the largest text or list that a template may make: a million tokens of text.
pub(crate) const MOST_OF_ONE: usize = 4 << 20;
/// Bytes that it may make in all for one conversation: templates that append turn by turn make the
/// text as often as there are turns.
const MOST_IN_ALL: usize = 64 << 20;
/// Only a template that compares or searches long texts again and again gets here: what it makes
/// and the steps it takes are used up sooner.
const MOST_TIME: Duration = Duration::from_secs(20);
/// The most that counts between two checks, which lie some milliseconds apart: a process that was
/// stopped for a while, as schedulers do, has not worked meanwhile.
const MOST_BETWEEN: Duration = Duration::from_millis(200);
/// About what a value takes besides its text.
pub(super) const NODE: usize = 48;
/// Lists in lists: JSON rows may have 128.
const MOST_DEPTH: usize = 200;
/// Bytes that one byte of a text may become where a list that holds it is written (`\u{7f}`), or
/// where it is escaped for HTML (`&quot;`).
const ESCAPED: usize = 6;

/// Instructions that a template may take for one conversation: some thousands of times what a long one
/// takes, and about a second.
pub(super) const FUEL: u64 = 20_000_000;

/// What is left for this rendering.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: AtomicUsize,
    /// When it was last looked at, and the time that had been taken by then.
    time: Mutex<(Instant, Duration)>,
}

impl Object for Budget {}

impl Budget {
    /// That of the rendering.
    pub fn of(state: &State) -> Arc<Self> {
        state.get_or_set_temp_object("budget", || Self {
            bytes: AtomicUsize::new(MOST_IN_ALL),
            time: Mutex::new((Instant::now(), Duration::ZERO)),
        })
    }

    /// Takes what is about to be made.
    pub fn take(&self, bytes: usize) -> Result<(), Error> {
        if bytes > MOST_OF_ONE {
            return Err(too_large());
        }
        self.take_of_output(bytes)
    }

    /// Takes what is about to be written, which may be longer than one value.
    fn take_of_output(&self, bytes: usize) -> Result<(), Error> {
        let left = |left: usize| left.checked_sub(bytes);
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        let mib = MOST_IN_ALL >> 20;
        taken.map(|_| ()).map_err(|_| {
            limit(format!("it makes more than {mib} MiB of texts and lists for one conversation"))
        })
    }

    fn on_time(&self) -> Result<(), Error> {
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let taken = time.1 + (now - time.0).min(MOST_BETWEEN);
        *time = (now, taken);
        if taken < MOST_TIME {
            return Ok(());
        }
        let seconds = MOST_TIME.as_secs();
        Err(limit(format!("it takes more than {seconds} s for one conversation")))
    }
}

/// A limit is reached: of all rows' errors, those that the next row would have as well.
pub(crate) fn limit(message: String) -> Error {
    Error::new(ErrorKind::OutOfFuel, message)
}

fn too_large() -> Error {
    let mib = MOST_OF_ONE >> 20;
    limit(format!("it makes a text or list of more than {mib} MiB"))
}

/// Whether the error is that of a limit, its own or that of what it came from.
pub(crate) fn is_limit(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::OutOfFuel) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The filter that everything made goes through: takes its size from the budget, and makes lists of
/// what would be computed at each use, since such values hold each other without end.
pub(super) fn made(state: &State, value: Value) -> Result<Value, Error> {
    let budget = Budget::of(state);
    budget.on_time()?;
    let value = settled(value)?;
    budget.take(weight(&value)?)?;
    Ok(value)
}

/// [`made`] for what is put into a namespace. A namespace in one would be endless to write.
pub(super) fn kept(state: &State, value: Value) -> Result<Value, Error> {
    if value.as_object().is_some_and(is_namespace) {
        return Err(nested_namespace());
    }
    made(state, value)
}

/// Writes a value of the template into its output, or into the text that a block captures.
pub(super) fn write(out: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    let budget = Budget::of(state);
    let is_plain = matches!(state.auto_escape(), minijinja::AutoEscape::None);
    let bytes = match value.as_str() {
        Some(text) if is_plain => text.len(),
        _ => text_len(value)?,
    };
    budget.take_of_output(bytes)?;
    if is_plain && !value.is_undefined() {
        return Ok(out.write_str(&python_text::text(value))?);
    }
    escape_formatter(out, state, value)
}

/// The most bytes that the value has as text.
pub(super) fn text_len(value: &Value) -> Result<usize, Error> {
    Ok(weight(value)?.saturating_mul(ESCAPED))
}

/// Bytes that the value takes, written out: what it holds twice counts twice.
fn weight(value: &Value) -> Result<usize, Error> {
    // What a value takes besides its text is not its own.
    let mut left = MOST_OF_ONE + NODE;
    weigh(value, 0, &mut left)?;
    Ok(MOST_OF_ONE - left)
}

fn weigh(value: &Value, depth: usize, left: &mut usize) -> Result<(), Error> {
    if value.kind() == ValueKind::Invalid {
        // The engine panics where it compares such a value.
        return Err(Error::new(ErrorKind::InvalidOperation, value.to_string()));
    }
    let own = NODE + value.as_str().map_or(0, str::len);
    *left = left.checked_sub(own).ok_or_else(too_large)?;
    let Some(object) = value.as_object() else { return Ok(()) };
    if depth > MOST_DEPTH {
        return Err(limit(format!("it makes lists in lists, more than {MOST_DEPTH} deep")));
    }
    if depth > 0 && is_namespace(object) {
        return Err(nested_namespace());
    }
    if object.repr() == ObjectRepr::Map {
        for (key, value) in object.try_iter_pairs().into_iter().flatten() {
            weigh(&key, depth + 1, left)?;
            weigh(&value, depth + 1, left)?;
        }
    } else {
        for item in object.try_iter().into_iter().flatten() {
            weigh(&item, depth + 1, left)?;
        }
    }
    Ok(())
}

/// The value itself, where it is one that would be computed from others at each use.
fn settled(value: Value) -> Result<Value, Error> {
    let Some(object) = value.as_object() else { return Ok(value) };
    let is_merged = object.type_name().contains("::merge_object::");
    match object.repr() {
        ObjectRepr::Iterable => {}
        ObjectRepr::Seq if is_merged => {}
        ObjectRepr::Map if is_merged => {
            let pairs = object.try_iter_pairs().into_iter().flatten();
            return Ok(bounded(pairs)?.into_iter().collect());
        }
        _ => return Ok(value),
    }
    Ok(Value::from(bounded(value.try_iter()?)?))
}

fn bounded<T>(items: impl Iterator<Item = T>) -> Result<Vec<T>, Error> {
    let most = MOST_OF_ONE / NODE;
    let listed: Vec<T> = items.take(most + 1).collect();
    if listed.len() > most { Err(too_large()) } else { Ok(listed) }
}

/// The engine keeps the type to itself.
fn is_namespace(object: &DynObject) -> bool {
    object.type_name().ends_with("::Namespace")
}

fn nested_namespace() -> Error {
    limit("it puts a namespace into a list or another namespace".to_owned())
}
