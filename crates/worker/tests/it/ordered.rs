//! What depends on other trials (proposals of a method that learns, stops and promotions by rules that
//! compare) is the same whatever dies while a sweep runs.

use std::path::Path;
use std::time::Duration;

use crate::common::{Fuse, Run, World, outcome, ranking, run, run_until_killed};
use proptest::prelude::*;
use spec::{PathKind, Sweep, TrialConfig, TrialId};
use worker::Finish;

/// Sweeps whose decisions depend on the other trials, each in another way.
const SWEEPS: [&str; 6] = [
    "method: bayes\nrun_cap: 9\n",
    "method: bayes\nrun_cap: 9\nreplicates: {top: 2, seeds: 2}\n",
    "method: bayes\nrun_cap: 12\nearly_terminate: {type: hyperband, min_iter: 1, eta: 2, promote: true}\nreplicates: {top: 2, seeds: 1}\n",
    "method: random\nrun_cap: 12\nearly_terminate: {type: hyperband, min_iter: 1, eta: 2, promote: true}\n",
    "method: sobol\nrun_cap: 10\nearly_terminate: {type: median, min_iter: 1}\n",
    "method: bayes\nrun_cap: 10\nearly_terminate: {type: curve, top: 1, chance: 0.2, min_iter: 2, promote: true}\n",
];

fn sweep(lines: &str, schedule: &str) -> Sweep {
    let text = format!(
        "model: base\ndata: {{train: rows.jsonl}}\ntrain: {{lr_scheduler: {schedule}}}\n{lines}\
         parameters:\n  learning_rate: {{distribution: log_uniform_values, min: 1.0e-3, max: 0.5}}\n\
         \x20 batch_size: [4, 8, 16]\n  epochs: [1, 2, 3]\n"
    );
    let look = |path: &Path| match path.extension() {
        Some(_) => PathKind::File,
        None => PathKind::Folder,
    };
    spec::resolve(&text, Path::new("test.yaml"), &look).unwrap_or_else(|errors| panic!("{errors}"))
}

fn proposals(run: &Run) -> Vec<(TrialId, TrialConfig)> {
    run.state.trials.iter().map(|(id, trial)| (*id, trial.trial.config.clone())).collect()
}

/// A sweep, how it runs, and what dies meanwhile.
#[derive(Debug)]
struct Case {
    sweep: Sweep,
    capacity: usize,
    workers: usize,
    /// Whether a checkpoint is saved after each step, or only when a worker ends.
    often: bool,
    /// Driver and workers die at these shares of a sweep's moments, one after the other.
    all_die: Vec<f64>,
    /// A worker dies at this turn.
    worker_dies: Option<usize>,
}

/// Runs the sweep left alone and with all that dies, and compares what came of it.
fn check(case: Case) -> Result<(), TestCaseError> {
    let Case { sweep, capacity, workers, often, all_die, worker_dies } = case;
    let world = |fuse: Fuse| World {
        sweep: Some(sweep.clone()),
        workers,
        fuse,
        max_retries: 100,
        checkpoint_every: if often { Duration::ZERO } else { Duration::MAX },
        ..World::new(Vec::new(), capacity)
    };
    let (left_alone, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fuse = Fuse::never();
    let expected = run(left_alone.path(), &world(fuse.clone()));
    prop_assert_eq!(expected.finish.as_ref().unwrap(), &Finish::Completed);
    for share in all_die {
        let fuse = Fuse::after((share * f64::from(fuse.burnt())) as u32);
        run_until_killed(killed.path(), &world(fuse));
    }
    let kill_after_turns = worker_dies.into_iter().collect();
    let last = run(killed.path(), &World { kill_after_turns, ..world(Fuse::never()) });
    prop_assert!(matches!(last.finish, Ok(Finish::Completed | Finish::AlreadyFinished)));
    prop_assert_eq!(proposals(&last), proposals(&expected));
    prop_assert_eq!(outcome(&last.state), outcome(&expected.state));
    prop_assert_eq!(ranking(&last.state), ranking(&expected.state));
    Ok(())
}

proptest! {
    // Each case runs several sweeps.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_dies_the_proposals_the_stops_and_the_ranking_are_those_of_a_sweep_left_alone(
        kind in 0..SWEEPS.len(),
        schedule in prop::sample::select(vec!["linear", "constant", "warmup_stable_decay"]),
        capacity in 1_usize..4,
        workers in 1_usize..3,
        often in any::<bool>(),
        all_die in prop::collection::vec(0.0..1.0_f64, 0..3),
        worker_dies in prop::option::of(1_usize..80),
    ) {
        let sweep = sweep(SWEEPS[kind], schedule);
        check(Case { sweep, capacity, workers, often, all_die, worker_dies })?;
    }
}
