//! The engine: a frozen base, in one form or in several, and the slots that train on it, step by step.

mod bases;
mod checkpoint;
mod evaluate;
mod health;
mod held_out;
mod load;
mod losses;
mod order;
mod packed;
mod scoring;
mod sets;
mod slot;
mod trainer;

pub use checkpoint::size as checkpoint_bytes;
pub use load::{Loaded, load};
pub use packed::Packed;
pub use scoring::{NamedScorer, Question, Scoring};
pub use sets::TrainingSets;
