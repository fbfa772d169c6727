//! Weights that are stored in few bits: the values that other programs read in the same bytes, and
//! the same losses and gradients as their values in f32.
//!
//! The golden values come from `scripts/golden/make_quantised_golden.py`.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::support::{ARCHITECTURES, Adapter, golden, golden_dir, relative_error, rows};
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use spec::{BaseSettings, Quantization};
use trainer::adapter::AdapterLayout;
use trainer::backend::Backend;
use trainer::backend::candle::CandleBackend;
use trainer::backend::cpu::Cpu;
use trainer::decoder::{Decoder, Rows};
use trainer::format::{Bytes, Format, Stored, quantise};
use trainer::model::Model;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_quantised")
}

/// `blocks.safetensors`.
struct Blocks(Vec<u8>);

impl Blocks {
    fn read() -> Self {
        Self(std::fs::read(folder().join("blocks.safetensors")).expect("blocks.safetensors"))
    }

    /// A tensor's columns and bytes.
    fn bytes(&self, name: &str) -> (usize, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.0).expect("blocks.safetensors");
        let view = file.tensor(name).unwrap_or_else(|_| panic!("there is no {name}"));
        (view.shape().last().copied().unwrap_or(1), view.data().to_vec())
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let bytes = self.bytes(name).1;
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// A matrix in f32.
    fn matrix(&self, name: &str) -> Stored {
        let (cols, bytes) = self.bytes(name);
        let rows = bytes.len() / 4 / cols;
        Stored::new(Bytes::Owned(bytes.into()), Format::F32, rows, cols).expect("a matrix")
    }
}

fn values(stored: &Stored) -> Vec<f32> {
    let mut values = vec![f32::NAN; stored.rows() * stored.cols()];
    stored.decode(0..stored.rows(), 0..stored.cols(), &mut values);
    values
}

#[test]
fn ggmls_blocks_hold_the_values_that_gguf_reads_in_them() {
    let blocks = Blocks::read();
    let formats = [
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
    ];
    for format in formats {
        let (_, bytes) = blocks.bytes(&format!("{format}.bytes"));
        let theirs = blocks.values(&format!("{format}.values"));
        let stored = Stored::new(Bytes::Owned(bytes.into()), format, 2, theirs.len() / 2)
            .unwrap_or_else(|message| panic!("{format}: {message}"));
        let error = relative_error(&values(&stored), &theirs);
        assert!(error < 1e-6, "{format}: off by {error}");
        // From the middle of a row.
        let mut part = vec![f32::NAN; 256];
        stored.decode(1..2, 256..512, &mut part);
        assert_eq!(part, values(&stored)[512 + 256..], "{format}");
    }
}

#[test]
fn nf4_gives_the_codes_scales_and_values_of_bitsandbytes() {
    let blocks = Blocks::read();
    let matrix = blocks.matrix("nf4.weight");
    let coded = quantise("w", &matrix, Quantization::Nf4).expect("quantised");
    let (mut scales, mut codes) = (Vec::new(), Vec::new());
    for block in coded.raw().chunks_exact(36) {
        let (scale, code) = block.split_first_chunk().expect("a scale");
        scales.push(f32::from_le_bytes(*scale));
        codes.extend_from_slice(code);
    }
    assert_eq!(scales, blocks.values("nf4.absmax"));
    assert_eq!(codes, blocks.bytes("nf4.codes").1);
    let error = relative_error(&values(&coded), &blocks.values("nf4.values"));
    assert!(error < 1e-6, "off by {error}");
}

#[test]
fn nf4s_levels_are_the_papers_quantiles() {
    let levels = Blocks::read().values("nf4.levels");
    // A block whose scale is 1 and whose codes count up.
    let codes: Vec<u8> = (0..32).map(|i| ((2 * i % 16) << 4) | ((2 * i + 1) % 16)).collect();
    let bytes: Vec<u8> = 1.0_f32.to_le_bytes().into_iter().chain(codes).collect();
    let stored = Stored::new(Bytes::Owned(bytes.into()), Format::Nf4, 1, 64).expect("a block");
    let error = relative_error(&values(&stored)[..16], &levels);
    assert!(error < 1e-6, "off by {error}");
}

