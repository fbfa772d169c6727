//! The engine through its public interface: packing, resuming, divergence, evaluation.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use crate::support;
use std::collections::BTreeMap;
use std::path::Path;

use data::{Dataset, Example};
use proptest::prelude::*;
use spec::{
    BaseForm, BaseSettings, DeviceChoice, Evaluation, Event, ExecutorSettings, InitLoraWeights,
    LoraVariant, LrScheduler, Outcome, Quantization, TargetModule, TrainPoint, TrainSettings,
    Trial, TrialConfig, TrialId,
};
use trainer::TrainerError;
use trainer::backend::Backend;
use trainer::backend::cpu::Cpu;
use trainer::engine::{Admission, Engine, Packed, TrainingSets};
use trainer::plan::Packing;

const INT8: Option<BaseForm> = Some(BaseForm::Quantized(Quantization::Int8));

fn example(seed: u32, len: u32) -> Example {
    let input_ids = (0..len).map(|i| (seed * 7 + i * i * 3 + i) % 61).collect();
    let loss_mask = (0..len).map(|i| i > len / 3).collect();
    Example { input_ids, loss_mask }
}

pub fn sets() -> TrainingSets {
    let of = |from: u32, n: u32| Dataset {
        examples: (from..from + n).map(|i| example(i, 4 + (i * 5) % 9)).collect(),
    };
    TrainingSets {
        train: of(0, 11),
        validation: of(100, 5),
        retention: Some(of(200, 3)),
        test: Some(of(300, 4)),
    }
}

pub fn engine(slots: u32, train: &TrainSettings) -> Engine {
    let recompute = train.gradient_checkpointing == Some(true);
    let packing = Packing { slots: slots as usize, recompute, ..Packing::default() };
    load(&support::golden_dir("llama").join("model"), sets(), train, packing)
        .expect("the engine loads")
}

fn load(
    model: &Path,
    data: TrainingSets,
    train: &TrainSettings,
    packing: Packing,
) -> Result<Engine, TrainerError> {
    let executor = ExecutorSettings { device: DeviceChoice::Cpu, ..ExecutorSettings::default() };
    Engine::load(model, &BaseSettings::default(), data, train, &executor, packing)
}

pub fn trial(id: u32) -> Trial {
    Trial {
        id: TrialId(id),
        config: TrialConfig {
            rank: 3,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            use_rslora: false,
            target_modules: TargetModule::ALL.to_vec(),
            learning_rate: 1e-2,
            batch_size: 4,
            epochs: 2,
            lr_scheduler: LrScheduler::Linear,
            warmup_ratio: 0.1,
            weight_decay: 0.01,
            seed: 1,
            variant: LoraVariant::default(),
            quantization: None,
        },
    }
}

/// What a trial went through.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub points: Vec<TrainPoint>,
    pub evaluations: Vec<Evaluation>,
    pub outcome: Option<Outcome>,
}

pub fn record(histories: &mut BTreeMap<TrialId, History>, events: Vec<Event>) {
    for event in events {
        match event {
            Event::Trained { trial, point } => {
                histories.entry(trial).or_default().points.push(point);
            }
            Event::Evaluated { trial, evaluation } => {
                histories.entry(trial).or_default().evaluations.push(evaluation);
            }
            Event::TrialFinished { trial, outcome } => {
                histories.entry(trial).or_default().outcome = Some(outcome);
            }
            other => panic!("the engine does not emit {other:?}"),
        }
    }
}

/// Trains all trials, admitting as many at a time as there are slots, refilling at once.
fn run(slots: u32, trials: &[Trial], train: &TrainSettings) -> BTreeMap<TrialId, History> {
    let mut engine = engine(slots, train);
    let mut waiting = trials.iter();
    let mut running = Vec::new();
    let mut histories = BTreeMap::new();
    loop {
        while running.len() < engine.capacity()
            && let Some(trial) = waiting.next()
        {
            engine.admit(trial, None).expect("admitted");
            running.push(trial.id);
        }
        if running.is_empty() {
            return histories;
        }
        record(&mut histories, engine.step().expect("a step"));
        running.retain(|id| {
            let ended = histories.get(id).is_some_and(|h| h.outcome.is_some());
            if ended {
                engine.release(*id);
            }
            !ended
        });
    }
}

