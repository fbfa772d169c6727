//! What everything that can take the place of a trait must do.

pub mod launcher;