#[test]
fn int8_gives_the_codes_and_scales_of_bitsandbytes() {
    let blocks = Blocks::read();
    let matrix = blocks.matrix("int8.weight");
    let coded = quantise("w", &matrix, Quantization::Int8).expect("quantised");
    let (mut scales, mut codes) = (Vec::new(), Vec::new());
    for row in coded.raw().chunks_exact(4 + matrix.cols()) {
        let (scale, code) = row.split_first_chunk().expect("a scale");
        scales.push(f32::from_le_bytes(*scale) * 127.0);
        codes.extend_from_slice(code);
    }
    assert!(relative_error(&scales, &blocks.values("int8.absmax")) < 1e-6);
    assert_eq!(codes, blocks.bytes("int8.codes").1);
    let error = relative_error(&values(&coded), &values(&matrix));
    assert!(error < 0.5 / 127.0 + 1e-6, "off by {error}");
}

#[test]
fn a_value_that_is_no_number_is_refused_rather_than_hidden_by_codes() {
    for (bad, quantization) in
        [f32::NAN, f32::INFINITY].into_iter().flat_map(|x| Quantization::ALL.map(|q| (x, q)))
    {
        let row: Vec<u8> =
            (0..256).flat_map(|i| if i == 7 { bad } else { 0.5 }.to_le_bytes()).collect();
        let matrix = Stored::new(Bytes::Owned(row.into()), Format::F32, 1, 256).expect("a row");
        let error = quantise("w", &matrix, quantization).expect_err("damaged").to_string();
        assert!(error.contains("`w` holds") && error.contains("damaged"), "{error}");
    }
}

fn candle() -> CandleBackend {
    CandleBackend::new(Device::Cpu, DType::F32)
}

/// A backend that keeps the format of every matrix.
fn narrow() -> Cpu<f32> {
    Cpu::new().keeping_formats_from(0)
}

fn load<B: Backend>(backend: B, dir: &Path, base: &BaseSettings) -> Decoder<B> {
    let model = Model::load(&backend, dir, base).unwrap_or_else(|error| panic!("{error}"));
    Decoder { backend, model }
}

fn gguf_files_agree<B: Backend>(make: impl Fn() -> B) {
    for architecture in ["llama", "llama_bias", "llama_tied", "mistral", "qwen2", "qwen3"] {
        let (golden, tensors) = golden(architecture);
        let weights = Some(folder().join(format!("{architecture}.gguf")));
        let base = BaseSettings { weights, quantization: None };
        let decoder = load(make(), &golden_dir(architecture).join("model"), &base);
        let all = rows(&golden.sequences.iter().collect::<Vec<_>>());
        for (i, sequence) in all.sequences.iter().enumerate() {
            let Some(theirs) = tensors.stored(&format!("base.logits.{i}")) else { continue };
            let which: Vec<usize> = sequence.clone().collect();
            let ours = decoder.logits(&all, &[], &which).expect("logits");
            let error = relative_error(&ours, &theirs);
            assert!(error < 1e-5, "{architecture}: logits of sequence {i} are off by {error}");
        }
        let mut adapter = Adapter::golden(&decoder, architecture, "adapter");
        adapter.train(&decoder, &all, None, false);
        let theirs = tensors.adapter("adapter.grad", &adapter.layout);
        let error = relative_error(&adapter.grad_values(&decoder), &theirs);
        assert!(error < 1e-4, "{architecture}: gradients are off by {error}");
    }
}

#[test]
fn a_gguf_file_has_the_logits_and_gradients_of_the_model_it_was_made_of() {
    gguf_files_agree(narrow);
    gguf_files_agree(candle);
}

/// Writes tensors as the only weight file of a folder that has a `config.json` already.
fn write(dir: &Path, tensors: &HashMap<String, Tensor>) {
    candle_core::safetensors::save(tensors, dir.join("model.safetensors")).expect("written");
}

/// Loss and gradient over some rows.
fn loss_and_gradient<B: Backend>(decoder: &Decoder<B>, rows: &Rows) -> (Vec<f32>, Vec<f32>) {
    let modules = decoder.model.config.modules();
    let layout = AdapterLayout::new(&decoder.model.config, 3, 2.0, modules);
    let values: Vec<f32> = (0..layout.len).map(|i| 0.05 * (i as f32 * 0.7).sin()).collect();
    let mut adapter = Adapter::new(decoder, layout, &values);
    let nll = adapter.train(decoder, rows, None, false);
    (nll, adapter.grad_values(decoder))
}

