//! Trials on several forms of one base: each has the losses that it has where its form is the only
//! one, and nothing crosses from form to form.

use crate::support;
use std::collections::BTreeMap;

use data::{Dataset, Example};
use spec::{
    BaseForm, BaseSettings, Evaluation, Event, ExecutorSettings, LoraVariant, LrScheduler,
    Quantization, TargetModule, TrainSettings, Trainer, Trial, TrialConfig, TrialId,
};
use trainer::engine::{self, TrainingSets};
use trainer::plan::Packing;

const STORED: Option<BaseForm> = Some(BaseForm::AsStored);
const INT8: Option<BaseForm> = Some(BaseForm::Quantized(Quantization::Int8));

fn sets() -> TrainingSets {
    let example = |seed: u32| {
        let len = 4 + seed * 5 % 9;
        let input_ids = (0..len).map(|i| (seed * 7 + i * i * 3 + i) % 61).collect();
        Example { input_ids, loss_mask: (0..len).map(|i| i > len / 3).collect() }
    };
    let of = |from: u32, n: u32| Dataset { examples: (from..from + n).map(example).collect() };
    TrainingSets {
        train: of(0, 11),
        validation: of(100, 5),
        retention: None,
        test: Some(of(300, 4)),
    }
}

fn engine(base: &BaseSettings, packing: Packing) -> Box<dyn Trainer> {
    let model = support::golden_dir("llama").join("model");
    let (train, executor) = (TrainSettings::default(), ExecutorSettings::default());
    let loaded = engine::load(&model, base, sets(), &train, &executor, packing, None);
    loaded.expect("the engine loads").trainer
}

fn trial(id: u32, epochs: u32, quantization: Option<BaseForm>) -> Trial {
    let config = TrialConfig {
        rank: 3,
        lora_alpha: 8.0,
        lora_dropout: 0.0,
        use_rslora: false,
        target_modules: TargetModule::ALL.to_vec(),
        learning_rate: 5e-3,
        batch_size: 4,
        epochs,
        lr_scheduler: LrScheduler::Constant,
        warmup_ratio: 0.0,
        weight_decay: 0.01,
        seed: 1,
        variant: LoraVariant::default(),
        quantization,
    };
    Trial { id: TrialId(id), config }
}

/// The evaluations of trials that are all trained at once.
fn train(engine: &mut dyn Trainer, trials: &[Trial]) -> BTreeMap<TrialId, Vec<Evaluation>> {
    for trial in trials {
        engine.admit(trial, None).expect("admitted");
    }
    let mut found: BTreeMap<TrialId, Vec<Evaluation>> = BTreeMap::new();
    let mut running = trials.len();
    while running > 0 {
        for event in engine.step().expect("a step") {
            match event {
                Event::Evaluated { trial, evaluation } => {
                    found.entry(trial).or_default().push(evaluation);
                }
                Event::TrialFinished { .. } => running -= 1,
                _ => {}
            }
        }
    }
    found
}

fn losses(evaluations: &[Evaluation]) -> Vec<f64> {
    evaluations.iter().map(|e| e.eval_loss).collect()
}

#[test]
fn a_trial_has_the_losses_that_it_has_in_a_sweep_whose_only_form_is_its_own() {
    let forms = [STORED, INT8];
    let trials: Vec<Trial> = (0..6).map(|i| trial(i + 1, 2, forms[i as usize % 2])).collect();
    let mut seen = Vec::new();
    // Steps that all trials of a form share, and steps of one trial.
    for tokens_per_step in [1024, 8] {
        let packing = Packing { slots: 6, tokens_per_step, ..Packing::default() };
        let mixed = train(&mut *engine(&BaseSettings::default(), packing), &trials);
        for (trial, form) in trials.iter().zip(forms.iter().cycle()) {
            let base = BaseSettings::default().in_form(*form);
            let alone = Trial {
                config: TrialConfig { quantization: None, ..trial.config.clone() },
                ..trial.clone()
            };
            let alone = train(&mut *engine(&base, Packing::default()), &[alone]);
            let (ours, theirs) = (losses(&mixed[&trial.id]), losses(&alone[&trial.id]));
            assert_eq!(ours.len(), theirs.len());
            for (a, b) in ours.iter().zip(&theirs) {
                assert!((a - b).abs() < 1e-5 * b, "{form:?}: {a} and {b}");
            }
            seen.push(ours[1]);
        }
    }
    assert!(seen[0] != seen[1], "the forms differ: {seen:?}");
}

#[test]
fn each_form_of_the_untouched_base_has_losses_of_its_own() {
    let mut engine = engine(&BaseSettings::default(), Packing::default());
    let loss =
        |engine: &mut dyn Trainer, form| engine.evaluate_base(form).expect("a loss").eval_loss;
    let (stored, int8) = (loss(&mut *engine, STORED), loss(&mut *engine, INT8));
    assert_eq!(loss(&mut *engine, None), stored);
    assert!(stored != int8 && (stored - int8).abs() < 0.05, "{stored} and {int8}");
    let first = |form| engine.base_example_losses(form).map(|examples| examples.nll);
    assert!(first(STORED).is_some() && first(STORED) != first(INT8));
    assert_eq!(first(Some(BaseForm::Quantized(Quantization::Nf4))), None);
    let mut test = |form| engine.evaluate_test(None, form).expect("fine").expect("test rows").loss;
    assert_ne!(test(STORED), test(INT8));
}

#[test]
fn a_trial_goes_on_from_a_sibling_of_its_own_form_alone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("checkpoint.safetensors");
    let mut first = engine(&BaseSettings::default(), Packing::default());
    train(&mut *first, &[trial(1, 1, INT8)]);
    first.save_checkpoint(TrialId(1), &path).expect("saved");
    let mut second = engine(&BaseSettings::default(), Packing::default());
    second.admit(&trial(2, 2, INT8), Some(&path)).expect("it takes the same steps");
    let refused = second.admit(&trial(3, 2, STORED), Some(&path)).expect_err("another base's");
    assert!(refused.to_string().contains("belongs to another trial"), "{refused}");
}
