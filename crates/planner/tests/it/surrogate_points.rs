//! The surrogate of the benchmark gives the values of the script it was written after.

#![allow(dead_code, reason = "the benchmark uses more of it")]

#[path = "../../benches/planner/numpy.rs"]
mod numpy;
#[path = "../../benches/planner/surrogate.rs"]
mod surrogate;

use surrogate::{Instance, Setting};

#[test]
fn every_point_that_the_script_printed_comes_out_to_nine_digits() {
    let table = include_str!("../surrogate/points.csv");
    let mut rows = 0;
    for line in table.lines().skip(1) {
        let v: Vec<f64> = line.split(',').map(|x| x.parse().expect("a number")).collect();
        let [number, rank, learning_rate, batch, epochs, seed, expected @ ..] = &v[..] else {
            panic!("a row is too short: {line}")
        };
        let instance = Instance::new(*number as u64);
        let s = Setting {
            rank: *rank as u32,
            learning_rate: *learning_rate,
            batch_size: *batch as u32,
            epochs: *epochs as u32,
        };
        let (run, optimum) = (instance.run(s, *seed as u64), instance.optimum());
        let found = [
            instance.expected(s, s.epochs),
            instance.expected(s, 1),
            run.eval[0],
            run.eval[run.eval.len() - 1],
            run.train[run.train.len() - 1],
            run.seconds,
            optimum.best,
            optimum.grid,
            optimum.median,
        ];
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (found / expected - 1.0).abs();
            assert!(error < 1e-9, "column {place} of {line}: {found}");
        }
        rows += 1;
    }
    assert_eq!(rows, 54);
}