pub fn assert_same(a: &History, b: &History, tolerance: f64, what: &str) {
    let close = |x: f64, y: f64| (x - y).abs() <= tolerance * y.abs().max(1e-3);
    assert_eq!(a.points.len(), b.points.len(), "{what}: steps");
    for (x, y) in a.points.iter().zip(&b.points) {
        assert_eq!((x.step, x.tokens, x.learning_rate), (y.step, y.tokens, y.learning_rate));
        assert!(close(x.loss, y.loss), "{what}: step {}: {} and {}", x.step, x.loss, y.loss);
    }
    assert_eq!(a.evaluations.len(), b.evaluations.len(), "{what}: evaluations");
    for (x, y) in a.evaluations.iter().zip(&b.evaluations) {
        assert!(close(x.eval_loss, y.eval_loss), "{what}: {} and {}", x.eval_loss, y.eval_loss);
        let train_losses = x.train_loss.zip(y.train_loss);
        assert!(train_losses.is_some_and(|(x, y)| close(x, y)), "{what}: train loss");
    }
    assert_eq!(a.outcome, b.outcome, "{what}");
}

fn any_config() -> impl Strategy<Value = TrialConfig> {
    let modules = proptest::sample::subsequence(TargetModule::ALL.to_vec(), 1..=7);
    let scheduler = prop_oneof![
        Just(LrScheduler::Constant),
        Just(LrScheduler::Cosine),
        Just(LrScheduler::WarmupStableDecay)
    ];
    let dropout = prop_oneof![Just(0.0), Just(0.25)];
    (
        1u32..6,
        1.0..20.0f64,
        dropout,
        any::<bool>(),
        modules,
        // Products of other sizes round differently in the last bit. Near 1e-2 training itself is
        // chaotic and 20 steps make more than 1e-5 of that bit.
        1e-4..5e-3f64,
        1u32..7,
        1u32..4,
        scheduler,
        0u64..100,
    )
        .prop_map(
            |(
                rank,
                lora_alpha,
                lora_dropout,
                use_rslora,
                target_modules,
                learning_rate,
                batch_size,
                epochs,
                lr_scheduler,
                seed,
            )| {
                let variant = any_variant(seed, rank);
                TrialConfig {
                    rank,
                    lora_alpha,
                    lora_dropout: if variant.use_dora { 0.0 } else { lora_dropout },
                    use_rslora,
                    target_modules,
                    // B's rate, a multiple of A's, stays in the range too: above it a rounding in
                    // other company grows beyond any tolerance within these steps.
                    learning_rate: learning_rate / variant.loraplus_lr_ratio,
                    batch_size,
                    epochs,
                    lr_scheduler,
                    seed,
                    warmup_ratio: 0.1,
                    weight_decay: 0.01,
                    variant,
                    quantization: [None, Some(BaseForm::AsStored), INT8][seed as usize % 3],
                }
            },
        )
}

/// Some trials are plain LoRA, others one variant or several.
fn any_variant(seed: u64, rank: u32) -> LoraVariant {
    let mut variant = LoraVariant::default();
    if seed % 2 == 1 {
        variant.loraplus_lr_ratio = 4.0;
    }
    if seed % 3 == 1 {
        variant.layers_to_transform = Some(vec![1]);
    }
    variant.use_dora = seed % 5 == 2;
    if seed % 4 == 3 && rank.is_multiple_of(2) {
        variant.init_lora_weights = InitLoraWeights::Orthogonal;
    }
    variant
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_trial_packed_in_any_company_has_the_losses_it_has_alone(
        configs in proptest::collection::vec(any_config(), 2..5),
        slots in 2u32..5,
    ) {
        let trials: Vec<Trial> = configs
            .into_iter()
            .enumerate()
            .map(|(i, config)| Trial { id: TrialId(i as u32 + 1), config })
            .collect();
        let train = TrainSettings::default();
        let packed = run(slots, &trials, &train);
        for trial in &trials {
            let alone = run(1, std::slice::from_ref(trial), &train);
            assert_same(&packed[&trial.id], &alone[&trial.id], 1e-5, "packed and alone");
        }
    }
}

#[test]
fn micro_batches_and_recomputation_do_not_change_a_trial() {
    let mut config = trial(1);
    config.config.lora_dropout = 0.2;
    let plain = run(1, &[config.clone()], &TrainSettings::default());
    for settings in [
        TrainSettings { micro_batch_size: Some(1), ..TrainSettings::default() },
        TrainSettings { micro_batch_size: Some(3), ..TrainSettings::default() },
        TrainSettings { gradient_checkpointing: Some(true), ..TrainSettings::default() },
    ] {
        let other = run(1, &[config.clone()], &settings);
        assert_same(&other[&TrialId(1)], &plain[&TrialId(1)], 1e-5, "micro-batches");
    }
}

