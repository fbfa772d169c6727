//! What fits: models, storage of their weights, packs and sequence lengths on cards and machines of
//! some sizes, from the memory plan; and beside some points what training really took.
//!
//!     cargo run --release -p lorasweep-trainer --example fits            # the tables
//!     cargo run --release -p lorasweep-trainer --example fits measure    # and measured points
//!
//! A measured point trains two steps of a model with random weights on the CPU; it needs disk for
//! the model and some minutes.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use data::{Dataset, Example};
use spec::{
    BaseSettings, ExecutorSettings, LoraVariant, LrScheduler, Quantization, TargetModule,
    TrainSettings, Trainer, Trial, TrialConfig, TrialId,
};
use trainer::backend::cpu::Cpu;
use trainer::engine::{Packed, TrainingSets};
use trainer::format::Format;
use trainer::model::{BaseMemory, BaseStorage, DecoderConfig, Source};
use trainer::plan::{Demand, Packing};

const GIB: f64 = (1_u64 << 30) as f64;
/// Memory of the cards and machines, in GiB.
const SIZES: [u64; 4] = [8, 24, 80, 140];
const PACKS: [usize; 3] = [1, 4, 8];
const LENGTHS: [usize; 2] = [512, 2048];
const RANK: u32 = 16;

/// Shape of a well-known model: hidden and feed-forward size, blocks, heads, key/value heads,
/// vocabulary; whether its head is its embedding.
type Shape = (&'static str, [usize; 6], bool);

const MODELS: [Shape; 6] = [
    ("1B (Llama 3.2)", [2048, 8192, 16, 32, 8, 128_256], true),
    ("3B (Llama 3.2)", [3072, 8192, 28, 24, 8, 128_256], true),
    ("8B (Llama 3.1)", [4096, 14_336, 32, 32, 8, 128_256], false),
    ("14B (Qwen3)", [5120, 17_408, 40, 40, 8, 151_936], false),
    ("32B (Qwen3)", [5120, 25_600, 64, 64, 8, 151_936], false),
    ("70B (Llama 3.3)", [8192, 28_672, 80, 64, 8, 128_256], false),
];

/// A way to store weights: the file's format, and the quantisation of the linear layers.
type Storage = (&'static str, Format, Option<Quantization>);

const STORAGES: [Storage; 3] = [
    ("f32", Format::F32, None),
    ("bf16", Format::Bf16, None),
    ("nf4", Format::Bf16, Some(Quantization::Nf4)),
];

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    println!(
        "GiB that training takes by the memory plan, and in brackets the smallest of {SIZES:?} GiB \
         that it\nfits on with a tenth to spare (`-`: none). Rank {RANK}, all linear layers, \
         batches of one row; steps of\nat least one row, activations computed again where that is \
         needed."
    );
    let gpu = |value_bytes| BaseStorage::Gpu { value_bytes };
    table("A GPU; activations in bf16, but for f32 weights in f32", &|format| {
        gpu(if format == Format::F32 { 4 } else { 2 })
    })?;
    table("A CPU; activations in f32", &|_| BaseStorage::Cpu)?;
    if std::env::args().nth(1).as_deref() == Some("measure") {
        println!(
            "\nMeasured on the CPU ({} threads): one adapter, two steps of 512 tokens, predicted \
             and taken GiB",
            rayon::current_num_threads()
        );
        for (model, storage) in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)] {
            measure(&MODELS[model], &STORAGES[storage])?;
        }
    }
    Ok(())
}

fn table(
    title: &str,
    on: &dyn Fn(Format) -> BaseStorage,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    println!("\n{title}");
    let columns = PACKS.iter().flat_map(|pack| LENGTHS.map(|length| format!("{pack} x {length}")));
    let head = columns.map(|column| format!("{column:>14}")).collect::<Vec<_>>().concat();
    println!("{:<17}{:<6}{:>7}{head}", "model", "base", "weights");
    for shape in &MODELS {
        for storage in &STORAGES {
            let config = config(shape)?;
            let (name, format, quantization) = *storage;
            let base = BaseMemory::of(&config, shape.2, on(format), |_, is_linear| {
                Ok(match quantization {
                    Some(Quantization::Nf4) if is_linear => Format::Nf4,
                    _ => format,
                })
            })?;
            let cells = PACKS.iter().flat_map(|pack| LENGTHS.map(|length| (*pack, length)));
            let cells = cells
                .map(|cell| format!("{:>14}", fit(&config, base, on(format), cell)))
                .collect::<Vec<_>>()
                .concat();
            println!("{:<17}{name:<6}{:>7.1}{cells}", shape.0, base.bytes as f64 / GIB);
        }
    }
    Ok(())
}

/// The least memory on which so many trials of such rows train at a time.
fn fit(
    config: &DecoderConfig,
    base: BaseMemory,
    on: BaseStorage,
    (pack, length): (usize, usize),
) -> String {
    let trials = vec![trial(1).config; pack];
    let (train_set, train) = (rows(8, length, config), TrainSettings::default());
    let demand = Demand {
        config,
        base,
        on,
        trials: &trials,
        train_set: &train_set,
        eval_tokens: length as u64,
        train: &train,
        answers: None,
    };
    let executor =
        ExecutorSettings { max_packed: Some(pack as u32), ..ExecutorSettings::default() };
    let fits = |size: &u64| {
        let packing = demand.fit(&executor, Some(size << 30)).ok()?;
        (packing.slots == pack).then_some((packing, *size))
    };
    match SIZES.iter().find_map(fits) {
        Some((packing, size)) => {
            format!("{:.1} ({size})", demand.memory(&packing).total() as f64 / GIB)
        }
        None => "-".to_owned(),
    }
}

