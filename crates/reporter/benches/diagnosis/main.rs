//! How often the diagnoses are right, on real runs whose losses on 1,000 rows that no rule sees are
//! known.
//!
//! ```text
//! cargo bench -p lorasweep-reporter --bench diagnosis -- results/bench/diagnosis_runs.csv.gz [CASES]
//! ```
//!
//! CASES is a CSV file of every case that is written for `scripts/bench/diagnosis_pool.py`.
//!
//! The runs of a regime with one seed are a sweep; a run cut at each of its evaluations from the
//! third on is a case. The rule is the report's own, from the journal's events to the flag.

#![allow(missing_docs)]

mod present;
mod rates;
mod replay;
mod rules;
mod score;
mod table;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use reporter::Lang;
use reporter::diagnose::diagnose_all;
use spec::{ReportSettings, TrialId};

use crate::rules::RULES;
use crate::score::{Case, Counts, area, shown};
use crate::table::{Run, SETS};
use crate::truth::Level;

/// Rises that are asked for.
const RISES: [f64; 3] = [0.01, 0.03, 0.1];

/// The evaluation from which on a run is judged.
const FIRST: usize = 3;

/// Columns of the file of cases.
const CASE: [&str; 10] =
    ["regime", "seed", "run", "end", "rows", "rise", "train", "alone", "rise_over_error", "truth"];

/// One run cut at one evaluation, judged on one validation set for one smallest rise.
struct Judged {
    regime: String,
    set: usize,
    rise: usize,
    probability: f64,
    /// By the run's own curve alone.
    alone: f64,
    rise_over_error: f64,
    seed: u64,
    run: u32,
    end: usize,
    train: f64,
    scores: [f64; 5],
    /// Risen, by levels and by single evaluations.
    truth: [bool; 2],
}

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds `--bench`.
    let mut paths = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let Some(path) = paths.next() else {
        println!("needs the table of runs: -- results/bench/diagnosis_runs.csv.gz");
        return Ok(());
    };
    let runs = table::read(&path)?;
    let mut sweeps: BTreeMap<(&str, u64), Vec<&Run>> = BTreeMap::new();
    for run in &runs {
        sweeps.entry((&run.regime, run.seed)).or_default().push(run);
    }
    let (mut judged, mut rates) = (Vec::new(), [0; 3].map(|_| rates::Table::new()));
    for runs in sweeps.values() {
        for (set, rates) in rates.iter_mut().enumerate() {
            let longest = runs.iter().map(|run| run.points.len()).max().unwrap_or(0);
            for end in FIRST..longest {
                judge(runs, set, end, &mut judged, rates);
            }
        }
    }
    if let Some(path) = paths.next() {
        write_cases(&path, &judged)?;
    }
    print_cases(&judged);
    print_areas(&judged, 0, "levels of two evaluations in a row");
    print_areas(&judged, 1, "single evaluations");
    print_flags(&judged);
    print_held_out(&judged);
    print_calibration(&judged);
    print_rates(&rates);
    Ok(())
}

fn judge(
    runs: &[&Run],
    set: usize,
    end: usize,
    judged: &mut Vec<Judged>,
    rates: &mut rates::Table,
) {
    let state = replay::state(runs, set, end);
    for (rise, min_rise) in RISES.into_iter().enumerate() {
        let settings = ReportSettings { overfit_min_rise: min_rise, ..ReportSettings::default() };
        let diagnoses = diagnose_all(&state, &settings, Lang::En);
        if rise == 0 {
            rates::count(runs, end, &diagnoses, rates);
        }
        let trained = (1..).zip(runs).filter(|(_, run)| end < run.points.len());
        for (number, run) in trained {
            let diagnosis = diagnoses.get(&TrialId(number));
            let probability = diagnosis.and_then(|d| d.overfit_probability);
            let own = diagnosis.and_then(|d| d.rise.as_ref());
            let truth = [Level::Two, Level::One].map(|level| truth::rise(run, end, level));
            judged.push(Judged {
                regime: run.regime.clone(),
                set,
                rise,
                probability: probability.unwrap_or(0.0),
                alone: own.map_or(0.0, |rise| rise.alone),
                rise_over_error: own
                    .and_then(|r| r.levels.last())
                    .map_or(0.0, |l| l.rise_over_error),
                seed: run.seed,
                run: number,
                end,
                train: run.points[end].train,
                scores: rules::scores(&replay::evaluations(run, set, end), min_rise),
                truth: truth.map(|rise| rise >= min_rise),
            });
        }
    }
}