#[test]
fn the_same_seed_gives_the_same_losses_and_another_seed_gives_others() {
    let train = TrainSettings::default();
    let first = run(1, &[trial(1)], &train);
    let again = run(1, &[trial(1)], &train);
    assert_same(&first[&TrialId(1)], &again[&TrialId(1)], 0.0, "the same seed");
    let mut other = trial(1);
    other.config.seed = 2;
    let other = run(1, &[other], &train);
    assert_ne!(first[&TrialId(1)].points[0].loss, other[&TrialId(1)].points[0].loss);
}

#[test]
fn a_trial_resumed_from_any_checkpoint_ends_as_if_never_interrupted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = trial(1);
    config.config.lora_dropout = 0.2;
    let settings = TrainSettings { micro_batch_size: Some(2), ..TrainSettings::default() };
    let whole = &run(1, &[config.clone()], &settings)[&TrialId(1)];
    for engine_steps in [1, 3, 5, 8] {
        let path = dir.path().join("checkpoint.safetensors");
        let mut histories = BTreeMap::new();
        let mut first = engine(1, &settings);
        first.admit(&config, None).expect("admitted");
        for _ in 0..engine_steps {
            record(&mut histories, first.step().expect("a step"));
        }
        let saved = first.save_checkpoint(TrialId(1), &path).expect("saved");
        drop(first);
        let mut second = engine(1, &settings);
        let admission = second.admit(&config, Some(&path)).expect("resumed");
        assert_eq!(admission, Admission::Admitted { from_step: saved, total_steps: 6 });
        while histories.get(&TrialId(1)).is_none_or(|h| h.outcome.is_none()) {
            record(&mut histories, second.step().expect("a step"));
        }
        assert_same(&histories[&TrialId(1)], whole, 0.0, "resumed");
        assert_eq!(best_adapter(&second), best_adapter_of(&config, &settings));
    }
}

fn best_adapter(engine: &Engine) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(engine.save_best(TrialId(1), dir.path()).expect("saved"));
    std::fs::read(dir.path().join("adapter_model.safetensors")).expect("the adapter")
}

fn best_adapter_of(trial: &Trial, settings: &TrainSettings) -> Vec<u8> {
    let mut engine = engine(1, settings);
    engine.admit(trial, None).expect("admitted");
    while !engine.step().expect("a step").iter().any(|e| matches!(e, Event::TrialFinished { .. })) {
    }
    best_adapter(&engine)
}

#[test]
fn a_damaged_checkpoint_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("checkpoint.safetensors");
    let mut first = engine(1, &TrainSettings::default());
    first.admit(&trial(1), None).expect("admitted");
    first.save_checkpoint(TrialId(1), &path).expect("saved");
    let whole = std::fs::read(&path).expect("the file");
    for damaged in
        [&whole[..0], &whole[..5], &whole[..whole.len() - 9], &b"not a checkpoint at all"[..]]
    {
        std::fs::write(&path, damaged).expect("written");
        let error = engine(1, &TrainSettings::default()).admit(&trial(1), Some(&path));
        let message = error.expect_err("a damaged file").to_string();
        assert!(message.contains("checkpoint.safetensors"), "{message}");
    }
}

#[test]
fn a_checkpoint_of_another_trial_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("checkpoint.safetensors");
    let mut first = engine(1, &TrainSettings::default());
    first.admit(&trial(1), None).expect("admitted");
    first.save_checkpoint(TrialId(1), &path).expect("saved");
    let mut other = trial(1);
    other.config.learning_rate = 2e-2;
    let message = engine(1, &TrainSettings::default())
        .admit(&other, Some(&path))
        .expect_err("another trial")
        .to_string();
    assert!(message.contains("another trial"), "{message}");
}

#[test]
fn a_diverging_trial_ends_with_its_reason_and_leaves_its_neighbours_alone() {
    let (good, mut bad) = (trial(1), trial(2));
    bad.config.learning_rate = 1e6;
    bad.config.epochs = 8;
    let train = TrainSettings { divergence_factor: 1.2, ..TrainSettings::default() };
    let together = run(2, &[good.clone(), bad], &train);
    assert!(
        matches!(&together[&TrialId(2)].outcome, Some(Outcome::Diverged { reason, .. }) if !reason.is_empty()),
        "{:?}",
        together[&TrialId(2)].outcome
    );
    let alone = run(1, &[good], &train);
    assert_same(&together[&TrialId(1)], &alone[&TrialId(1)], 1e-5, "beside a diverging trial");
}

