//! How trials share a device.

/// Tokens a step computes on, over all slots, where memory allows: enough rows for products near
/// the machine's peak. A single longer sequence is never cut.
pub const TOKENS_PER_STEP: usize = 1024;

/// Tokens of a trial's micro-batch, unless one sequence alone is longer. It does not depend on how
/// many trials share the step, so that a trial's gradients are summed in the same order in any
/// company.
pub const TOKENS_PER_MICRO_BATCH: usize = 512;

/// More trials at a time would each advance slowly without a faster step.
pub(super) const MOST_SLOTS: usize = 32;

/// How trials share the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Packing {
    /// Trials in training at a time.
    pub slots: usize,
    /// Tokens a step computes on at most, unless one sequence alone is longer.
    pub tokens_per_step: usize,
    /// Activations are computed again in the backward pass instead of kept.
    pub recompute: bool,
    /// Whether `recompute` may be turned on when memory runs out.
    pub may_recompute: bool,
}

impl Default for Packing {
    fn default() -> Self {
        Self { slots: 8, tokens_per_step: TOKENS_PER_STEP, recompute: false, may_recompute: true }
    }
}