fn write_cases(path: &str, judged: &[Judged]) -> Result<(), Box<dyn Error>> {
    let mut out = csv::Writer::from_path(path)?;
    out.write_record(CASE)?;
    for case in judged {
        out.write_record([
            case.regime.clone(),
            case.seed.to_string(),
            case.run.to_string(),
            case.end.to_string(),
            SETS[case.set].to_string(),
            RISES[case.rise].to_string(),
            case.train.to_string(),
            case.alone.to_string(),
            case.rise_over_error.to_string(),
            u8::from(case.truth[0]).to_string(),
        ])?;
    }
    Ok(out.flush()?)
}

fn regimes(judged: &[Judged]) -> Vec<&str> {
    let names: BTreeSet<&str> = judged.iter().map(|case| case.regime.as_str()).collect();
    names.into_iter().collect()
}

fn of(judged: &[Judged], set: usize, rise: usize) -> impl Iterator<Item = &Judged> {
    judged.iter().filter(move |case| case.set == set && case.rise == rise)
}

fn print_cases(judged: &[Judged]) {
    println!("Cases (run, end), and those that have truly risen by 1, 3 and 10 %:\n");
    println!("{:16} {:>6} {:>5} {:>5} {:>5}", "regime", "cases", "1 %", "3 %", "10 %");
    for regime in regimes(judged) {
        let count = |rise: usize, wanted: fn(&Judged) -> bool| {
            of(judged, 0, rise).filter(|c| c.regime == regime && wanted(c)).count()
        };
        let risen = [0, 1, 2].map(|rise| count(rise, |case| case.truth[0]));
        let all = count(0, |_| true);
        println!("{regime:16} {all:6} {:5} {:5} {:5}", risen[0], risen[1], risen[2]);
    }
}

/// The report's scores and those of the simple rules.
fn cases<'a>(cases: impl Iterator<Item = &'a Judged>, truth: usize) -> (Vec<Case>, [Vec<Case>; 5]) {
    let (mut own, mut others) = (Vec::new(), <[Vec<Case>; 5]>::default());
    for case in cases {
        let is_true = case.truth[truth];
        own.push((case.probability, is_true));
        others.iter_mut().zip(case.scores).for_each(|(list, score)| list.push((score, is_true)));
    }
    (own, others)
}

fn print_areas(judged: &[Judged], truth: usize, of_what: &str) {
    println!(
        "\nArea under the precision-recall curve; truth: rise of {of_what} on 1,000 other rows\n"
    );
    print!("{:16} {:>4} {:>5} {:>9}", "regime", "rows", "rise", "lorasweep");
    print_rules();
    let mut worse = Vec::new();
    for regime in std::iter::once("all").chain(regimes(judged)) {
        for (set, rows) in SETS.into_iter().enumerate() {
            for (rise, share) in RISES.into_iter().enumerate() {
                let here = of(judged, set, rise).filter(|c| regime == "all" || c.regime == regime);
                let (own, others) = cases(here, truth);
                // A handful of risen cases says nothing of a rule.
                if own.iter().filter(|case| case.1).count() < 10 {
                    continue;
                }
                let (own, others) = (area(&own), others.map(|cases| area(&cases)));
                print!("{regime:16} {rows:4} {:>3.0} % {own:9.3}", 100.0 * share);
                print!("{}", others.map(|area| format!(" {area:18.3}")).concat());
                println!();
                let best = others.into_iter().fold(0.0, f64::max);
                if best > own {
                    worse.push(format!(
                        "{regime}, {rows} rows, {:.0} %: {best:.3} against {own:.3}",
                        100.0 * share
                    ));
                }
            }
        }
    }
    println!("\nWhere a simple rule is better: {}", if worse.is_empty() { "nowhere" } else { "" });
    println!("  {}", worse.join("\n  "));
}

