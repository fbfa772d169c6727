//! The table of real runs that `scripts/bench/diagnosis_table.py` writes.

use std::error::Error;
use std::fs::File;

use curves::Matrix;
use flate2::read::GzDecoder;

/// Rows of the validation sets.
pub const SETS: [usize; 3] = [400, 150, 40];

/// One run with all of its evaluations, the base model's first.
pub struct Run {
    pub regime: String,
    pub seed: u64,
    pub rank: u32,
    pub learning_rate: f64,
    pub batch_size: u32,
    pub points: Vec<Point>,
    /// Noise of the losses on each validation set.
    pub noise: [Matrix; 3],
    /// Groups of rows that it comes from.
    pub groups: [usize; 3],
}

/// One evaluation.
pub struct Point {
    pub step: u32,
    pub epoch: f64,
    /// Loss on rows that no rule sees.
    pub truth: f64,
    pub train: f64,
    /// Losses on the validation sets.
    pub losses: [f64; 3],
    /// Training losses of the steps since the evaluation before.
    pub steps: Vec<f64>,
}

/// One row of the file, with the covariances up to its evaluation.
struct Line {
    point: Point,
    covariances: [Vec<f64>; 3],
}

/// The runs of a table, in its order.
pub fn read(path: &str) -> Result<Vec<Run>, Box<dyn Error>> {
    let file = File::open(path).map_err(|error| format!("failed to open `{path}`: {error}"))?;
    let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
    let names = reader.headers()?.clone();
    let mut runs: Vec<(Run, Vec<Line>)> = Vec::new();
    for record in reader.records() {
        let record = record?;
        let cell = |name: &str| {
            let at = names.iter().position(|known| known == name);
            at.and_then(|at| record.get(at)).ok_or_else(|| format!("no column `{name}`"))
        };
        let number = |name: &str| -> Result<f64, Box<dyn Error>> { Ok(cell(name)?.parse()?) };
        if number("step")? == 0.0 {
            runs.push((run(&cell, &number)?, Vec::new()));
        }
        let lines = &mut runs.last_mut().ok_or("the first row is not a base model")?.1;
        lines.push(line(&cell, &number)?);
    }
    Ok(runs.into_iter().map(complete).collect())
}

type Cell<'a> = dyn Fn(&str) -> Result<&'a str, String> + 'a;
type Number<'a> = dyn Fn(&str) -> Result<f64, Box<dyn Error>> + 'a;

fn run(cell: &Cell<'_>, number: &Number<'_>) -> Result<Run, Box<dyn Error>> {
    let mut groups = [0; 3];
    for (count, rows) in groups.iter_mut().zip(SETS) {
        *count = number(&format!("groups_{rows}"))? as usize;
    }
    Ok(Run {
        regime: cell("regime")?.to_owned(),
        seed: number("seed")? as u64,
        rank: number("rank")? as u32,
        learning_rate: number("learning_rate")?,
        batch_size: number("batch_size")? as u32,
        points: Vec::new(),
        noise: [0; 3].map(|_| Matrix::from_fn(0, |_, _| 0.0)),
        groups,
    })
}

fn numbers(text: &str, unit: f64) -> Result<Vec<f64>, Box<dyn Error>> {
    text.split_whitespace().map(|x| Ok(x.parse::<f64>()? * unit)).collect()
}

fn line(cell: &Cell<'_>, number: &Number<'_>) -> Result<Line, Box<dyn Error>> {
    let mut losses = [0.0; 3];
    let mut covariances: [Vec<f64>; 3] = Default::default();
    for (at, rows) in SETS.iter().enumerate() {
        losses[at] = number(&format!("loss_{rows}"))?;
        covariances[at] = numbers(cell(&format!("cov_{rows}"))?, 1e-8)?;
    }
    let point = Point {
        step: number("step")? as u32,
        epoch: number("epoch")?,
        truth: number("truth")?,
        train: number("train")?,
        losses,
        steps: numbers(cell("steps")?, 0.01)?,
    };
    Ok(Line { point, covariances })
}

fn complete((mut run, lines): (Run, Vec<Line>)) -> Run {
    for set in 0..SETS.len() {
        run.noise[set] =
            Matrix::from_fn(lines.len(), |i, j| lines[i.max(j)].covariances[set][i.min(j)]);
    }
    run.points = lines.into_iter().map(|line| line.point).collect();
    run
}
