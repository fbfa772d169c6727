//! Weight files that do not match their `config.json` word for word: what transformers loads has
//! transformers' loss, and everything else is refused by its headers, all mistakes at once.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{ARCHITECTURES, golden_dir};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use serde_json::{Value, json};
use spec::{BaseSettings, Quantization};
use tempfile::TempDir;
use trainer::backend::candle::CandleBackend;
use trainer::backend::cpu::Cpu;
use trainer::decoder::{Decoder, Rows};
use trainer::format::Format;
use trainer::merge;
use trainer::model::{BaseStorage, Model, Source};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";

/// The tensors of a file.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;
type Change = fn(Tensors) -> Tensors;

fn tensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).expect("it is there");
    let file = SafeTensors::deserialize(&bytes).expect("a whole file");
    let tensors = file.iter().map(|(name, view)| {
        (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    });
    tensors.collect()
}

fn write(dir: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("whole values"))
    });
    let path = dir.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).expect("written");
}

/// A golden model with other tensors.
fn model(architecture: &str, change: impl FnOnce(Tensors) -> Tensors) -> TempDir {
    let from = golden_dir(architecture).join("model");
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::copy(from.join("config.json"), dir.path().join("config.json")).expect("copied");
    write(dir.path(), &change(tensors(&from.join("model.safetensors"))));
    dir
}

/// Writes a key of its `config.json`.
fn configure(dir: &Path, key: &str, value: impl Into<Value>) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
    config[key] = value.into();
    fs::write(path, config.to_string()).expect("written");
}

fn renamed(tensors: Tensors, rename: impl Fn(String) -> String) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (rename(name), tensor)).collect()
}

fn other_head(mut tensors: Tensors) -> Tensors {
    let (dtype, shape, bytes) = tensors[EMBEDDING].clone();
    let reversed = bytes.chunks(bytes.len() / shape[0]).rev().flatten().copied().collect();
    tensors.insert(HEAD.to_owned(), (dtype, shape, reversed));
    tensors
}

fn same_head(mut tensors: Tensors) -> Tensors {
    tensors.insert(HEAD.to_owned(), tensors[EMBEDDING].clone());
    tensors
}

fn signed_zero(tensors: Tensors) -> Tensors {
    let mut tensors = same_head(tensors);
    for (name, zero) in [(EMBEDDING, 0.0_f32), (HEAD, -0.0)] {
        let (.., bytes) = tensors.get_mut(name).expect("it is there");
        bytes[..4].copy_from_slice(&zero.to_le_bytes());
    }
    tensors
}

fn head_alone(tensors: Tensors) -> Tensors {
    renamed(tensors, |name| if name == EMBEDDING { HEAD.to_owned() } else { name })
}

fn bare(tensors: Tensors) -> Tensors {
    renamed(tensors, |name| name.trim_start_matches("model.").to_owned())
}

fn one_more(tensors: Tensors) -> Tensors {
    renamed(tensors, |name| format!("model.{name}"))
}

fn with_bias(mut tensors: Tensors) -> Tensors {
    let (dtype, shape, _) = tensors[QUERY].clone();
    let ones = 1.0_f32.to_le_bytes().repeat(shape[0]);
    tensors.insert(QUERY.replace("weight", "bias"), (dtype, vec![shape[0]], ones));
    tensors
}

/// What `make_files_golden.py` made of each, under the same names, and whether it has a head.
const VARIANTS: [(&str, &str, Change, bool); 10] = [
    ("tied, as saved", "llama_tied", |tensors| tensors, false),
    ("tied, another head", "llama_tied", other_head, true),
    ("tied, the same head", "llama_tied", same_head, false),
    ("tied, equal but for the sign of a zero", "llama_tied", signed_zero, false),
    ("tied, the head alone", "llama_tied", head_alone, false),
    ("tied, bare names", "llama_tied", bare, false),
    ("untied, bare names", "llama", bare, true),
    ("tied, one prefix more", "llama_tied", one_more, false),
    ("untied, one prefix more", "llama", one_more, true),
    ("tied, a bias more", "llama_tied", with_bias, false),
];

#[derive(Deserialize)]
struct Golden {
    sequence: Vec<u32>,
    losses: BTreeMap<String, f64>,
}

