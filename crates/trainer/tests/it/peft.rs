//! Adapters in PEFT's format: written, read back, and refused where they do not fit.

use crate::support;
use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{decoder, golden_dir};
use safetensors::SafeTensors;
use spec::{InitLoraWeights, LoraVariant, LrScheduler, TargetModule, TrialConfig};
use trainer::adapter::{AdapterLayout, LoraShape};
use trainer::backend::cpu::Cpu;
use trainer::model::DecoderConfig;
use trainer::peft;

fn config() -> TrialConfig {
    TrialConfig {
        rank: 3,
        lora_alpha: 10.0,
        lora_dropout: 0.1,
        use_rslora: true,
        target_modules: vec![TargetModule::QProj, TargetModule::DownProj],
        learning_rate: 1e-3,
        batch_size: 4,
        epochs: 1,
        lr_scheduler: LrScheduler::Linear,
        warmup_ratio: 0.0,
        weight_decay: 0.0,
        seed: 3,
        variant: LoraVariant::default(),
        quantization: None,
    }
}

fn model() -> DecoderConfig {
    DecoderConfig::read(&golden_dir("llama").join("model")).expect("the golden configuration")
}

fn save(dir: &Path) -> (AdapterLayout, Vec<f32>) {
    let layout = AdapterLayout::of_trial(&model(), &config());
    let values: Vec<f32> = (0..layout.len).map(|i| i as f32 * 0.01 - 3.0).collect();
    peft::save(dir, &layout, &values, &config(), Path::new("some/base")).expect("saved");
    (layout, values)
}

#[test]
fn an_adapter_written_and_read_back_is_the_same_to_the_bit() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (layout, values) = save(dir.path());
    let loaded = peft::load(dir.path(), &model()).expect("loaded");
    assert!((layout.sites[0].scale - 10.0 / 3.0_f64.sqrt()).abs() < 1e-12);
    assert_eq!((loaded.layout, loaded.values), (layout, values));
}

#[test]
fn the_configuration_says_what_peft_needs_to_know() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    save(dir.path());
    let text = std::fs::read_to_string(dir.path().join(peft::CONFIG_FILE)).expect("read");
    let json: serde_json::Value = serde_json::from_str(&text).expect("json");
    assert_eq!(json["peft_type"], "LORA");
    assert_eq!(json["task_type"], "CAUSAL_LM");
    assert_eq!(json["base_model_name_or_path"], "some/base");
    assert_eq!(json["r"], 3);
    assert_eq!(json["lora_alpha"], 10.0);
    assert_eq!(json["use_rslora"], true);
    assert_eq!(json["target_modules"], serde_json::json!(["q_proj", "down_proj"]));
}

#[test]
fn an_export_has_the_tensors_that_peft_itself_writes_for_every_architecture() {
    let plain = support::ARCHITECTURES.map(|architecture| (architecture, "adapter"));
    for (architecture, case) in plain.into_iter().chain([("qwen3", "dora")]) {
        let golden = golden_dir(architecture);
        let model = DecoderConfig::read(&golden.join("model")).expect("the configuration");
        let theirs = golden.join(case);
        let loaded = peft::load(&theirs, &model).expect("loaded");
        let trial = TrialConfig {
            rank: 4,
            target_modules: TargetModule::ALL.to_vec(),
            use_rslora: false,
            variant: LoraVariant { use_dora: case == "dora", ..LoraVariant::default() },
            quantization: None,
            ..config()
        };
        let dir = tempfile::tempdir().expect("a temporary folder");
        peft::save(dir.path(), &loaded.layout, &loaded.values, &trial, Path::new("base"))
            .expect("saved");
        let tensors = |dir: &Path| {
            let bytes = std::fs::read(dir.join(peft::WEIGHTS_FILE)).expect("read");
            let file = SafeTensors::deserialize(&bytes).expect("safetensors");
            let mut tensors: Vec<_> = file
                .iter()
                .map(|(name, v)| (name.to_owned(), v.shape().to_vec(), v.data().to_vec()))
                .collect();
            tensors.sort();
            tensors
        };
        assert!(tensors(dir.path()) == tensors(&theirs), "{architecture}");
        let modules = |dir: &Path| {
            let text = std::fs::read_to_string(dir.join(peft::CONFIG_FILE)).expect("read");
            let json: serde_json::Value = serde_json::from_str(&text).expect("json");
            let list = json["target_modules"].as_array().expect("a list");
            let mut names: Vec<_> =
                list.iter().map(|m| m.as_str().expect("a name").to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(modules(dir.path()), modules(&theirs), "{architecture}");
    }
}

#[test]
fn a_variant_that_would_change_the_output_is_refused_by_name() {
    for (key, value) in [
        ("bias", serde_json::json!("all")),
        ("rank_pattern", serde_json::json!({"k_proj": 8})),
        ("alpha_pattern", serde_json::json!({"layers.0": 8})),
        ("layers_to_transform", serde_json::json!([7])),
        ("modules_to_save", serde_json::json!(["lm_head"])),
    ] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        save(dir.path());
        let path = dir.path().join(peft::CONFIG_FILE);
        let text = std::fs::read_to_string(&path).expect("read");
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("json");
        json[key] = value;
        std::fs::write(&path, json.to_string()).expect("written");
        let message = peft::load(dir.path(), &model()).expect_err(key).to_string();
        assert!(message.contains(key), "`{message}` does not name {key}");
    }
}

#[test]
fn an_adapter_of_another_model_is_refused_with_the_shapes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    save(dir.path());
    let mut wider = model();
    wider.hidden_size *= 2;
    let message = peft::load(dir.path(), &wider).expect_err("another shape").to_string();
    assert!(message.contains("lora_A") && message.contains("[3, 32]"), "{message}");
}

