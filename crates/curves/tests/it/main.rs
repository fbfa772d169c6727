//! The rules on curves, through the public interface.

mod rule;
mod scores;
