//! The state of a sweep as a fold over its events.

use proptest::prelude::*;
use spec::{
    EndsSeen, Evaluation, Event, LrScheduler, Outcome, Promoted, Record, SCHEMA_VERSION,
    StopReason, SweepState, TargetModule, TrainPoint, Trial, TrialConfig, TrialId, TrialStatus,
};

const ID: TrialId = TrialId(1);

fn config(rank: u32) -> TrialConfig {
    TrialConfig {
        rank,
        lora_alpha: 16.0,
        lora_dropout: 0.0,
        use_rslora: false,
        target_modules: TargetModule::ALL.to_vec(),
        learning_rate: 1e-4,
        batch_size: 8,
        epochs: 3,
        lr_scheduler: LrScheduler::Linear,
        warmup_ratio: 0.03,
        weight_decay: 0.0,
        seed: 42,
        variant: spec::LoraVariant::default(),
        quantization: None,
    }
}

fn proposed(rank: u32) -> Event {
    Event::proposed(Trial { id: ID, config: config(rank) })
}

fn started(from_step: u32) -> Event {
    Event::TrialStarted {
        trial: ID,
        device: "cpu".to_owned(),
        from_step,
        total_steps: 10,
        continues: None,
    }
}

fn trained(step: u32) -> Event {
    let point = TrainPoint {
        step,
        epoch: f64::from(step) / 5.0,
        loss: 2.0,
        grad_norm: Some(1.0),
        learning_rate: 1e-4,
        tokens: u64::from(step) * 100,
        seconds: f64::from(step),
    };
    Event::Trained { trial: ID, point }
}

fn evaluation(step: u32, eval_loss: f64) -> Evaluation {
    Evaluation {
        step,
        epoch: f64::from(step) / 5.0,
        eval_loss,
        eval_loss_stderr: 0.1,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: Some(1.5),
        retention_loss: None,
        scores: Vec::new(),
        tokens: u64::from(step) * 100,
        seconds: f64::from(step),
    }
}

fn evaluated(step: u32, eval_loss: f64) -> Event {
    Event::Evaluated { trial: ID, evaluation: evaluation(step, eval_loss) }
}

fn finished() -> Event {
    Event::TrialFinished { trial: ID, outcome: Outcome::Completed }
}

fn stopped() -> Event {
    let reason = StopReason::EarlyTerminate { reason: "behind".to_owned() };
    Event::TrialFinished { trial: ID, outcome: Outcome::Stopped { reason } }
}

#[test]
fn a_stopped_trial_whose_checkpoint_is_kept_goes_on_with_its_history_when_it_is_promoted() {
    let promoted = || Event::TrialPromoted { trial: ID, reason: "ahead now".to_owned(), at: None };
    let mut events = vec![proposed(8), started(0), trained(1), evaluated(1, 2.0)];
    events.extend([Event::CheckpointKept { trial: ID, step: 1 }, stopped()]);
    let paused = SweepState::from_events(&events);
    assert!(paused.trials[&ID].paused().is_some());

    let mut state = paused.clone();
    state.apply(&promoted());
    assert_eq!(state.trials[&ID].status, TrialStatus::Pending);
    let reason = StopReason::EarlyTerminate { reason: "behind".to_owned() };
    let expected = Promoted { step: 1, stopped: reason, reason: "ahead now".to_owned() };
    assert_eq!(state.trials[&ID].promotions, [expected]);
    state.apply(&started(1));
    state.apply(&trained(2));
    state.apply(&finished());
    let trial = &state.trials[&ID];
    assert_eq!((trial.train_points.len(), trial.evaluations.len()), (2, 1));
    assert_eq!((trial.outcome(), trial.paused()), (Some(&Outcome::Completed), None));

    // Without its checkpoint it has ended for good, and so has what was never paused.
    let mut dropped = paused;
    dropped.apply(&Event::CheckpointDropped { trial: ID });
    let before = dropped.clone();
    dropped.apply(&promoted());
    assert_eq!(dropped, before);
    let mut completed = SweepState::from_events(&[proposed(8), started(0), finished()]);
    let before = completed.clone();
    completed.apply(&promoted());
    assert_eq!(completed, before);
}