#[test]
fn a_variant_is_written_and_read_back() {
    let variant = LoraVariant {
        layers_to_transform: Some(vec![1]),
        rank_pattern: BTreeMap::from([("q_proj".to_owned(), 5)]),
        alpha_pattern: BTreeMap::from([("layers.1.mlp.down_proj".to_owned(), 7.0)]),
        init_lora_weights: InitLoraWeights::Orthogonal,
        use_dora: true,
        ..LoraVariant::default()
    };
    let trial = TrialConfig { variant, rank: 4, ..config() };
    let layout = AdapterLayout::of_trial(&model(), &trial);
    assert!(layout.sites.iter().all(|site| site.layer == 1));
    let ranks: Vec<usize> = layout.sites.iter().map(|site| site.rank).collect();
    assert_eq!(ranks, [5, 4]);
    assert!((layout.sites[0].scale - 10.0 / 5.0_f64.sqrt()).abs() < 1e-12);
    assert!((layout.sites[1].scale - 3.5).abs() < 1e-12);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let values: Vec<f32> = (0..layout.len).map(|i| i as f32 * 0.01 - 3.0).collect();
    peft::save(dir.path(), &layout, &values, &trial, Path::new("base")).expect("saved");
    let loaded = peft::load(dir.path(), &model()).expect("loaded");
    assert_eq!((loaded.layout, loaded.values), (layout, values));
}

#[test]
fn an_adapter_that_the_model_cannot_carry_is_refused_by_its_setting() {
    let with = |change: &dyn Fn(&mut TrialConfig)| {
        let mut trial = config();
        change(&mut trial);
        LoraShape::of_trial(&trial).check(&model()).expect_err("not possible")
    };
    let unknown = with(&|t| t.variant.rank_pattern = BTreeMap::from([("k_proj".into(), 4)]));
    assert!(unknown.contains("rank_pattern") && unknown.contains("k_proj"), "{unknown}");
    let twice = with(&|t| {
        t.variant.alpha_pattern =
            BTreeMap::from([("q_proj".into(), 1.0), ("layers.0.self_attn.q_proj".into(), 2.0)]);
    });
    assert!(twice.contains("both name model.layers.0.self_attn.q_proj"), "{twice}");
    let block = with(&|t| t.variant.layers_to_transform = Some(vec![0, 9]));
    assert!(block.contains("no block 9") && block.contains("has 2"), "{block}");
    let odd = with(&|t| t.variant.init_lora_weights = InitLoraWeights::Orthogonal);
    assert!(odd.contains("even rank"), "{odd}");
    let fused = with(&|t| t.target_modules.push(TargetModule::QkvProj));
    assert!(fused.contains("qkv_proj"), "{fused}");
}

#[test]
fn orthogonal_factors_are_not_zero_but_their_product_is() {
    let layout = AdapterLayout::new(&model(), 8, 1.0, &[TargetModule::KProj]);
    let values = layout.initial_values(5, InitLoraWeights::Orthogonal);
    for (index, site) in layout.sites.iter().enumerate() {
        let (a, b) = (&values[layout.a_range(index)], &values[layout.b_range(index)]);
        let mean_square = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        // As PEFT: a sum of R/2 normal numbers times the entries of orthonormal rows, by ten.
        for factor in [a, b] {
            assert!((0.002..0.012).contains(&mean_square(factor)), "{}", mean_square(factor));
        }
        for row in b.chunks(site.rank) {
            for input in 0..site.inputs {
                let product: f32 =
                    (0..site.rank).map(|r| row[r] * a[r * site.inputs + input]).sum();
                assert!(product.abs() < 1e-6, "{product}");
            }
        }
    }
    assert_ne!(values, layout.initial_values(6, InitLoraWeights::Orthogonal));
}

#[test]
fn a_fresh_adapter_starts_at_the_base_model() {
    let decoder = decoder(Cpu::<f32>::new(), "llama");
    let layout = AdapterLayout::of_trial(&decoder.model.config, &config());
    let values = layout.initial_values(7, InitLoraWeights::Default);
    for index in 0..layout.sites.len() {
        let bound = 1.0 / (layout.sites[index].inputs as f32).sqrt();
        let a = &values[layout.a_range(index)];
        assert!(a.iter().all(|x| x.abs() <= bound) && a.iter().any(|x| *x != 0.0));
        assert!(values[layout.b_range(index)].iter().all(|x| *x == 0.0));
    }
    assert_eq!(values, layout.initial_values(7, InitLoraWeights::Default));
    assert_ne!(values, layout.initial_values(8, InitLoraWeights::Default));
}