#[test]
fn the_base_is_evaluated_without_any_adapter() {
    let mut engine = engine(2, &TrainSettings::default());
    let before = engine.evaluate_base(None).expect("evaluated");
    engine.admit(&trial(1), None).expect("admitted");
    for _ in 0..3 {
        engine.step().expect("a step");
    }
    assert_eq!(engine.evaluate_base(None).expect("evaluated"), before);
    assert!(before.retention_loss.is_some() && before.rise_stderr.is_none());
    // The losses of groups have the mean that the evaluation has, to the digits that are kept.
    let groups = before.group_nll.iter().map(|nll| f64::from(*nll)).sum::<f64>();
    let targets = engine.base_example_losses(None).expect("examples").targets.iter().sum::<u32>();
    assert!((groups / f64::from(targets) / before.eval_loss - 1.0).abs() < 1e-3);
}

#[test]
fn every_epoch_and_every_n_steps_are_evaluated_once() {
    let mut settings = TrainSettings::default();
    settings.eval.eval_steps = Some(2);
    let history = &run(1, &[trial(1)], &settings)[&TrialId(1)];
    let steps: Vec<u32> = history.evaluations.iter().map(|e| e.step).collect();
    // 11 examples in batches of 4: 3 steps an epoch, 6 in all.
    assert_eq!(steps, [2, 3, 4, 6]);
    let epochs: Vec<f64> = history.evaluations.iter().map(|e| e.epoch).collect();
    assert!((epochs[1] - 1.0).abs() < 1e-12 && (epochs[3] - 2.0).abs() < 1e-12);
}

#[test]
fn a_token_outside_the_vocabulary_is_refused_before_training() {
    let mut data = sets();
    data.validation.examples[0].input_ids[0] = 61;
    let model = support::golden_dir("llama").join("model");
    let error = load(&model, data, &TrainSettings::default(), Packing::default());
    let message = error.expect_err("a foreign token").to_string();
    assert!(message.contains("61") && message.contains("tokenizer.json"), "{message}");
}

#[test]
fn broken_model_folders_are_told_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let golden = support::golden_dir("llama").join("model");
    let load = |dir: &Path| {
        let error = load(dir, sets(), &TrainSettings::default(), Packing::default());
        error.expect_err("a broken model").to_string()
    };
    assert!(load(dir.path()).contains("config.json"));
    std::fs::copy(golden.join("config.json"), dir.path().join("config.json")).expect("copied");
    assert!(load(dir.path()).contains("model.safetensors"));
    std::fs::write(dir.path().join("pytorch_model.bin"), b"x").expect("written");
    assert!(load(dir.path()).contains("pytorch_model.bin"));
    let weights = std::fs::read(golden.join("model.safetensors")).expect("read");
    std::fs::write(dir.path().join("model.safetensors"), &weights[..weights.len() / 2])
        .expect("written");
    assert!(load(dir.path()).contains("safetensors"));
    let outside = r#"{"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}"#;
    std::fs::remove_file(dir.path().join("model.safetensors")).expect("removed");
    std::fs::write(dir.path().join("model.safetensors.index.json"), outside).expect("written");
    assert!(load(dir.path()).contains("outside"));
}

#[test]
fn losses_of_single_examples_add_up_to_the_validation_loss() {
    let mut engine = engine(1, &TrainSettings::default());
    let base = engine.evaluate_base(None).expect("base");
    engine.admit(&trial(1), None).expect("admitted");
    assert_eq!(engine.example_losses(TrialId(1)), None, "nothing was evaluated yet");
    let mut histories = BTreeMap::new();
    while histories.get(&TrialId(1)).is_none_or(|h: &History| h.outcome.is_none()) {
        record(&mut histories, engine.step().expect("a step"));
    }
    let evaluations = histories[&TrialId(1)].evaluations.iter();
    let best = evaluations.map(|e| e.eval_loss).fold(f64::INFINITY, f64::min);
    let of_base = engine.base_example_losses(None);
    for (examples, mean) in [(of_base, base.eval_loss), (engine.example_losses(TrialId(1)), best)] {
        let examples = examples.expect("losses");
        assert_eq!(examples.targets.len(), 5);
        let nll: f64 = examples.nll.iter().map(|x| f64::from(*x)).sum();
        let targets: u32 = examples.targets.iter().sum();
        assert!((nll / f64::from(targets) / mean - 1.0).abs() < 1e-6);
    }
}

