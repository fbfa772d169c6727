//! Kernels against the processor's, where golden models are too small to show what can go wrong: long
//! sequences, wide heads, windows, many slots, coded matrices.

use std::process::Command;

use proptest::prelude::*;
use trainer::backend::cpu::Cpu;
use trainer::backend::{Activation, Attention, AttentionShape, Backend, Rows, Step, Target};
use trainer::format::{Bytes, Format, Stored};

use super::device::Device;
use crate::support::relative_error;

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 * 0.37).sin()).collect()
}

/// A step without adapters.
fn step<T>(rows: Rows, attention: AttentionShape) -> Step<'static, T> {
    let families = rows.families_of_one();
    Step { rows, families, read: None, sites: Vec::new(), ropes: &[], attention }
}

/// A step of one sequence of these tokens, for operations without attention.
fn step_of<T>(ids: &[u32]) -> Step<'static, T> {
    let mut rows = Rows::default();
    rows.push(ids, &vec![false; ids.len()], 0.0);
    step(rows, AttentionShape { heads: 1, kv_heads: 1, head_dim: 1 })
}

/// The results of attention, forward and backward, of some sequences.
fn attention<B: Backend>(be: &B, rule: &Attention, lengths: &[usize]) -> [Vec<f32>; 3] {
    let (mut rows, shape) = (Rows::default(), rule.shape);
    for length in lengths {
        rows.push(&vec![0; *length], &vec![false; *length], 0.0);
    }
    let plan = be.plan(step(rows, shape)).expect("a plan");
    let rows = plan.rows.len();
    let matrix = |cols, seed| be.tensor(&numbers(rows * cols, seed), rows, cols).expect("a matrix");
    let qkv = matrix(shape.qkv_columns(), 1);
    let dout = matrix(shape.q_columns(), 2);
    let (out, lse) = be.attention(&qkv, rule, &plan).expect("forward");
    let dqkv = be.attention_backward(&dout, &qkv, &out, &lse, rule, &plan).expect("backward");
    [out, lse, dqkv].map(|tensor| be.values(&tensor).expect("values"))
}

#[test]
fn attention_over_several_tiles_equals_the_processors_for_every_shape_of_heads() {
    let Some(device) = Device::take() else { return };
    let gpu = device.f32();
    for (heads, kv_heads, head_dim, window, softcap) in [
        (4, 2, 64, None, None),
        (2, 1, 256, None, Some(20.0)),
        (3, 3, 40, Some(7), None),
        (4, 1, 96, Some(33), Some(5.0)),
        (2, 2, 16, Some(1), None),
    ] {
        let shape = AttentionShape { heads, kv_heads, head_dim };
        let scale = 1.0 / (head_dim as f64).sqrt();
        let rule = Attention { shape, scale, softcap, window };
        let lengths = [1, 16, 17, 70, 3];
        let ours = attention(&gpu, &rule, &lengths);
        let theirs = attention(&Cpu::<f32>::new(), &rule, &lengths);
        for (what, (ours, theirs)) in ["out", "lse", "dqkv"].iter().zip(ours.iter().zip(&theirs)) {
            let error = relative_error(ours, theirs);
            assert!(error < 2e-5, "{rule:?}: {what} is off by {error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn attention_of_sequences_of_any_length_equals_the_processors(
        lengths in proptest::collection::vec(1usize..50, 1..5),
        window in proptest::option::of(1usize..40),
    ) {
        let Some(device) = Device::take() else { return Ok(()) };
        let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 8 };
        let rule = Attention { shape, scale: 0.3, softcap: None, window };
        let ours = attention(&device.f32(), &rule, &lengths);
        let theirs = attention(&Cpu::<f32>::new(), &rule, &lengths);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            prop_assert!(relative_error(ours, theirs) < 2e-5);
        }
    }
}