#[test]
fn a_restart_forgets_the_steps_beyond_its_checkpoint_and_takes_them_again() {
    let mut events = vec![proposed(8), started(0)];
    events.extend((1..=6).map(trained));
    events.extend([evaluated(3, 2.0), evaluated(6, 1.8)]);
    events.push(Event::Checkpointed { trial: ID, step: 4 });
    events.push(started(4));
    let state = SweepState::from_events(&events);
    let trial = &state.trials[&ID];
    assert_eq!(trial.train_points.iter().map(|p| p.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(trial.evaluations.iter().map(|e| e.step).collect::<Vec<_>>(), [3]);
    assert_eq!(trial.status, TrialStatus::Running);
    assert_eq!(trial.checkpoint_step, Some(4));
}

#[test]
fn an_interrupted_history_folds_to_the_same_state_as_an_uninterrupted_one() {
    let whole = [proposed(8), started(0), trained(1), trained(2), evaluated(2, 1.5), finished()];
    let interrupted = [
        proposed(8),
        started(0),
        trained(1),
        trained(2),
        evaluated(2, 1.5),
        started(1),
        trained(2),
        evaluated(2, 1.5),
        finished(),
    ];
    assert_eq!(SweepState::from_events(&whole), SweepState::from_events(&interrupted));
}

#[test]
fn a_second_proposal_of_the_same_number_changes_nothing() {
    let once = [proposed(8), started(0), trained(1)];
    let mut twice = once.to_vec();
    twice.push(proposed(64));
    assert_eq!(SweepState::from_events(&once), SweepState::from_events(&twice));
}

#[test]
fn events_of_an_unknown_trial_are_ignored() {
    let state = SweepState::from_events(&[started(0), trained(1), evaluated(1, 1.0), finished()]);
    assert_eq!(state, SweepState::default());
}

#[test]
fn the_best_evaluation_is_the_lowest_and_the_earliest_of_equals() {
    let events = [
        proposed(8),
        started(0),
        evaluated(2, 1.5),
        evaluated(4, 1.2),
        evaluated(6, 1.2),
        evaluated(8, 1.9),
    ];
    let state = SweepState::from_events(&events);
    assert_eq!(state.trials[&ID].best().map(|e| e.step), Some(4));
    assert_eq!(state.trials[&ID].last().map(|e| e.step), Some(8));
}

#[test]
fn a_sweep_that_is_launched_again_is_not_finished() {
    let launch = Event::SweepStarted {
        name: "x".to_owned(),
        fingerprint: "f".to_owned(),
        version: "0".to_owned(),
        objective: spec::Objective::default(),
    };
    let mut state = SweepState::from_events(&[launch.clone(), Event::SweepFinished]);
    assert!(state.finished);
    state.apply(&launch);
    assert!(!state.finished);
    assert_eq!((state.name.as_str(), state.fingerprint.as_str()), ("x", "f"));
}

#[test]
fn configurations_are_equal_by_key_exactly_when_they_are_equal() {
    assert_eq!(config(8).key(), config(8).key());
    assert_ne!(config(8).key(), config(16).key());
    let other = TrialConfig { weight_decay: -0.0, ..config(8) };
    assert_eq!(config(8).key(), other.key());
    let other = TrialConfig { target_modules: vec![TargetModule::QProj], ..config(8) };
    assert_ne!(config(8).key(), other.key());
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1..9_u32).prop_map(proposed),
        (0..6_u32).prop_map(started),
        (1..9_u32).prop_map(trained),
        (1..9_u32, 0.1..3.0_f64).prop_map(|(step, loss)| evaluated(step, loss)),
        Just(finished()),
    ]
}

proptest! {
    #[test]
    fn folding_in_two_parts_is_folding_at_once(
        events in proptest::collection::vec(any_event(), 0..40),
        cut in 0..40_usize,
    ) {
        let cut = cut.min(events.len());
        let mut state = SweepState::from_events(&events[..cut]);
        for event in &events[cut..] {
            state.apply(event);
        }
        prop_assert_eq!(state, SweepState::from_events(&events));
    }

    #[test]
    fn events_survive_the_journals_json(event in any_event()) {
        let json = serde_json::to_string(&event).expect("events are plain data");
        prop_assert_eq!(serde_json::from_str::<Event>(&json).expect("it is ours"), event);
    }
}

fn began_at(at: u64) -> Event {
    let start = spec::LogicalStart { at, per_step: 2, slots: 1 };
    Event::TrialProposed {
        trial: Trial { id: ID, config: config(8) },
        start: Some(start),
        is_added: false,
    }
}

/// A trial of 2 micro-batches a step that began at 100, was stopped after step 5 (at 110), and went
/// on at 150 to step 10 (at 160).
fn promoted_history() -> SweepState {
    let mut state = SweepState::from_events(&[began_at(100), started(0)]);
    for step in 1..=5 {
        state.apply(&trained(step));
    }
    state.apply(&evaluated(5, 2.0));
    state.apply(&Event::CheckpointKept { trial: ID, step: 5 });
    state.apply(&stopped());
    let reason = "ahead now".to_owned();
    state.apply(&Event::TrialPromoted { trial: ID, reason, at: Some(150) });
    state.apply(&started(5));
    for step in 6..=10 {
        state.apply(&trained(step));
    }
    state.apply(&evaluated(10, 1.5));
    state.apply(&finished());
    state
}

