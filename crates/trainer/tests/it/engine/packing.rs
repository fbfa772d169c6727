//! A trial has the same losses in any company and however its batch is cut.

use proptest::prelude::*;
use spec::{
    BaseForm, InitLoraWeights, LoraVariant, LrScheduler, Outcome, TargetModule, TrainSettings,
    Trial, TrialConfig, TrialId,
};

use super::{INT8, assert_same, run, trial};

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