/// A trial that continues one of the same trajectory.
fn constant(id: u32, lr_scheduler: LrScheduler, epochs: u32) -> Trial {
    let config = trial(id).config;
    Trial {
        id: TrialId(id),
        config: TrialConfig {
            lr_scheduler,
            epochs,
            warmup_ratio: 0.0,
            lora_dropout: 0.2,
            ..config
        },
    }
}

#[test]
fn a_longer_trial_that_goes_on_from_a_shorter_ones_shared_steps_has_the_losses_it_has_alone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("fork.safetensors");
    let settings =
        TrainSettings { warmup_steps: Some(2), decay_ratio: 0.3, ..TrainSettings::default() };
    for scheduler in [LrScheduler::Constant, LrScheduler::WarmupStableDecay] {
        let (short, long) = (constant(1, scheduler, 2), constant(2, scheduler, 4));
        let mut first = engine(1, &settings);
        first.admit(&short, None).expect("admitted");
        let shared = first.steps(&short.config).shared.expect("shares its steps");
        let mut histories = BTreeMap::new();
        while histories.get(&TrialId(1)).is_none_or(|h: &History| h.points.len() < shared as usize)
        {
            record(&mut histories, first.step().expect("a step"));
        }
        first.save_checkpoint(TrialId(1), &path).expect("saved");
        let mut second = engine(1, &settings);
        second.admit(&long, Some(&path)).expect("continues");
        while histories.get(&TrialId(2)).is_none_or(|h| h.outcome.is_none()) {
            record(&mut histories, second.step().expect("a step"));
        }
        let alone = &run(1, &[long], &settings)[&TrialId(2)];
        let taken = shared as usize;
        let went_on = History {
            points: [&histories[&TrialId(1)].points[..taken], &histories[&TrialId(2)].points]
                .concat(),
            evaluations: alone
                .evaluations
                .iter()
                .filter(|e| e.step <= shared)
                .chain(&histories[&TrialId(2)].evaluations)
                .cloned()
                .collect(),
            outcome: histories[&TrialId(2)].outcome.clone(),
        };
        assert_same(&went_on, alone, 0.0, "continued");
    }
}

#[test]
fn a_fork_beyond_the_steps_that_two_trials_share_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("fork.safetensors");
    let settings = TrainSettings { decay_ratio: 0.5, ..TrainSettings::default() };
    let scheduler = LrScheduler::WarmupStableDecay;
    let mut first = engine(1, &settings);
    first.admit(&constant(1, scheduler, 2), None).expect("admitted");
    for _ in 0..5 {
        first.step().expect("a step");
    }
    assert_eq!(first.save_checkpoint(TrialId(1), &path).expect("saved"), 5);
    let error = engine(1, &settings).admit(&constant(2, scheduler, 9), Some(&path));
    assert!(error.expect_err("in its decay").to_string().contains("another trial"));
}

/// An engine whose matrices may take so many bytes.
fn limited(bytes: usize, slots: usize) -> Packed<Cpu<f32>> {
    let model = support::golden_dir("llama").join("model");
    let packing = Packing { slots, ..Packing::default() };
    Packed::load(
        Cpu::with_limit(bytes),
        &model,
        &BaseSettings::default(),
        sets(),
        &TrainSettings::default(),
        packing,
    )
    .expect("the engine loads")
}

/// Trains all trials at once and counts the times memory ran out.
pub fn run_limited<B: Backend>(
    engine: &mut Packed<B>,
    trials: &[Trial],
) -> (BTreeMap<TrialId, History>, u32) {
    for trial in trials {
        engine.admit(trial, None).expect("admitted");
    }
    let (mut histories, mut out_of_memory) = (BTreeMap::new(), 0);
    while histories.values().filter(|h: &&History| h.outcome.is_some()).count() < trials.len() {
        let (shortages, rest): (Vec<_>, Vec<_>) = engine
            .step()
            .expect("a step")
            .into_iter()
            .partition(|e| matches!(e, Event::OutOfMemory { .. }));
        out_of_memory += shortages.len() as u32;
        record(&mut histories, rest);
    }
    (histories, out_of_memory)
}

