//! Adapters in PEFT's format: written, read back, and refused where they do not fit.

mod support;

use std::path::Path;

use safetensors::SafeTensors;
use spec::{LrScheduler, TargetModule, TrialConfig};
use support::{decoder, golden_dir};
use trainer::adapter::AdapterLayout;
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
    for architecture in support::ARCHITECTURES {
        let golden = golden_dir(architecture);
        let model = DecoderConfig::read(&golden.join("model")).expect("the configuration");
        let theirs = golden.join("adapter");
        let loaded = peft::load(&theirs, &model).expect("loaded");
        let trial = TrialConfig {
            rank: 4,
            target_modules: TargetModule::ALL.to_vec(),
            use_rslora: false,
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
        ("use_dora", serde_json::json!(true)),
        ("bias", serde_json::json!("all")),
        ("rank_pattern", serde_json::json!({"q_proj": 8})),
        ("layers_to_transform", serde_json::json!([0])),
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
fn a_fresh_adapter_starts_at_the_base_model() {
    let decoder = decoder(Cpu::<f32>::new(), "llama");
    let layout = AdapterLayout::of_trial(&decoder.model.config, &config());
    let values = layout.initial_values(7);
    for index in 0..layout.sites.len() {
        let bound = 1.0 / (layout.sites[index].inputs as f32).sqrt();
        let a = &values[layout.a_range(index)];
        assert!(a.iter().all(|x| x.abs() <= bound) && a.iter().any(|x| *x != 0.0));
        assert!(values[layout.b_range(index)].iter().all(|x| *x == 0.0));
    }
    assert_eq!(values, layout.initial_values(7));
    assert_ne!(values, layout.initial_values(8));
}
