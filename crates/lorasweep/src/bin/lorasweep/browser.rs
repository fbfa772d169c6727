//! The person's browser.

use crate::output::Output;

/// Opens a page in the browser; where there is none, says where the page is.
pub fn open(place: &str, output: Output) {
    if let Err(error) = open::that_detached(place) {
        output.warning(&format!("no browser could be opened ({error}); the page is {place}"));
    }
}
