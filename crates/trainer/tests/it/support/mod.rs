//! What several test files share: golden files and a model with an adapter on a backend.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::Deserialize;
use spec::BaseSettings;
use trainer::adapter::AdapterLayout;
use trainer::backend::Backend;
use trainer::decoder::{ActiveAdapter, Decoder, Rows, SlotDropout};
use trainer::model::Model;
use trainer::peft;

/// The folders of `golden/` without those of LoRA variants.
pub const ARCHITECTURES: [&str; 18] = [
    "llama",
    "llama_tied",
    "llama_sharded",
    "llama_rope_llama3",
    "llama_rope_linear",
    "llama_rope_dynamic",
    "llama_rope_yarn",
    "llama_bias",
    "qwen2",
    "qwen3",
    "mistral",
    "mistral_window",
    "olmo2",
    "smollm3",
    "phi3",
    "phi3_longrope",
    "gemma2",
    "gemma3",
];

#[derive(Deserialize)]
pub struct Sequence {
    pub input_ids: Vec<u32>,
    loss_mask: Vec<u8>,
}

impl Sequence {
    pub fn mask(&self) -> Vec<bool> {
        self.loss_mask.iter().map(|m| *m == 1).collect()
    }

    pub fn targets(&self) -> usize {
        self.mask().into_iter().filter(|is_target| *is_target).count()
    }
}

#[derive(Deserialize)]
pub struct Golden {
    pub sequences: Vec<Sequence>,
    pub batches: Vec<Vec<Vec<usize>>>,
    pub base: BaseGolden,
    pub cases: std::collections::BTreeMap<String, Case>,
}

#[derive(Deserialize)]
pub struct BaseGolden {
    pub loss: f64,
}

#[derive(Deserialize)]
pub struct Case {
    pub loss: f64,
    pub training: Training,
    pub trajectory: Trajectory,
}

#[derive(Deserialize)]
pub struct Training {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    pub max_grad_norm: f64,
    pub warmup_steps: u32,
    pub total_steps: u32,
    pub loraplus_lr_ratio: Option<f64>,
}

#[derive(Deserialize)]
pub struct Trajectory {
    pub loss: Vec<f64>,
    pub grad_norm: Vec<f64>,
    pub learning_rate: Vec<f64>,
}

/// A folder of golden files: where cargo or a script says that the crate is, else where it was
/// compiled, because the tests of the GPU are carried to another machine.
pub fn golden_dir(architecture: &str) -> PathBuf {
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR");
    let crate_dir = crate_dir.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&crate_dir).join("tests/golden").join(architecture)
}

pub fn golden(architecture: &str) -> (Golden, GoldenTensors) {
    let dir = golden_dir(architecture);
    let text = std::fs::read_to_string(dir.join("golden.json")).expect("golden.json");
    let golden = serde_json::from_str(&text).expect("golden.json");
    (golden, GoldenTensors(std::fs::read(dir.join("golden.safetensors")).expect("tensors")))
}

pub struct GoldenTensors(Vec<u8>);

impl GoldenTensors {
    pub fn values(&self, name: &str) -> Vec<f32> {
        self.stored(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// The values of a tensor that a golden file may leave out.
    pub fn stored(&self, name: &str) -> Option<Vec<f32>> {
        let file = SafeTensors::deserialize(&self.0).expect("golden.safetensors");
        let view = file.tensor(name).ok()?;
        let (values, _) = view.data().as_chunks::<4>();
        Some(values.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// A flat adapter vector put together from the tensors `<prefix>.<peft name>`.
    pub fn adapter(&self, prefix: &str, layout: &AdapterLayout) -> Vec<f32> {
        let mut flat = vec![0.0; layout.len];
        for (index, site) in layout.sites.iter().enumerate() {
            let module = site.module.name();
            let parent = if ["gate_proj", "up_proj", "gate_up_proj", "down_proj"].contains(&module)
            {
                "mlp"
            } else {
                "self_attn"
            };
            let magnitudes = layout.magnitude_range(index);
            for (part, range) in [
                ("A.weight", Some(layout.a_range(index))),
                ("B.weight", Some(layout.b_range(index))),
                ("magnitude_vector", magnitudes),
            ] {
                let (layer, Some(range)) = (site.layer, range) else { continue };
                let name = format!(
                    "{prefix}.base_model.model.model.layers.{layer}.{parent}.{module}.lora_{part}"
                );
                flat[range].copy_from_slice(&self.values(&name));
            }
        }
        flat
    }
}

/// A golden model on a backend.
pub fn decoder<B: Backend>(backend: B, architecture: &str) -> Decoder<B> {
    let dir = golden_dir(architecture).join("model");
    let model =
        Model::load(&backend, &dir, &BaseSettings::default()).expect("the golden model loads");
    Decoder { backend, model }
}

/// An adapter with its gradient, as a slot holds it.
pub struct Adapter<B: Backend> {
    pub layout: AdapterLayout,
    pub params: B::Tensor,
    pub grad: B::Tensor,
}

impl<B: Backend> Adapter<B> {
    pub fn golden(decoder: &Decoder<B>, architecture: &str, case: &str) -> Self {
        let dir = golden_dir(architecture).join(case);
        let loaded = peft::load(&dir, &decoder.model.config).expect("the golden adapter loads");
        Self::new(decoder, loaded.layout, &loaded.values)
    }

    pub fn new(decoder: &Decoder<B>, layout: AdapterLayout, values: &[f32]) -> Self {
        let params = decoder.backend.tensor(values, 1, layout.len).expect("params");
        let grad = decoder.backend.zeros(1, layout.len).expect("grad");
        Self { layout, params, grad }
    }

    /// Loss and gradient over rows that are all this adapter's.
    pub fn train(
        &mut self,
        decoder: &Decoder<B>,
        rows: &Rows,
        dropout: Option<SlotDropout>,
        recompute: bool,
    ) -> Vec<f32> {
        let active = ActiveAdapter {
            layout: &self.layout,
            params: &self.params,
            rows: 0..rows.len(),
            dropout,
        };
        decoder.train(rows, &[active], &mut [&mut self.grad], recompute).expect("a training pass")
    }

    pub fn active(&self, rows: std::ops::Range<usize>) -> ActiveAdapter<'_, B::Tensor> {
        let (layout, params) = (&self.layout, &self.params);
        ActiveAdapter { layout, params, rows, dropout: None }
    }

    pub fn grad_values(&self, decoder: &Decoder<B>) -> Vec<f32> {
        decoder.backend.values(&self.grad).expect("values")
    }
}

/// Rows of some sequences whose loss is the mean over all their targets.
pub fn rows(sequences: &[&Sequence]) -> Rows {
    let targets: usize = sequences.iter().map(|s| s.targets()).sum();
    let mut rows = Rows::default();
    for s in sequences {
        rows.push(&s.input_ids, &s.mask(), 1.0 / targets as f32);
    }
    rows
}

/// Largest difference, relative to the largest value.
pub fn relative_error(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    let difference = ours.iter().zip(theirs).fold(0.0_f32, |a, (x, y)| {
        if (x - y).abs() > a || (x - y).is_nan() { (x - y).abs() } else { a }
    });
    f64::from(difference) / f64::from(largest.max(f32::MIN_POSITIVE))
}

pub fn close(ours: f64, theirs: f64, tolerance: f64) -> bool {
    (ours - theirs).abs() <= tolerance * theirs.abs()
}
