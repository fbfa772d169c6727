//! A merged model and the base with its adapter give the same losses, on every architecture.

use std::path::Path;

use crate::support::{ARCHITECTURES, Adapter, decoder, golden_dir};
use spec::BaseSettings;
use trainer::backend::cpu::Cpu;
use trainer::decoder::{ActiveAdapter, Decoder, Rows};
use trainer::model::Model;
use trainer::{comparison, gguf, merge, peft};

fn rows() -> Rows {
    let mut rows = Rows::default();
    for start in 0..3_u32 {
        let ids: Vec<u32> = (0..9).map(|i| (start * 11 + i * 5) % 37).collect();
        rows.push(&ids, &[true; 9], 1.0);
    }
    rows
}

fn merged_losses(architecture: &str, case: &str) -> (Vec<f32>, Vec<f32>) {
    let base = golden_dir(architecture).join("model");
    let adapter = golden_dir(architecture).join(case);
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::copy(base.join("config.json"), dir.path().join("config.json")).expect("copied");
    merge::write_merged(&base, &adapter, dir.path()).expect("merged");
    let backend = Cpu::<f32>::new();
    let model = Model::load(&backend, dir.path(), &BaseSettings::default())
        .expect("the merged model loads");
    let merged = Decoder { backend, model };
    let rows = rows();
    let whole = merged.losses(&rows, &[]).expect("losses");

    let decoder = decoder(Cpu::<f32>::new(), architecture);
    let adapter = Adapter::golden(&decoder, architecture, case);
    let active = ActiveAdapter {
        layout: &adapter.layout,
        params: &adapter.params,
        rows: 0..rows.len(),
        dropout: None,
    };
    let apart = decoder.losses(&rows, &[active]).expect("losses");
    let bare = decoder.losses(&rows, &[]).expect("losses");
    assert!(bare.iter().zip(&apart).any(|(a, b)| (a - b).abs() > 1e-3), "the adapter does nothing");
    (whole, apart)
}

#[test]
fn merged_weights_give_the_losses_of_base_and_adapter() {
    for architecture in ARCHITECTURES.into_iter().chain(["llama_variants"]) {
        for case in ["adapter", "adapter_rslora", "layers", "patterns", "dora"] {
            if !golden_dir(architecture).join(case).is_dir() {
                continue;
            }
            let (merged, apart) = merged_losses(architecture, case);
            for (merged, apart) in merged.iter().zip(&apart) {
                assert!((merged - apart).abs() < 2e-3 * apart.abs(), "{architecture} {case}");
            }
        }
    }
}

#[test]
fn an_adapter_of_another_model_is_not_merged() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = golden_dir("llama").join("model");
    let missing = Path::new("no/such/adapter");
    let error = merge::write_merged(&base, missing, dir.path()).expect_err("no adapter");
    assert!(error.to_string().contains("no/such/adapter"), "{error}");
}

#[test]
fn an_adapter_with_magnitudes_is_no_gguf_adapter_and_the_error_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let golden = golden_dir("llama_variants");
    let file = dir.path().join("adapter.gguf");
    let error = gguf::write_adapter(&golden.join("model"), &golden.join("dora"), "x", &file)
        .expect_err("no place for magnitudes");
    assert!(error.to_string().contains("--merge"), "{error}");
    assert!(!file.exists());
}

#[test]
fn every_architecture_has_its_name_in_llama_cpp() {
    for (architecture, name) in [
        ("llama", "llama"),
        ("mistral", "llama"),
        ("qwen3", "qwen3"),
        ("phi3", "phi3"),
        ("gemma3", "gemma3\x0c"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("adapter.gguf");
        let (base, adapter) = (golden_dir(architecture).join("model"), golden_dir(architecture));
        gguf::write_adapter(&base, &adapter.join("adapter"), "x", &file).expect("written");
        let bytes = std::fs::read(&file).expect("read");
        let key = b"general.architecture\x08\0\0\0";
        let at = bytes.windows(key.len()).position(|window| window == key).expect("the key");
        let value = &bytes[at + key.len() + 8..];
        assert!(value.starts_with(name.as_bytes()), "{architecture}");
    }
}

#[test]
fn a_merged_model_is_held_to_its_base_and_adapter_on_rows() {
    let golden = golden_dir("llama");
    let (base, adapter) = (golden.join("model"), golden.join("adapter"));
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::copy(base.join("config.json"), dir.path().join("config.json")).expect("copied");
    merge::write_merged(&base, &adapter, dir.path()).expect("merged");
    let example = |start: u32| data::Example {
        input_ids: (0..9).map(|i| (start * 11 + i * 5) % 37).collect(),
        loss_mask: (0..9).map(|i| i > 0).collect(),
    };
    let rows = data::Dataset { examples: (0..3).map(example).collect() };
    let compare = |merged: &Path| {
        let held = BaseSettings::default();
        let found = comparison::compare(&base, &held, &adapter, merged, &rows);
        found.expect("both models load").expect("rows to compare on")
    };
    let found = compare(dir.path());
    assert_eq!((found.rows, found.targets), (3, 24));
    assert!(found.max_difference < 1e-2, "{found:?}");
    // The bare base is not the merged model.
    let bare = compare(&base);
    assert!(bare.max_difference > 10.0 * found.max_difference.max(1e-5), "{bare:?}");
    assert_ne!(bare.merged_loss, bare.adapter_loss);
}

#[test]
fn an_adapter_file_that_is_cut_or_has_no_numbers_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let from = golden_dir("llama").join("adapter/adapter_model.safetensors");
    let bytes = std::fs::read(from).expect("the adapter");
    let check = |bytes: &[u8]| {
        std::fs::write(dir.path().join("adapter_model.safetensors"), bytes).expect("written");
        peft::check_weights(dir.path()).map_err(|error| error.to_string())
    };
    assert_eq!(check(&bytes), Ok(()));
    assert!(check(&bytes[..bytes.len() - 1]).is_err());
    assert!(check(b"").is_err());
    let mut without = bytes.clone();
    let at = without.len() - 4;
    without[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(check(&without).expect_err("NaN").contains("not a finite number"));
}