#[test]
fn coded_matrices_of_every_format_have_the_values_that_the_processor_reads_in_them() {
    let Some(device) = Device::take() else { return };
    let gpu = device.f32();
    let formats = [
        Format::F64,
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
        Format::Nf4,
        Format::Int8,
    ];
    for format in formats {
        let (rows, cols) = (4, 512);
        let bytes: Vec<u8> = (0..rows * format.row_bytes(cols))
            // Exponents stay small enough for sums to be finite.
            .map(|i| ((i * 7919 + 13) % 251) as u8 & 0x3b)
            .collect();
        let stored = Stored::new(Bytes::Owned(bytes.into()), format, rows, cols).expect("a matrix");
        for order in [trainer::format::RowOrder::Same, trainer::format::RowOrder::Neighbours(4)] {
            let stored = stored.clone().in_order(order);
            // As a product with the unit matrix, and as a table.
            let ids: Vec<u32> = (0..rows as u32).collect();
            let table = gpu.freeze_table(&stored).expect("a table");
            let plan = gpu.plan(step_of(&ids)).expect("a plan");
            let embedded = gpu.embed(&table, 1.0, &plan).expect("rows");
            let ours = gpu.values(&embedded).expect("values");
            let mut theirs = vec![f32::NAN; rows * cols];
            stored.decode(0..rows, 0..cols, &mut theirs);
            assert_eq!(ours, theirs, "{format} {order:?}");
            let mut unit = vec![0.0; rows * rows];
            (0..rows).for_each(|i| unit[i * rows + i] = 1.0);
            let unit = gpu.tensor(&unit, rows, rows).expect("a matrix");
            let weight = gpu.freeze(std::slice::from_ref(&stored)).expect("a matrix");
            let layer = trainer::backend::Linear { weight, bias: None };
            let product = gpu.linear_backward(&unit, &layer).expect("a product");
            let error = relative_error(&gpu.values(&product).expect("values"), &theirs);
            assert!(error < 1e-6, "{format} {order:?}: off by {error}");
        }
    }
}

#[test]
fn what_is_not_finite_reaches_the_loss_and_the_activation_functions_saturate() {
    let Some(device) = Device::take() else { return };
    let gpu = device.f32();
    let gate_up = gpu.tensor(&[-200.0, 200.0, 1.0, 1.0], 1, 4).expect("a matrix");
    for f in [Activation::Silu, Activation::GeluTanh] {
        let y = gpu.values(&gpu.glu(&gate_up, f).expect("glu")).expect("values");
        assert_eq!(y, [0.0, 200.0], "{f:?}");
    }
    let values: Vec<u8> =
        [1.0_f32, 2.0, f32::INFINITY, 0.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    let stored = Stored::new(Bytes::Owned(values.into()), Format::F32, 4, 1).expect("a matrix");
    let weight = gpu.freeze_table(&stored).expect("a head");
    let h = gpu.tensor(&[1.0], 1, 1).expect("a row");
    let head = trainer::backend::Head { weight: &weight, softcap: None };
    let mut step = step_of(&[0]);
    step.rows.targets.push(Target { row: 0, token: 1, weight: 1.0 });
    let plan = gpu.plan(step).expect("a plan");
    let (nll, _) = gpu.cross_entropy(h, head, false, &plan).expect("a loss");
    assert!(nll[0].is_nan(), "{nll:?}");
}

/// The kernels that are committed are those that NVRTC makes of the sources. Where there is no NVRTC
/// this says so; that they were made from these sources is tested without it, beside `kernels.rs`.
#[test]
fn the_committed_kernels_are_what_nvrtc_makes_of_their_sources() {
    let script =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/cuda/compile.py");
    let Ok(output) = Command::new("python3").arg(script).arg("--check").output() else {
        eprintln!("not run: there is no python3");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => {}
        Some(3) => eprintln!("not run: {said}"),
        _ => panic!("{said} {}", String::from_utf8_lossy(&output.stderr)),
    }
}
