//! The person's browser.

use crate::output;

/// Opens a page in the browser; where there is none, says where the page is. A browser that could not
/// be started is nothing to warn of: on a cluster there is none.
pub fn open(place: &str) {
    if open::that_detached(place).is_err() {
        output::note(&format!("There is no browser here; the page is {place}"));
    }
}
