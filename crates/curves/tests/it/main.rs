//! The rules on curves, through the public interface.

mod pool;
mod rule;
mod scores;