/// Holds two results to each other.
fn agree(what: &str, ours: &(Vec<f32>, Vec<f32>), exact: &(Vec<f32>, Vec<f32>)) {
    assert!(exact.1.iter().any(|g| *g != 0.0), "{what}: no gradient");
    let (loss, gradient) = (relative_error(&ours.0, &exact.0), relative_error(&ours.1, &exact.1));
    assert!(loss < 1e-5 && gradient < 5e-5, "{what}: off by {loss} and {gradient}");
}

#[test]
fn weights_in_half_the_bits_have_the_losses_and_gradients_of_the_same_values_in_f32() {
    for architecture in ARCHITECTURES.into_iter().filter(|name| *name != "llama_sharded") {
        let model = golden_dir(architecture).join("model");
        let stored = candle_core::safetensors::load(model.join("model.safetensors"), &Device::Cpu)
            .expect("the golden model");
        let (golden, _) = golden(architecture);
        let all = rows(&golden.sequences.iter().collect::<Vec<_>>());
        for dtype in [DType::BF16, DType::F16] {
            let (half, wide) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
            let cast = |to: &dyn Fn(&Tensor) -> Tensor| -> HashMap<String, Tensor> {
                stored.iter().map(|(name, tensor)| (name.clone(), to(tensor))).collect()
            };
            let narrowed = |tensor: &Tensor| tensor.to_dtype(dtype).expect("narrowed");
            write(half.path(), &cast(&narrowed));
            write(
                wide.path(),
                &cast(&|tensor| narrowed(tensor).to_dtype(DType::F32).expect("widened")),
            );
            for dir in [half.path(), wide.path()] {
                let config = dir.join("config.json");
                std::fs::copy(model.join("config.json"), config).expect("copied");
            }
            let base = BaseSettings::default();
            let ours = loss_and_gradient(&load(narrow(), half.path(), &base), &all);
            let exact = loss_and_gradient(&load(Cpu::<f32>::new(), wide.path(), &base), &all);
            agree(&format!("{architecture} {dtype:?}"), &ours, &exact);
        }
    }
}

/// A model whose rows are whole blocks of every format.
pub fn random_model(dir: &Path) -> HashMap<String, Tensor> {
    let (d, f, v) = (256, 512, 96);
    let config = serde_json::json!({
        "model_type": "qwen3", "vocab_size": v, "hidden_size": d, "intermediate_size": f,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 64, "tie_word_embeddings": true,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).expect("written");
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize], mean: f32| {
        let count: usize = shape.iter().product();
        let seed = tensors.len() as f32;
        let values: Vec<f32> =
            (0..count).map(|i| mean + 0.1 * ((i as f32 * 1.37 + seed) * 12.9).sin()).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor"));
    };
    add("model.embed_tokens.weight".into(), &[v, d], 0.0);
    add("model.norm.weight".into(), &[d], 1.0);
    for layer in 0..2 {
        for (part, shape, mean) in [
            ("input_layernorm", &[d][..], 1.0),
            ("post_attention_layernorm", &[d], 1.0),
            ("self_attn.q_norm", &[64], 1.0),
            ("self_attn.k_norm", &[64], 1.0),
            ("self_attn.q_proj", &[d, d], 0.0),
            ("self_attn.k_proj", &[d / 2, d], 0.0),
            ("self_attn.v_proj", &[d / 2, d], 0.0),
            ("self_attn.o_proj", &[d, d], 0.0),
            ("mlp.gate_proj", &[f, d], 0.0),
            ("mlp.up_proj", &[f, d], 0.0),
            ("mlp.down_proj", &[d, f], 0.0),
        ] {
            add(format!("model.layers.{layer}.{part}.weight"), shape, mean);
        }
    }
    write(dir, &tensors);
    tensors
}

/// The same tensors with the values that a quantisation leaves of the linear layers.
fn as_quantised(
    tensors: &HashMap<String, Tensor>,
    quantization: Quantization,
) -> HashMap<String, Tensor> {
    let quantised = |(name, tensor): (&String, &Tensor)| {
        if !name.contains("_proj") {
            return (name.clone(), tensor.clone());
        }
        let (rows, cols) = tensor.dims2().expect("a matrix");
        let bytes: Vec<u8> = tensor
            .flatten_all()
            .and_then(|t| t.to_vec1::<f32>())
            .expect("values")
            .into_iter()
            .flat_map(f32::to_le_bytes)
            .collect();
        let matrix = Stored::new(Bytes::Owned(bytes.into()), Format::F32, rows, cols);
        let coded = quantise("w", &matrix.expect("a matrix"), quantization).expect("quantised");
        let values = Tensor::from_vec(values(&coded), (rows, cols), &Device::Cpu);
        (name.clone(), values.expect("values"))
    };
    tensors.iter().map(quantised).collect()
}

