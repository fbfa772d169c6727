//! One training step (forward, backward, optimizer) on random weights, in tokens a second.
//!
//! `scripts/bench/step.sh` runs this and the same step in transformers + peft one after the other.
//! After the measurements it prints the peak memory of this process for the shape named by
//! `LORASWEEP_BENCH_MEMORY`, measured alone: criterion's own runs of other shapes would hide it.
//!
//! With `LORASWEEP_BENCH_CUDA=1` it measures a larger model in bf16 on the first GPU instead.

use std::path::Path;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spec::{BaseSettings, InitLoraWeights, TargetModule};
use trainer::adapter::AdapterLayout;
use trainer::backend::cpu::Cpu;
use trainer::backend::cuda::{Cuda, Numbers};
use trainer::backend::{AdamWStep, AdamWUpdate, Backend};
use trainer::decoder::{ActiveAdapter, Decoder, Rows};
use trainer::model::Model;

/// Shape of a decoder and of a step.
struct Shape {
    name: &'static str,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    ffn: usize,
    vocab: usize,
    /// Adapters that share the step.
    slots: usize,
    /// Sequences of each adapter.
    batch: usize,
    tokens: usize,
    /// How the file stores the weights.
    dtype: DType,
}

const LARGE: Shape = Shape {
    name: "hidden 512 x 8 layers, 4 x 128 tokens",
    hidden: 512,
    layers: 8,
    heads: 8,
    kv_heads: 4,
    ffn: 1408,
    vocab: 8192,
    slots: 1,
    batch: 4,
    tokens: 128,
    dtype: DType::F32,
};
const LARGE_BF16: Shape = Shape {
    name: "hidden 512 x 8 layers, 4 x 128 tokens, bf16 weights",
    dtype: DType::BF16,
    ..LARGE
};
const LARGE_PACKED: Shape = Shape {
    name: "hidden 512 x 8 layers, 8 adapters of 1 x 64 tokens",
    slots: 8,
    batch: 1,
    tokens: 64,
    ..LARGE
};
const LARGE_SHORT: Shape =
    Shape { name: "hidden 512 x 8 layers, 1 x 64 tokens", batch: 1, tokens: 64, ..LARGE };
const SMALL: Shape = Shape {
    name: "hidden 128 x 4 layers, 4 x 128 tokens",
    hidden: 128,
    layers: 4,
    heads: 4,
    kv_heads: 2,
    ffn: 512,
    vocab: 1024,
    ..LARGE
};
const SMALL_PACKED: Shape = Shape {
    name: "hidden 128 x 4 layers, 8 adapters of 1 x 64 tokens",
    slots: 8,
    batch: 1,
    tokens: 64,
    ..SMALL
};
const SMALL_SHORT: Shape =
    Shape { name: "hidden 128 x 4 layers, 1 x 64 tokens", batch: 1, tokens: 64, ..SMALL };

const GPU: Shape = Shape {
    name: "bf16, hidden 2048 x 16 layers, 1 x 512 tokens",
    hidden: 2048,
    layers: 16,
    heads: 32,
    kv_heads: 8,
    ffn: 5632,
    vocab: 32_000,
    dtype: DType::BF16,
    slots: 1,
    batch: 1,
    tokens: 512,
};
const GPU_PACKED_8: Shape =
    Shape { name: "bf16, hidden 2048 x 16 layers, 8 adapters of 1 x 512 tokens", slots: 8, ..GPU };
const GPU_PACKED_16: Shape = Shape {
    name: "bf16, hidden 2048 x 16 layers, 16 adapters of 1 x 512 tokens",
    slots: 16,
    ..GPU
};

struct Slot<T> {
    layout: AdapterLayout,
    params: T,
    grad: T,
    first: T,
    second: T,
}

impl<T> Slot<T> {
    const fn update(&mut self, step: AdamWStep) -> AdamWUpdate<'_, T> {
        AdamWUpdate {
            params: &mut self.params,
            grad: &mut self.grad,
            first_moment: &mut self.first,
            second_moment: &mut self.second,
            rate_factors: None,
            step,
        }
    }
}

struct Step<B: Backend> {
    decoder: Decoder<B>,
    slots: Vec<Slot<B::Tensor>>,
    rows: Rows,
    rows_per_slot: usize,
}

