//! Counts of what was asked of a device.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that any thread may add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
}

/// What was asked of the device so far.
#[derive(Debug, Default)]
pub struct Counters {
    pub launches: Counter,
    pub products: Counter,
    pub uploads: Counter,
    pub uploaded: Counter,
    pub downloads: Counter,
    pub synchronisations: Counter,
    pub allocations: Counter,
}

/// What was asked of the device so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Kernels of ours that were started.
    pub launches: u64,
    /// Products that cuBLAS was asked for.
    pub products: u64,
    /// Copies to the device.
    pub uploads: u64,
    /// Their bytes.
    pub uploaded: u64,
    /// Copies from the device.
    pub downloads: u64,
    /// Waits for the device.
    pub synchronisations: u64,
    /// Blocks of memory that the driver was asked for.
    pub allocations: u64,
}

impl Counters {
    pub fn counts(&self) -> Counts {
        let of = |counter: &Counter| counter.0.load(Relaxed);
        Counts {
            launches: of(&self.launches),
            products: of(&self.products),
            uploads: of(&self.uploads),
            uploaded: of(&self.uploaded),
            downloads: of(&self.downloads),
            synchronisations: of(&self.synchronisations),
            allocations: of(&self.allocations),
        }
    }
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            launches: self.launches - before.launches,
            products: self.products - before.products,
            uploads: self.uploads - before.uploads,
            uploaded: self.uploaded - before.uploaded,
            downloads: self.downloads - before.downloads,
            synchronisations: self.synchronisations - before.synchronisations,
            allocations: self.allocations - before.allocations,
        }
    }
}
