//! The commented sweep that `lorasweep init` writes.

/// A complete sweep file in which every key is explained; valid when the paths it names exist.
pub const EXAMPLE: &str = include_str!("example.yaml");