fn print_flags(judged: &[Judged]) {
    let threshold = ReportSettings::default().overfit_probability;
    println!(
        "\nThe flag (probability {threshold} and more), and the rules with the thresholds that people set;"
    );
    println!("precision / recall for rises of at least 1, 3 and 10 %\n");
    print!("{:16} {:>4} {:>5} {:>5} {:>11}", "regime", "rows", "rise", "true", "lorasweep");
    print_rules();
    for regime in std::iter::once("all").chain(regimes(judged)) {
        for (set, rows) in SETS.into_iter().enumerate() {
            for (rise, share) in RISES.into_iter().enumerate() {
                let here: Vec<&Judged> = of(judged, set, rise)
                    .filter(|c| regime == "all" || c.regime == regime)
                    .collect();
                let own = Counts::of(here.iter().map(|c| (c.probability >= threshold, c.truth[0])));
                print!(
                    "{regime:16} {rows:4} {:>3.0} % {:5} {:>11}",
                    100.0 * share,
                    own.true_ones(),
                    both(&own)
                );
                for rule in 0..RULES.len() {
                    let said = |c: &&Judged| (rules::flags(c.scores, share)[rule], c.truth[0]);
                    print!(" {:>18}", both(&Counts::of(here.iter().map(said))));
                }
                println!();
            }
        }
    }
}

fn print_rules() {
    println!("{}", RULES.map(|rule| format!(" {rule:>18}")).concat());
}

fn both(counts: &Counts) -> String {
    format!("{} / {}", shown(counts.precision()), shown(counts.recall()))
}

/// The threshold that is best for the other regimes, in the regime that is held out.
fn print_held_out(judged: &[Judged]) {
    println!(
        "\nHeld out: the threshold at which precision and recall are nearest in the other regimes\n"
    );
    println!("{:>4} {:>5} {:>11} thresholds", "rows", "rise", "held out");
    for (set, rows) in SETS.into_iter().enumerate() {
        for (rise, share) in RISES.into_iter().enumerate() {
            let (mut said, mut thresholds) = (Vec::new(), Vec::new());
            for regime in regimes(judged) {
                let (held, others): (Vec<&Judged>, Vec<&Judged>) =
                    of(judged, set, rise).partition(|case| case.regime == regime);
                let threshold = balanced(&others);
                thresholds.push(format!("{threshold:.2}"));
                said.extend(held.iter().map(|c| (c.probability >= threshold, c.truth[0])));
            }
            let counts = Counts::of(said);
            println!(
                "{rows:4} {:>3.0} % {:>11} {}",
                100.0 * share,
                both(&counts),
                thresholds.join(" ")
            );
        }
    }
}

fn balanced(cases: &[&Judged]) -> f64 {
    let lesser = |threshold: f64| {
        let counts = Counts::of(cases.iter().map(|c| (c.probability >= threshold, c.truth[0])));
        counts.precision().unwrap_or(0.0).min(counts.recall().unwrap_or(0.0))
    };
    let thresholds = (2..=38).map(|n| f64::from(n) * 0.025);
    thresholds.max_by(|a, b| lesser(*a).total_cmp(&lesser(*b))).unwrap_or(0.5)
}

fn print_calibration(judged: &[Judged]) {
    println!("\nShare of cases that have risen, by the probability that was said (all regimes)\n");
    println!("{:>4} {:>5}  0-10 % 10-30 % 30-50 % 50-70 % 70-90 % 90-100 %", "rows", "rise");
    let bounds = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.01];
    for (set, rows) in SETS.into_iter().enumerate() {
        for (rise, share) in RISES.into_iter().enumerate() {
            print!("{rows:4} {:>3.0} %", 100.0 * share);
            for pair in bounds.windows(2) {
                let within = |case: &&Judged| (pair[0]..pair[1]).contains(&case.probability);
                let here: Vec<&Judged> = of(judged, set, rise).filter(within).collect();
                let risen = here.iter().filter(|case| case.truth[0]).count();
                let said = (!here.is_empty()).then(|| risen as f64 / here.len() as f64);
                print!(" {:>7}", shown(said));
            }
            println!();
        }
    }
}

fn print_rates(rates: &[rates::Table; 3]) {
    println!("\nOther diagnoses\n");
    println!(
        "{:16} {:>4} {:>5} {:>5} {:>5} {:>9} {:>6}",
        "diagnosis", "rows", "cases", "true", "said", "precision", "recall"
    );
    for (rows, table) in SETS.into_iter().zip(rates) {
        for (name, counts) in table {
            println!(
                "{name:16} {rows:4} {:5} {:5} {:5} {:>9} {:>6}",
                counts.all(),
                counts.true_ones(),
                counts.said(),
                shown(counts.precision()),
                shown(counts.recall())
            );
        }
    }
}