fn golden() -> Golden {
    let path = golden_dir("").join("../golden_files/losses.json");
    serde_json::from_slice(&fs::read(path).expect("the golden file")).expect("JSON")
}

/// The mean loss of a sequence, on one backend.
macro_rules! loss {
    ($backend:expr, $dir:expr, $sequence:expr) => {{
        let (backend, sequence): (_, &[u32]) = ($backend, $sequence);
        let model = Model::load(&backend, $dir, &BaseSettings::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let decoder = Decoder { backend, model };
        let mut rows = Rows::default();
        let mask: Vec<bool> = (0..sequence.len()).map(|at| at > 0).collect();
        rows.push(sequence, &mask, 1.0);
        let losses = decoder.losses(&rows, &[]).expect("losses");
        let sum: f64 = losses.iter().map(|loss| f64::from(*loss)).sum();
        sum / (sequence.len() - 1) as f64
    }};
}

fn source(dir: &Path) -> Source {
    Source::open(dir, &BaseSettings::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(dir: &Path) -> String {
    let error = Source::open(dir, &BaseSettings::default()).expect_err("it is refused").to_string();
    let loaded = Model::load(&Cpu::<f32>::new(), dir, &BaseSettings::default());
    assert_eq!(loaded.expect_err("it is refused").to_string(), error);
    error
}

#[test]
fn files_that_transformers_loads_have_its_losses_on_every_backend() {
    let golden = golden();
    assert_eq!(golden.losses.len(), VARIANTS.len());
    for (name, architecture, change, has_head) in VARIANTS {
        let (dir, wanted) = (model(architecture, change), golden.losses[name]);
        let candle = CandleBackend::new(candle_core::Device::Cpu, candle_core::DType::F32);
        for loss in [
            loss!(Cpu::<f32>::new(), dir.path(), &golden.sequence),
            loss!(candle, dir.path(), &golden.sequence),
        ] {
            assert!((loss - wanted).abs() < 1e-4 * wanted, "{name}: {loss}, not {wanted}");
        }
        let source = source(dir.path());
        assert_eq!(source.config().tie_word_embeddings, !has_head, "{name}");
        assert_eq!(source.tables().head.is_some(), has_head, "{name}");
    }
}

#[test]
fn a_head_that_differs_is_warned_of_and_counted_and_planned_for() {
    let (tied, both) = (model("llama_tied", same_head), model("llama_tied", other_head));
    let (tied, both) = (source(tied.path()), source(both.path()));
    assert_eq!(tied.warnings(), [] as [String; 0]);
    let [warning] = both.warnings() else { panic!("{:?}", both.warnings()) };
    for part in ["tie_word_embeddings: true", HEAD, EMBEDDING, "transformers 5"] {
        assert!(warning.contains(part), "{warning}");
    }
    let table = tied.config().vocab_size * tied.config().hidden_size;
    assert_eq!(both.config().parameters(), tied.config().parameters() + table);
    let bytes = |source: &Source| source.memory(BaseStorage::Cpu).expect("its memory").bytes;
    assert_eq!(bytes(&both), bytes(&tied) + 4 * table as u64);
    assert_eq!(both.formats().expect("formats"), (vec![Format::F32], vec![Format::F32]));
}

#[test]
fn a_head_is_another_one_when_a_single_value_of_its_last_row_differs() {
    let last = |mut tensors: Tensors| {
        tensors = same_head(tensors);
        let (.., bytes) = tensors.get_mut(HEAD).expect("a head");
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&7.0_f32.to_le_bytes());
        tensors
    };
    assert!(source(model("llama_tied", last).path()).tables().head.is_some());
}

#[test]
fn an_untied_model_without_a_head_is_refused_by_name() {
    let dir = model("llama_tied", |tensors| tensors);
    configure(dir.path(), "tie_word_embeddings", false);
    let error = refusal(dir.path());
    assert!(error.contains("there is no tensor `lm_head.weight`"), "{error}");
    assert!(error.contains("config.json does not tie it to the embeddings"), "{error}");
    let dir = model("llama_tied", head_alone);
    configure(dir.path(), "tie_word_embeddings", false);
    assert!(refusal(dir.path()).contains("there is no tensor `model.embed_tokens.weight`"));
}

#[test]
fn a_gguf_file_is_held_to_the_configuration_in_the_same_way() {
    let base = |file: &str| BaseSettings {
        weights: Some(golden_dir("").join("../golden_quantised").join(file)),
        quantization: None,
    };
    let dir = model("llama", |tensors| tensors);
    configure(dir.path(), "tie_word_embeddings", true);
    let both = Source::open(dir.path(), &base("llama.gguf")).expect("it has a head");
    assert!(both.tables().head.is_some());
    let [warning] = both.warnings() else { panic!("{:?}", both.warnings()) };
    assert!(warning.contains("`output.weight` differs from `token_embd.weight`"), "{warning}");

    let dir = model("llama_tied", |tensors| tensors);
    let tied = Source::open(dir.path(), &base("llama_tied.gguf")).expect("it needs no head");
    assert!(tied.tables().head.is_none() && tied.warnings().is_empty());
    configure(dir.path(), "tie_word_embeddings", false);
    configure(dir.path(), "num_hidden_layers", 3);
    let error = Source::open(dir.path(), &base("llama_tied.gguf")).expect_err("no head");
    let error = error.to_string();
    assert!(
        error.contains("`output.weight`") && error.contains("`blk.2.attn_q.weight`"),
        "{error}"
    );
    configure(dir.path(), "tie_word_embeddings", true);
    configure(dir.path(), "num_hidden_layers", 1);
    let fewer = Source::open(dir.path(), &base("llama_tied.gguf")).expect("a block is left over");
    assert!(fewer.warnings()[0].contains("`blk.1.attn_k.weight`"), "{:?}", fewer.warnings());
}

#[test]
fn names_behind_what_a_wrapper_puts_there_are_refused_with_what_to_save_instead() {
    for (prefix, said) in [
        ("_orig_mod.", "torch.compile"),
        ("module.", "DataParallel"),
        ("base_model.model.", "merge_and_unload"),
        ("language_model.", "rename"),
        ("transformer.", "rename"),
    ] {
        for change in [|tensors: Tensors| tensors, bare] {
            let prefixed = |tensors| renamed(change(tensors), |name| format!("{prefix}{name}"));
            let error = refusal(model("llama_tied", prefixed).path());
            let shown = if prefix.starts_with("base_model.") { "base_model." } else { prefix };
            assert!(error.contains(&format!("`{shown}`")) && error.contains(said), "{error}");
            assert!(error.contains("`model.embed_tokens.weight`") && error.contains("more"));
        }
    }
    let wrapped = |tensors| renamed(tensors, |name| name.replace("q_proj.", "q_proj.base_layer."));
    let error = refusal(model("llama_tied", wrapped).path());
    assert!(error.contains("merge_and_unload") && error.contains(QUERY), "{error}");
}

#[test]
fn a_tensor_under_two_names_is_refused() {
    let twice = |mut tensors: Tensors| {
        let norm = tensors["model.norm.weight"].clone();
        tensors.insert("norm.weight".to_owned(), norm);
        tensors
    };
    let error = refusal(model("llama_tied", twice).path());
    assert!(error.contains("`model.norm.weight` and `norm.weight`"), "{error}");
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let dir = model("llama_tied", |tensors| tensors);
    for shard in ["a.safetensors", "b.safetensors"] {
        fs::copy(dir.path().join("model.safetensors"), dir.path().join(shard)).expect("copied");
    }
    fs::remove_file(dir.path().join("model.safetensors")).expect("removed");
    let map = json!({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}});
    let index = dir.path().join("model.safetensors.index.json");
    fs::write(index, map.to_string()).expect("written");
    let error = refusal(dir.path());
    assert!(error.contains("a.safetensors") && error.contains("b.safetensors"), "{error}");
}

#[test]
fn every_mistake_of_the_tensors_is_in_one_error() {
    let broken = |mut tensors: Tensors| {
        tensors.remove("model.layers.1.mlp.up_proj.weight").expect("it is there");
        tensors.remove("model.norm.weight").expect("it is there");
        let (dtype, mut shape, mut bytes) = tensors[EMBEDDING].clone();
        bytes.extend(vec![0; 3 * bytes.len() / shape[0]]);
        shape[0] += 3;
        tensors.insert(EMBEDDING.to_owned(), (dtype, shape, bytes));
        for layer in 0..2 {
            let name = QUERY.replace('0', &layer.to_string());
            let (_, shape, _) = tensors[&name].clone();
            let codes = vec![1; shape.iter().product()];
            tensors.insert(name, (Dtype::I8, shape, codes));
        }
        tensors
    };
    let error = refusal(model("llama_tied", broken).path());
    for part in [
        "there is no tensor `model.norm.weight`, `model.layers.1.mlp.up_proj.weight`",
        "`model.embed_tokens.weight` has the shape [64, 32], but config.json asks for [61, 32]",
        "vocab_size: 64",
        "`model.layers.0.self_attn.q_proj.weight`, `model.layers.1.self_attn.q_proj.weight`: each \
         is stored as I8",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_model_without_any_one_of_its_tensors_is_refused_and_one_with_all_has_no_others() {
    for architecture in ARCHITECTURES {
        if architecture == "llama_sharded" {
            continue;
        }
        let dir = model(architecture, |tensors| tensors);
        assert_eq!(source(dir.path()).warnings(), [] as [String; 0], "{architecture}");
        let all = tensors(&dir.path().join("model.safetensors"));
        for name in all.keys() {
            let mut others = all.clone();
            others.remove(name);
            write(dir.path(), &others);
            let error = refusal(dir.path());
            assert!(error.contains(&format!("there is no tensor `{name}`")), "{error}");
        }
    }
}

#[test]
fn what_such_a_model_does_not_have_is_warned_of_and_what_follows_from_it_is_not() {
    let more = |names: &'static [&'static str]| {
        move |mut tensors: Tensors| {
            let some = tensors["model.norm.weight"].clone();
            tensors.extend(names.iter().map(|name| ((*name).to_owned(), some.clone())));
            tensors
        }
    };
    let warnings = |names| source(model("llama_tied", more(names)).path()).warnings().to_vec();
    let computed = &["model.layers.1.self_attn.rotary_emb.inv_freq", "model.position_ids"];
    assert_eq!(warnings(computed), [] as [String; 0]);
    for (names, parts) in [
        (&["model.layers.1.self_attn.q_proj.bias"][..], &["a tensor", "biases"][..]),
        (&["model.layers.12.input_layernorm.weight"], &["num_hidden_layers is 2"]),
        (&["model.layers.0.mlp.up_proj.lora_A.weight"], &["adapter"]),
        (&["a", "b", "c", "d", "e"], &["5 tensors", "`a`, `b`, `c` and 2 more"]),
    ] {
        let found = warnings(names);
        let [warning] = &found[..] else { panic!("{found:?}") };
        for part in parts.iter().chain([&"not used"]).chain(names.iter().take(3)) {
            assert!(warning.contains(part), "{warning}");
        }
    }
}

#[test]
fn a_form_that_the_model_cannot_have_is_refused_by_its_headers() {
    let stored = source(&golden_dir("llama").join("model"));
    assert!(stored.in_form(Some(Quantization::Int8)).is_ok());
    let error = stored.in_form(Some(Quantization::Q4K)).expect_err("32 columns").to_string();
    assert!(error.contains("blocks of 256 values"), "{error}");
}

#[test]
fn a_merged_model_is_the_same_one_under_the_names_of_its_base() {
    let golden = golden();
    for (name, architecture, change, has_head) in VARIANTS {
        let (base, merged) = (model(architecture, change), tempfile::tempdir().expect("a folder"));
        let adapter = golden_dir(architecture).join("adapter");
        merge::write_merged(base.path(), &adapter, merged.path()).expect("merged");
        let names = |dir: &Path| tensors(&dir.join("model.safetensors")).into_keys();
        assert!(names(base.path()).eq(names(merged.path())), "{name}");
        // The golden model with its tensors under their usual names, merged.
        let plain = model(architecture, |tensors| tensors);
        let usual = tempfile::tempdir().expect("a folder");
        merge::write_merged(plain.path(), &adapter, usual.path()).expect("merged");
        let wanted =
            model(architecture, |_| change(tensors(&usual.path().join("model.safetensors"))));
        let of = |dir: &Path| loss!(Cpu::<f32>::new(), dir, &golden.sequence);
        assert!((of(merged.path()) - of(wanted.path())).abs() < 1e-6, "{name}");
        let config = fs::read_to_string(merged.path().join("config.json")).expect("read");
        let config: Value = serde_json::from_str(&config).expect("JSON");
        assert_eq!(config["tie_word_embeddings"], !has_head, "{name}");
    }
}