fn config(shape: &Shape) -> Result<DecoderConfig, Box<dyn Error + Send + Sync>> {
    Ok(DecoderConfig::parse(&config_json(shape))?)
}

fn config_json((_, [d, f, layers, heads, kv_heads, vocab], is_tied): &Shape) -> String {
    serde_json::json!({
        "model_type": "llama", "vocab_size": vocab, "hidden_size": d, "intermediate_size": f,
        "num_hidden_layers": layers, "num_attention_heads": heads, "head_dim": 128.min(d / heads),
        "num_key_value_heads": kv_heads, "tie_word_embeddings": is_tied,
    })
    .to_string()
}

fn rows(count: usize, length: usize, config: &DecoderConfig) -> Dataset {
    let example = |row: usize| Example {
        input_ids: (0..length).map(|i| ((row * 31 + i * 7) % config.vocab_size) as u32).collect(),
        loss_mask: vec![true; length],
    };
    Dataset { examples: (0..count).map(example).collect() }
}

fn trial(id: u32) -> Trial {
    let config = TrialConfig {
        rank: RANK,
        lora_alpha: 32.0,
        lora_dropout: 0.0,
        use_rslora: false,
        target_modules: TargetModule::ALL.to_vec(),
        learning_rate: 1e-4,
        batch_size: 1,
        epochs: 1,
        lr_scheduler: LrScheduler::Constant,
        warmup_ratio: 0.0,
        weight_decay: 0.0,
        seed: 1,
        variant: LoraVariant::default(),
        quantization: None,
    };
    Trial { id: TrialId(id), config }
}

/// Trains two steps of one adapter on a random model and prints what was predicted and taken.
fn measure(shape: &Shape, storage: &Storage) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (name, format, quantization) = *storage;
    let dir = tempfile::tempdir()?;
    write_model(shape, format, dir.path())?;
    let base = BaseSettings { weights: None, quantization };
    let config = DecoderConfig::read(dir.path())?;
    let (train_set, train) = (rows(2, 512, &config), TrainSettings::default());
    let trials = [trial(1).config];
    let packing = Packing { slots: 1, recompute: true, ..Packing::default() };
    let demand = Demand {
        config: &config,
        base: Source::open(dir.path(), &base)?.memory(BaseStorage::Cpu)?,
        on: BaseStorage::Cpu,
        trials: &trials,
        train_set: &train_set,
        eval_tokens: 512,
        train: &train,
        answers: None,
    };
    let predicted = demand.memory(&packing);
    let data = TrainingSets {
        validation: rows(1, 512, &config),
        train: train_set.clone(),
        ..TrainingSets::default()
    };
    let loading = std::time::Instant::now();
    let mut engine = Packed::load(Cpu::<f32>::new(), dir.path(), &base, data, &train, packing)?;
    let loading = loading.elapsed();
    engine.admit(&trial(1), None)?;
    let started = std::time::Instant::now();
    engine.step()?;
    let step = started.elapsed();
    engine.step()?;
    let taken = engine.backend().peak_bytes() as f64 / GIB;
    let predicted = (predicted.base + predicted.slots + predicted.activations) as f64 / GIB;
    println!(
        "{:<17}{name:<6}{predicted:>7.2} predicted {taken:>7.2} taken; loaded in {:.0} s, a step in \
         {:.0} s",
        shape.0,
        loading.as_secs_f64(),
        step.as_secs_f64()
    );
    Ok(())
}

/// Random weights in shards of one block each, written one after the other.
fn write_model(
    shape: &Shape,
    format: Format,
    dir: &Path,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (_, [d, f, layers, heads, kv_heads, vocab], is_tied) = *shape;
    let head_dim = 128.min(d / heads);
    std::fs::write(dir.join("config.json"), config_json(shape))?;
    let mut weight_map = HashMap::new();
    let dtype = format.dtype().unwrap_or(DType::F32);
    let mut shard = |number: usize,
                     tensors: Vec<(String, Vec<usize>)>|
     -> Result<(), Box<dyn Error + Send + Sync>> {
        let file = format!("part-{number}.safetensors");
        let mut written = HashMap::new();
        for (name, shape) in tensors {
            let tensor = Tensor::randn(0.0_f32, 0.02, shape, &Device::Cpu)?.to_dtype(dtype)?;
            weight_map.insert(name.clone(), file.clone());
            written.insert(name, tensor);
        }
        candle_core::safetensors::save(&written, dir.join(file))?;
        Ok(())
    };
    let mut tables = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocab, d]),
        ("model.norm.weight".to_owned(), vec![d]),
    ];
    if !is_tied {
        tables.push(("lm_head.weight".to_owned(), vec![vocab, d]));
    }
    shard(0, tables)?;
    for layer in 0..layers {
        let parts = [
            ("input_layernorm", vec![d]),
            ("post_attention_layernorm", vec![d]),
            ("self_attn.q_proj", vec![heads * head_dim, d]),
            ("self_attn.k_proj", vec![kv_heads * head_dim, d]),
            ("self_attn.v_proj", vec![kv_heads * head_dim, d]),
            ("self_attn.o_proj", vec![d, heads * head_dim]),
            ("mlp.gate_proj", vec![f, d]),
            ("mlp.up_proj", vec![f, d]),
            ("mlp.down_proj", vec![d, f]),
        ];
        let named =
            parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape));
        shard(layer + 1, named.to_vec())?;
    }
    let index = serde_json::json!({ "weight_map": weight_map });
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string())?;
    Ok(())
}
