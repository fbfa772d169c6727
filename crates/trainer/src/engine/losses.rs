//! Losses of single examples, in evaluation mode, under several adapters at once.

use crate::backend::Backend;
use crate::decoder::{ActiveAdapter, AttachedAdapter, Decoder, Rows};
use crate::error::Result;
use data::Example;

/// An example's summed negative log-likelihood in nats, and its number of target tokens.
pub type ExampleLoss = (f64, usize);

/// The losses of all examples under each adapter; without adapters, those of the base model alone.
/// About `tokens_per_pass` tokens are computed at a time.
pub fn of_examples<B: Backend>(
    decoder: &Decoder<B>,
    examples: &[Example],
    adapters: &[AttachedAdapter<'_, B::Tensor>],
    tokens_per_pass: usize,
) -> Result<Vec<Vec<ExampleLoss>>> {
    let runs = adapters.len().max(1);
    let mut found = vec![Vec::with_capacity(examples.len()); runs];
    let work: Vec<(usize, &Example)> =
        (0..runs).flat_map(|run| examples.iter().map(move |example| (run, example))).collect();
    let mut rest = &work[..];
    while !rest.is_empty() {
        let (pass, later) = rest.split_at(pass_len(rest, tokens_per_pass));
        run_pass(decoder, adapters, pass, &mut found)?;
        rest = later;
    }
    Ok(found)
}

fn pass_len(work: &[(usize, &Example)], tokens_per_pass: usize) -> usize {
    let mut tokens = 0;
    let fits = work.iter().take_while(|(_, example)| {
        tokens += example.input_ids.len();
        tokens <= tokens_per_pass
    });
    fits.count().max(1)
}

fn run_pass<B: Backend>(
    decoder: &Decoder<B>,
    adapters: &[AttachedAdapter<'_, B::Tensor>],
    pass: &[(usize, &Example)],
    found: &mut [Vec<ExampleLoss>],
) -> Result<()> {
    let mut rows = Rows::default();
    let mut active: Vec<ActiveAdapter<'_, B::Tensor>> = Vec::new();
    for of_run in pass.chunk_by(|a, b| a.0 == b.0) {
        let start = rows.len();
        for (_, example) in of_run {
            rows.push(&example.input_ids, &example.loss_mask, 1.0);
        }
        if let Some(AttachedAdapter { layout, params }) = adapters.get(of_run[0].0) {
            active.push(ActiveAdapter { layout, params, rows: start..rows.len(), dropout: None });
        }
    }
    let nll = decoder.losses(&rows, &active)?;
    let mut nll = nll.iter();
    for (run, example) in pass {
        let targets = example.targets();
        found[*run].push((nll.by_ref().take(targets).map(|x| f64::from(*x)).sum(), targets));
    }
    Ok(())
}

/// Loss per target token.
pub fn mean(losses: &[ExampleLoss]) -> f64 {
    let (nll, targets) = losses.iter().fold((0.0, 0), |sum, x| (sum.0 + x.0, sum.1 + x.1));
    nll / targets as f64
}

/// Standard error of [`mean`] over the examples.
pub fn mean_stderr(losses: &[ExampleLoss]) -> f64 {
    let mean = mean(losses);
    standard_error(losses, losses.iter().map(|(nll, targets)| nll - mean * *targets as f64))
}

/// Standard error of a mean per token, from each example's deviation from it (the ratio estimator:
/// Cochran 1977, Sampling Techniques, eq. 6.13); 0 for a single example.
pub fn standard_error(losses: &[ExampleLoss], deviations: impl Iterator<Item = f64>) -> f64 {
    let (n, targets) = (losses.len(), losses.iter().map(|x| x.1).sum::<usize>());
    if n < 2 {
        return 0.0;
    }
    let squares: f64 = deviations.map(|d| d * d).sum();
    (squares * n as f64 / (n - 1) as f64).sqrt() / targets as f64
}