#[test]
fn a_step_that_does_not_fit_is_taken_in_smaller_ones_and_changes_no_trial() {
    let trials = [trial(1), trial(2), trial(3)];
    let mut free = limited(usize::MAX, 3);
    let (expected, none) = run_limited(&mut free, &trials);
    assert_eq!(none, 0);
    let peak = free.backend().peak_bytes();
    let mut least = peak;
    for percent in [80, 60, 50] {
        let mut tight = limited(peak * percent / 100, 3);
        let (histories, shortages) = run_limited(&mut tight, &trials);
        for trial in &trials {
            assert_same(&histories[&trial.id], &expected[&trial.id], 1e-5, "with less memory");
        }
        assert!(tight.backend().peak_bytes() <= peak * percent / 100);
        // What was learnt holds: a smaller step is not tried larger again.
        assert!(shortages < 12, "{shortages} shortages at {percent} %");
        least = least.min(tight.packing().tokens_per_step);
    }
    assert!(least < Packing::default().tokens_per_step, "memory never ran out");
}

#[test]
fn a_trial_for_which_there_is_no_room_waits_and_the_others_keep_theirs() {
    let mut alone = limited(usize::MAX, 1);
    alone.admit(&trial(1), None).expect("admitted");
    let mut engine = limited(2 * alone.backend().peak_bytes(), 1000);
    let refused = (1..1000)
        .find(|id| engine.admit(&trial(*id), None).expect("not an error") == Admission::NoRoom)
        .expect("memory is not endless");
    assert!(refused > 1);
    assert_eq!(engine.capacity() as u32, refused - 1);
    engine.release(TrialId(1));
    let again = engine.admit(&trial(refused), None).expect("a place is free");
    assert_eq!(again, Admission::Admitted { from_step: 0, total_steps: 6 });
}

#[test]
fn long_sequences_of_many_trials_take_turns() {
    let model = support::golden_dir("llama").join("model");
    let packing = Packing { slots: 3, tokens_per_step: 16, ..Packing::default() };
    let settings = TrainSettings::default();
    let trials = [trial(1), trial(2), trial(3)];
    let mut engine = Packed::load(
        Cpu::<f32>::new(),
        &model,
        &BaseSettings::default(),
        sets(),
        &settings,
        packing,
    )
    .expect("the engine loads");
    let (histories, _) = run_limited(&mut engine, &trials);
    let together = run(3, &trials, &settings);
    for trial in &trials {
        assert_same(&histories[&trial.id], &together[&trial.id], 1e-5, "in turns");
    }
}

#[test]
fn a_saved_adapter_gives_held_out_rows_the_loss_that_its_slot_gave_them() {
    let model = support::golden_dir("llama").join("model");
    let data = TrainingSets { test: Some(sets().validation), ..sets() };
    let settings = TrainSettings::default();
    let mut engine = load(&model, data, &settings, Packing::default()).expect("the engine loads");
    let base = engine.evaluate_base(None).expect("base");
    engine.admit(&trial(1), None).expect("admitted");
    let mut histories = BTreeMap::new();
    while histories.get(&TrialId(1)).is_none_or(|h: &History| h.outcome.is_none()) {
        record(&mut histories, engine.step().expect("a step"));
    }
    let dir = tempfile::tempdir().expect("a folder");
    assert!(engine.save_best(TrialId(1), dir.path()).expect("saved"));
    let evaluations = histories[&TrialId(1)].evaluations.iter();
    let best = evaluations.min_by(|a, b| a.eval_loss.total_cmp(&b.eval_loss)).expect("evaluated");
    for (adapter, expected) in [(None, &base), (Some(dir.path()), best)] {
        let test =
            engine.evaluate_test(adapter, None).expect("evaluated").expect("there are test rows");
        assert_eq!(test.examples, 5);
        assert!((test.loss / expected.eval_loss - 1.0).abs() < 1e-6);
        assert!((test.loss_stderr / expected.eval_loss_stderr - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_sweep_without_held_out_rows_tests_nothing() {
    let data = TrainingSets { test: None, ..sets() };
    let model = support::golden_dir("llama").join("model");
    let settings = TrainSettings::default();
    let engine = load(&model, data, &settings, Packing::default());
    assert_eq!(engine.expect("the engine loads").evaluate_test(None, None).expect("fine"), None);
}