#[test]
fn a_quantised_base_has_the_losses_and_gradients_of_its_decoded_values() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tensors = random_model(dir.path());
    let mut all = Rows::default();
    for seed in 0..3 {
        let ids: Vec<u32> = (0..20).map(|i| (i * i * 5 + seed * 11 + i) % 96).collect();
        all.push(&ids, &[true; 20], 0.02);
    }
    let plain = loss_and_gradient(&load(narrow(), dir.path(), &BaseSettings::default()), &all);
    for quantization in Quantization::ALL {
        let base = BaseSettings { weights: None, quantization: Some(quantization) };
        let ours = loss_and_gradient(&load(narrow(), dir.path(), &base), &all);
        let small = loss_and_gradient(&load(Cpu::<f32>::new(), dir.path(), &base), &all);
        let theirs = loss_and_gradient(&load(candle(), dir.path(), &base), &all);
        let decoded = tempfile::tempdir().expect("a temporary folder");
        let config = decoded.path().join("config.json");
        std::fs::copy(dir.path().join("config.json"), config).expect("copied");
        write(decoded.path(), &as_quantised(&tensors, quantization));
        let none = BaseSettings::default();
        let exact = loss_and_gradient(&load(Cpu::<f32>::new(), decoded.path(), &none), &all);
        agree(&format!("{quantization}, kept as codes"), &ours, &exact);
        agree(&format!("{quantization}, widened"), &small, &exact);
        agree(&format!("{quantization} on candle"), &theirs, &exact);
        assert_ne!(ours.0, plain.0, "{quantization} changes nothing");
    }
}

#[test]
fn rows_that_are_no_whole_blocks_are_refused_with_what_to_take_instead() {
    let model = golden_dir("llama").join("model");
    let base = BaseSettings { weights: None, quantization: Some(Quantization::Q4K) };
    let error = Model::load(&narrow(), &model, &base).expect_err("32 columns").to_string();
    assert!(error.contains("blocks of 256 values") && error.contains("q_proj"), "{error}");
}

#[test]
fn a_checkpoint_of_bitsandbytes_is_refused_by_name_with_advice() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut tensors = random_model(dir.path());
    let scales = Tensor::zeros(4, DType::F32, &Device::Cpu).expect("a tensor");
    tensors.insert("model.layers.0.self_attn.q_proj.weight.absmax".to_owned(), scales);
    write(dir.path(), &tensors);
    let base = BaseSettings::default();
    let error = Model::load(&narrow(), dir.path(), &base).expect_err("refused").to_string();
    assert!(error.contains("bitsandbytes") && error.contains("quantization: nf4"), "{error}");
}

#[test]
fn a_gguf_file_of_another_architecture_or_shape_is_refused() {
    let refused = |model: &str, file: &str| {
        let weights = Some(folder().join(file));
        let base = BaseSettings { weights, quantization: None };
        let model = golden_dir(model).join("model");
        Model::load(&narrow(), &model, &base).expect_err("refused").to_string()
    };
    let error = refused("qwen3", "llama.gguf");
    assert!(error.contains("architecture `llama`") && error.contains("qwen3"), "{error}");
    let error = refused("gemma2", "llama.gguf");
    assert!(error.contains("gemma2") && error.contains("quantization: nf4"), "{error}");
    let error = refused("llama_rope_yarn", "llama.gguf");
    assert!(error.contains("token_embd.weight") && error.contains("shape"), "{error}");
}

#[test]
fn a_folder_with_nothing_but_a_gguf_file_is_refused_with_the_line_to_write() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    random_model(dir.path());
    std::fs::remove_file(dir.path().join("model.safetensors")).expect("removed");
    std::fs::copy(folder().join("llama.gguf"), dir.path().join("own.gguf")).expect("copied");
    let base = BaseSettings::default();
    let error = Model::load(&narrow(), dir.path(), &base).expect_err("refused").to_string();
    assert!(error.contains("base_weights: ") && error.contains("own.gguf"), "{error}");
}
