//! The rotation of query and key heads; the algebra is in `kernels/rope.cu`.

use std::sync::{Arc, Mutex, PoisonError};

use super::driver::{Gpu, Job, Kind, View};
use super::tables::{Numbers, Part};
use super::tensor::Tensor;
use crate::backend::{AttentionShape, Rows};
use crate::error::Result;
use crate::rope::Rope;

/// Tables that are kept: those of all ropes of a model, and of as many lengths where they depend on it.
const KEPT: usize = 24;

/// The cosines and sines of some positions, one set of frequencies below the other.
#[derive(Debug)]
pub struct Angles {
    sets: Vec<Vec<f64>>,
    amplitude: f64,
    positions: usize,
    values: Tensor,
}

/// The tables made lately: those of one step serve the next ones.
#[derive(Debug, Default)]
pub struct AngleTables(Mutex<Vec<Arc<Angles>>>);

impl AngleTables {
    /// Angles of at least this many positions; cosines and sines times `amplitude`.
    fn get(
        &self,
        gpu: &Arc<Gpu>,
        sets: Vec<Vec<f64>>,
        amplitude: f64,
        positions: usize,
    ) -> Result<Arc<Angles>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

/// How the rows of a step turn by one rope.
#[derive(Debug)]
pub struct Rotation {
    angles: Arc<Angles>,
    /// The row of the angles for each row of the step.
    pub places: Part,
}

impl Rotation {
    pub fn angles(&self) -> &Tensor {
        &self.angles.values
    }
}

/// Frequencies may depend on a sequence's length; those that are equal are there once.
pub fn rotation(
    rows: &Rows,
    rope: &Rope,
    gpu: &Arc<Gpu>,
    tables: &AngleTables,
    numbers: &mut Numbers,
) -> Result<Rotation> {
    let positions = &rows.positions;
    let longest = positions.iter().max().map_or(0, |last| *last as usize + 1);
    let mut sets: Vec<Vec<f64>> = Vec::new();
    let mut set_of = |tokens: usize| {
        let frequencies = rope.frequencies(tokens);
        sets.iter().position(|set| *set == *frequencies).unwrap_or_else(|| {
            sets.push(frequencies.into_owned());
            sets.len() - 1
        })
    };
    let mut of_rows = vec![0; positions.len()];
    if rope.depends_on_length() {
        for sequence in &rows.sequences {
            of_rows[sequence.clone()].fill(set_of(sequence.len()));
        }
    } else {
        set_of(longest);
    }
    let angles = tables.get(gpu, sets, rope.amplitude(), longest)?;
    let place = |(set, position): (&usize, &u32)| (set * angles.positions) as u32 + position;
    let places = numbers.push(of_rows.iter().zip(positions).map(place));
    Ok(Rotation { angles, places })
}

/// Rotates the heads of queries and keys, or rotates them back.
pub fn rotate(
    gpu: &Gpu,
    qkv: &Tensor,
    (angles, places): (&Tensor, View<'_>),
    shape: AttentionShape,
    inverse: bool,
) -> Result<()> {
    let (half, heads) = (angles.cols() / 2, shape.heads + shape.kv_heads);
    let job = Job::on_values(Kind::Rope, qkv.rows() * heads * half).writes(qkv.view());
    let job = job.reads(angles.view()).ints(places);
    let job = job.size(qkv.cols()).size(heads).size(shape.head_dim).size(half);
    gpu.queue(job.number(if inverse { -1.0 } else { 1.0 }))
}
