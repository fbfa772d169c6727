//! `check` says where more seeds would decide what an earlier start left open.

use std::fs;
use std::path::Path;

use spec::{Evaluation, Event, ExampleLosses, Outcome, TrialId};
use store::{SweepDir, SweepFolder};

use crate::common::{Ran, lorasweep};

const ROWS: u32 = 400;

/// A number in `[-1, 1)`, the same every time.
fn noise(trial: u32, row: u32) -> f64 {
    let mut x = u64::from(trial) << 32 | u64::from(row);
    x = (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((x >> 11) as f64 / (1_u64 << 52) as f64) - 1.0
}

/// The losses of a trial whose mean loss lies at `loss`, on rows of ten tokens.
fn measured(trial: TrialId, loss: f64) -> [Event; 2] {
    let own: Vec<f64> = (0..ROWS).map(|row| 0.1 * noise(trial.0, row)).collect();
    let middle = own.iter().sum::<f64>() / f64::from(ROWS);
    let nll = own.iter().map(|apart| (10.0 * (loss + apart - middle), 10));
    let evaluation = Evaluation {
        step: 10,
        epoch: 1.0,
        eval_loss: loss,
        eval_loss_stderr: 0.01,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: Some(loss),
        retention_loss: None,
        scores: Vec::new(),
        tokens: 100,
        seconds: 1.0,
    };
    let examples = ExampleLosses::collect(nll);
    let evaluated = if trial == TrialId::BASE {
        Event::BaseEvaluated { evaluation: Evaluation { step: 0, epoch: 0.0, ..evaluation } }
    } else {
        Event::Evaluated { trial, evaluation }
    };
    [
        evaluated,
        Event::ExamplesEvaluated { trial, step: if trial.0 == 0 { 0 } else { 10 }, examples },
    ]
}

/// What `check` says of a sweep whose two configurations ended this far apart; `more` is added to the
/// sweep's file afterwards.
fn checked(dir: &Path, results: &str, apart: f64, more: &str) -> Ran {
    let started = SweepFolder::at(dir.join("results/s"));
    let (identity, state) = (started.identity().unwrap(), started.state().unwrap());
    let text = fs::read_to_string(dir.join("s.yaml")).unwrap();
    let mut opened = SweepDir::open(&dir.join(results), &identity, &text).unwrap();
    let mut events = vec![Event::SweepStarted {
        name: identity.name.clone(),
        fingerprint: identity.fingerprint.clone(),
        version: "0".into(),
        objective: spec::Objective::default(),
    }];
    events.extend(measured(TrialId::BASE, 3.0));
    for (trial, loss) in state.trials.values().zip([1.5, 1.5 + apart]) {
        let id = trial.trial.id;
        events.push(Event::proposed(trial.trial.clone()));
        events.extend(measured(id, loss));
        events.push(Event::TrialFinished { trial: id, outcome: Outcome::Completed });
    }
    events.push(Event::SweepFinished);
    opened.dir.record(&events).unwrap();
    drop(opened);
    fs::write(dir.join("s.yaml"), format!("{text}{more}")).unwrap();
    let ran = lorasweep(dir, &["check", "s.yaml", "--results", results]);
    fs::write(dir.join("s.yaml"), text).unwrap();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran
}

#[test]
fn check_suggests_replicates_where_seeds_and_not_rows_tie_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    crate::common::prepare(dir, 1, "max_packed: 2");
    assert_eq!(lorasweep(dir, &["run", "s.yaml", "--quiet"]).code, 0);
    let suggests = |ran: &Ran| {
        let all = format!("{}{}", ran.stdout, ran.stderr);
        let suggests = all.contains("tied at the top by what another seed can do");
        assert_eq!(suggests, all.contains("`replicates: {top: 2"), "{all}");
        suggests
    };
    // The rows tell them apart (by 2.5 standard errors), another seed may not.
    assert!(suggests(&checked(dir, "near", 0.0105, "")));
    let already = checked(dir, "already", 0.0105, "replicates: {top: 2, seeds: 2}\n");
    assert!(!suggests(&already), "the file repeats them");
    assert!(!suggests(&checked(dir, "far", 0.5, "")), "no seed turns this around");
    assert!(!suggests(&checked(dir, "same", 0.0005, "")), "the rows do not tell them apart");
}