#[test]
fn an_earlier_view_of_a_sweep_knows_nothing_of_what_came_later() {
    let state = promoted_history();
    let at = |time| state.as_of(time, EndsSeen::Before).trials.get(&ID).cloned();
    assert_eq!(at(99), None, "it had not begun");
    let training = at(109).unwrap();
    assert_eq!((training.status, training.evaluations.len()), (TrialStatus::Running, 0));
    let evaluated = at(110).unwrap();
    assert_eq!((evaluated.status.clone(), evaluated.evaluations.len()), (TrialStatus::Running, 1));
    let paused = at(111).unwrap();
    assert!(paused.paused().is_some() && paused.promotions.is_empty(), "{paused:?}");
    let again = at(150).unwrap();
    assert_eq!((again.status, again.promotions.len()), (TrialStatus::Running, 1));
    let ended = at(161).unwrap();
    assert_eq!((ended.outcome(), ended.evaluations.len()), (Some(&Outcome::Completed), 2));
}

#[test]
fn a_proposal_sees_the_end_that_frees_its_slot() {
    let state = promoted_history();
    let has_ended = |time, seen| state.as_of(time, seen).trials[&ID].outcome().is_some();
    assert!(has_ended(160, EndsSeen::UpTo) && !has_ended(160, EndsSeen::Before));
    assert!(!has_ended(159, EndsSeen::UpTo));
}

#[test]
fn a_sweep_without_logical_times_is_seen_as_it_is() {
    let mut state = SweepState::from_events(&[proposed(8), started(0), evaluated(5, 2.0)]);
    state.apply(&finished());
    let view = state.as_of(0, EndsSeen::Before);
    assert_eq!(view.trials[&ID].outcome(), Some(&Outcome::Completed));
    assert_eq!(view.trials[&ID].evaluations, state.trials[&ID].evaluations);
}

#[test]
fn what_was_written_before_groups_and_probabilities_were_kept_still_opens() {
    let mut old = serde_json::to_value(evaluation(5, 1.5)).expect("JSON");
    assert!(old.get("group_nll").is_none(), "nothing is written for no groups");
    old["rise_stderr"] = serde_json::Value::Null;
    let read: Evaluation = serde_json::from_value(old).expect("an old evaluation");
    assert_eq!(read.group_nll, [0.0_f32; 0]);
    let mut settings = serde_json::to_value(spec::ReportSettings::default()).expect("JSON");
    settings.as_object_mut().expect("an object").remove("overfit_probability");
    let read: spec::ReportSettings = serde_json::from_value(settings).expect("old settings");
    assert_eq!(read, spec::ReportSettings::default());
}

#[test]
fn spans_begin_with_a_start_and_end_with_the_last_word_of_the_trial() {
    let start = |trial, device: &str| Event::TrialStarted {
        trial: TrialId(trial),
        device: device.to_owned(),
        from_step: 0,
        total_steps: 10,
        continues: None,
    };
    let launch = || Event::SweepStarted {
        name: "x".to_owned(),
        fingerprint: "f".to_owned(),
        version: "1".to_owned(),
        objective: spec::Objective::default(),
    };
    let saved = |trial| Event::Checkpointed { trial: TrialId(trial), step: 3 };
    let events = [
        (10, launch()),
        (20, start(1, "cpu")),
        (30, start(2, "cuda:0")),
        (50, saved(1)),
        // Here the process died: what follows is another launch.
        (900, launch()),
        (910, start(1, "cpu")),
        (950, saved(1)),
    ];
    let records: Vec<Record> = events
        .into_iter()
        .map(|(at_ms, event)| Record { v: SCHEMA_VERSION, at_ms, seq: None, attempt: None, event })
        .collect();
    let timeline = SweepState::from_records(&records).timeline;
    let spans = timeline.spans().into_iter().map(|span| (span.trial.0, span.from_ms, span.to_ms));
    assert_eq!(spans.collect::<Vec<_>>(), [(1, 20, 50), (2, 30, 30), (1, 910, 950)]);
    assert_eq!(timeline.bounds(TrialId(1)), Some((20, 950)));
    assert_eq!(timeline.bounds(TrialId(3)), None);
    assert_eq!(timeline.whole(), Some((20, 950)));
}
