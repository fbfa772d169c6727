//! Whole numbers that kernels look things up in: tokens, rows, places.
//!
//! All blocks of a step ask for the same ones; they are copied to the device once and kept for a
//! while by their contents.

use std::sync::{Arc, Mutex, PoisonError};

use super::driver::{Arg, Buffer, Fields, Gpu, View};
use super::tensor::Tensor;
use crate::error::Result;

/// Tables of a step, and of the one before.
const KEPT: usize = 24;

/// Numbers on the device.
#[derive(Debug)]
pub struct Ints {
    values: Vec<u32>,
    buffer: Buffer,
}

impl Ints {
    pub fn arg(&self) -> Arg<'_> {
        Fields::default().address(&self.buffer).u64(self.values.len() as u64).arg()
    }

    /// The same bits as f32.
    pub fn floats(&self) -> Arg<'_> {
        View::new(&self.buffer, 0, self.values.len(), false).arg()
    }
}

/// The cosines and sines of some positions, one set of frequencies below the other.
#[derive(Debug)]
pub struct Angles {
    pub sets: Vec<Vec<f64>>,
    pub amplitude: f64,
    pub positions: usize,
    pub values: Tensor,
}

/// What was copied lately.
#[derive(Debug, Default)]
pub struct Tables {
    ints: Mutex<Vec<Arc<Ints>>>,
    angles: Mutex<Vec<Arc<Angles>>>,
}

impl Tables {
    pub fn ints(&self, gpu: &Arc<Gpu>, values: Vec<u32>) -> Result<Arc<Ints>> {
        let mut kept = self.ints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|ints| ints.values == values) {
            let found = kept.remove(at);
            kept.push(Arc::clone(&found));
            return Ok(found);
        }
        if kept.len() == KEPT {
            kept.remove(0);
        }
        let mut buffer = gpu.buffer(4 * values.len())?;
        gpu.upload(&mut buffer, 0, bytemuck::cast_slice(&values))?;
        let ints = Arc::new(Ints { values, buffer });
        kept.push(Arc::clone(&ints));
        Ok(ints)
    }

    /// Angles of at least so many positions; cosines and sines times `amplitude`.
    pub fn angles(
        &self,
        gpu: &Arc<Gpu>,
        sets: Vec<Vec<f64>>,
        amplitude: f64,
        positions: usize,
    ) -> Result<Arc<Angles>> {
        let mut kept = self.angles.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |a: &Angles| a.sets == sets && a.amplitude == amplitude;
        if let Some(angles) = kept.iter().find(|a| same(a) && a.positions >= positions) {
            return Ok(Arc::clone(angles));
        }
        kept.retain(|a| !same(a));
        if kept.len() == KEPT {
            kept.remove(0);
        }
        let positions = positions.next_power_of_two().max(128);
        let half = sets.first().map_or(0, Vec::len);
        let mut values = Vec::with_capacity(sets.len() * positions * 2 * half);
        for frequencies in &sets {
            for position in 0..positions {
                let angle = |f: &f64| position as f64 * f;
                values.extend(frequencies.iter().map(|f| (amplitude * angle(f).cos()) as f32));
                values.extend(frequencies.iter().map(|f| (amplitude * angle(f).sin()) as f32));
            }
        }
        let values = Tensor::upload(gpu, &values, sets.len() * positions, 2 * half)?;
        let angles = Arc::new(Angles { sets, amplitude, positions, values });
        kept.push(Arc::clone(&angles));
        Ok(angles)
    }
}