impl<B: Backend> Step<B> {
    fn new(shape: &Shape, backend: B) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write_random_model(shape, dir.path());
        let model =
            Model::load(&backend, dir.path(), &BaseSettings::default()).expect("the model loads");
        let layout = AdapterLayout::new(&model.config, 8, 2.0, &TargetModule::ALL);
        let slots = (0..shape.slots)
            .map(|slot| Slot {
                params: backend
                    .tensor(
                        &layout.initial_values(slot as u64, InitLoraWeights::Default),
                        1,
                        layout.len,
                    )
                    .expect("params"),
                grad: backend.zeros(1, layout.len).expect("zeros"),
                first: backend.zeros(1, layout.len).expect("zeros"),
                second: backend.zeros(1, layout.len).expect("zeros"),
                layout: layout.clone(),
            })
            .collect();
        let mut rows = Rows::default();
        let weight = 1.0 / (shape.batch * (shape.tokens - 1)) as f32;
        for sequence in 0..shape.slots * shape.batch {
            let ids: Vec<u32> = (0..shape.tokens)
                .map(|i| ((sequence * 7919 + i * 104_729) % shape.vocab) as u32)
                .collect();
            rows.push(&ids, &vec![true; shape.tokens], weight);
        }
        let rows_per_slot = shape.batch * shape.tokens;
        Self { decoder: Decoder { backend, model }, slots, rows, rows_per_slot }
    }

    fn take(&mut self) {
        let (mut adapters, mut grads) = (Vec::new(), Vec::new());
        for (i, slot) in self.slots.iter_mut().enumerate() {
            let rows = i * self.rows_per_slot..(i + 1) * self.rows_per_slot;
            let (layout, params) = (&slot.layout, &slot.params);
            adapters.push(ActiveAdapter { layout, params, rows, dropout: None });
            grads.push(&mut slot.grad);
        }
        self.decoder.train(&self.rows, &adapters, &mut grads, false).expect("a step");
        let step = AdamWStep {
            learning_rate: 1e-4,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            step: 1,
            grad_scale: 1.0,
        };
        let backend = &self.decoder.backend;
        let gradients: Vec<_> = self.slots.iter().map(|slot| &slot.grad).collect();
        backend.norms(&gradients).expect("norms");
        let mut updates: Vec<_> = self.slots.iter_mut().map(|slot| slot.update(step)).collect();
        backend.adamw(&mut updates).expect("adamw");
    }
}

fn write_random_model(shape: &Shape, dir: &Path) {
    let (d, f, e) = (shape.hidden, shape.ffn, shape.hidden / shape.heads);
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": shape.vocab, "hidden_size": d,
        "intermediate_size": f, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).expect("written");
    let mut tensors = std::collections::HashMap::new();
    let dtype = shape.dtype;
    let mut add = |name: String, shape: &[usize]| {
        let t = Tensor::randn(0.0_f32, 0.05, shape, &Device::Cpu).expect("random");
        tensors.insert(name, t.to_dtype(dtype).expect("narrowed"));
    };
    add("model.embed_tokens.weight".into(), &[shape.vocab, d]);
    add("lm_head.weight".into(), &[shape.vocab, d]);
    add("model.norm.weight".into(), &[d]);
    for layer in 0..shape.layers {
        let kv = shape.kv_heads * e;
        for (part, shape) in [
            ("input_layernorm", vec![d]),
            ("post_attention_layernorm", vec![d]),
            ("self_attn.q_proj", vec![d, d]),
            ("self_attn.k_proj", vec![kv, d]),
            ("self_attn.v_proj", vec![kv, d]),
            ("self_attn.o_proj", vec![d, d]),
            ("mlp.gate_proj", vec![f, d]),
            ("mlp.up_proj", vec![f, d]),
            ("mlp.down_proj", vec![d, f]),
        ] {
            add(format!("model.layers.{layer}.{part}.weight"), &shape);
        }
    }
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).expect("written");
}

/// `VmHWM` of this process in MiB, where the system tells it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

fn measure<B: Backend>(criterion: &mut Criterion, shapes: &[Shape], backend: impl Fn() -> B) {
    let mut group = criterion.benchmark_group("training_step");
    group.sample_size(15).measurement_time(Duration::from_secs(8));
    for shape in shapes {
        let mut step = Step::new(shape, backend());
        group.throughput(Throughput::Elements(step.rows.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(shape.name), |b| {
            b.iter(|| rayon::scope(|_| step.take()));
        });
    }
    group.finish();
}

fn training_step(criterion: &mut Criterion) {
    if std::env::var_os("LORASWEEP_BENCH_MEMORY").is_some() {
        let mut step = Step::new(&LARGE, Cpu::<f32>::new());
        rayon::scope(|_| (0..5).for_each(|_| step.take()));
        println!("peak memory of {}: {:?} MiB", LARGE.name, peak_memory());
    } else if std::env::var_os("LORASWEEP_BENCH_CUDA").is_some() {
        let shapes = [GPU, GPU_PACKED_8, GPU_PACKED_16];
        let gpu = || Cuda::new(0, Numbers::Bf16, usize::MAX).expect("a GPU");
        measure(criterion, &shapes, gpu);
    } else {
        let shapes =
            [LARGE, LARGE_BF16, LARGE_SHORT, LARGE_PACKED, SMALL, SMALL_SHORT, SMALL_PACKED];
        measure(criterion, &shapes, Cpu::<f32>::new);
    }
}

criterion_group!(benches, training_step);
criterion_main!(benches);
