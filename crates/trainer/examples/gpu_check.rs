//! What `scripts/gpu_check.sh` runs on a GPU, one stage a call:
//!
//!     gpu_check goldens                 losses, gradients and training in f32 against transformers + peft
//!     gpu_check bf16                    losses and gradients in bf16
//!     gpu_check races N                 the same packed step N times: every bit the same
//!     gpu_check speed MODEL STEPS N...  tokens a second of N packed adapters (MODEL: tiny, 1.5B, 8B)
//!
//! Each figure is printed as soon as it is known. The model of `speed` has random weights in bf16, which
//! are written to the folder for temporary files.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use spec::{BaseSettings, InitLoraWeights, TargetModule};
use trainer::adapter::AdapterLayout;
use trainer::backend::cuda::{Cuda, Numbers};
use trainer::backend::{AdamWStep, AdamWUpdate, Backend, Linear};
use trainer::decoder::{ActiveAdapter, Decoder, Rows};
use trainer::format::{Bytes, Format, Stored};
use trainer::model::Model;

#[allow(dead_code, unused_imports, reason = "the rest is for tests that run on the processor")]
#[path = "../tests/it/golden.rs"]
mod golden;
#[allow(dead_code, reason = "the rest is for other tests")]
#[path = "../tests/it/support/mod.rs"]
mod support;

type Outcome = Result<(), Box<dyn Error>>;
type Tensor = <Cuda as Backend>::Tensor;

const RANK: usize = 16;
const TOKENS: usize = 512;
/// Values that all matrices of a random model are made of.
const RANDOM: usize = 1_000_003;

/// Shape of a Llama: hidden and feed-forward size, blocks, heads, key/value heads, vocabulary, tokens
/// of a row.
struct Shape {
    hidden: usize,
    ffn: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    tokens: usize,
}

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["goldens"] => goldens(),
        ["bf16"] => bf16(),
        ["races", times] => races(times.parse()?),
        ["speed", model, steps, ref slots @ ..] => {
            let slots: Result<Vec<usize>, _> = slots.iter().map(|n| n.parse()).collect();
            speed(model, steps.parse()?, &slots?)
        }
        _ => Err("gpu_check goldens | bf16 | races N | speed MODEL STEPS N...".into()),
    }
}

fn gpu(numbers: Numbers) -> Result<Cuda, Box<dyn Error>> {
    Ok(Cuda::new(0, numbers, usize::MAX)?)
}

fn goldens() -> Outcome {
    let backend = gpu(Numbers::F32)?;
    println!("device: {}; cuBLAS: {}", backend.gpu().name(), backend.gpu().has_cublas());
    golden::logits_and_losses_agree(|| backend.clone());
    println!("f32 logits and losses: those of transformers + peft");
    golden::gradients_agree(|| backend.clone());
    println!("f32 gradients: those of peft");
    golden::training_agrees(|| backend.clone());
    println!("f32 training, 20 steps: that of peft");
    let without = Cuda::without_cublas(0, Numbers::F32, usize::MAX)?;
    golden::gradients_agree(|| without.clone());
    println!("f32 gradients without cuBLAS: those of peft");
    Ok(())
}

fn bf16() -> Outcome {
    let backend = gpu(Numbers::Bf16)?;
    golden::bf16_agrees(|| backend.clone());
    println!("bf16 losses and gradients: those of peft within bf16's precision");
    Ok(())
}

/// Adapters that share steps of a decoder.
struct Pack {
    decoder: Decoder<Cuda>,
    layout: AdapterLayout,
    slots: Vec<[Tensor; 4]>,
    rows: Rows,
    of_slots: Vec<std::ops::Range<usize>>,
}

impl Pack {
    fn new(
        decoder: Decoder<Cuda>,
        slots: usize,
        tokens: usize,
        vocab: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let layout = AdapterLayout::new(&decoder.model.config, RANK, 2.0, &TargetModule::ALL);
        let backend = &decoder.backend;
        let zeros = || backend.zeros(1, layout.len);
        let slot = |seed: usize| {
            let values = layout.initial_values(seed as u64, InitLoraWeights::Default);
            Ok([backend.tensor(&values, 1, layout.len)?, zeros()?, zeros()?, zeros()?])
        };
        let all = (0..slots).map(slot).collect::<Result<Vec<_>, trainer::TrainerError>>()?;
        let mut rows = Rows::default();
        let of_slots = (0..slots).map(|slot| {
            let token = |i: usize| ((slot * 7919 + i * 104_729) % vocab) as u32;
            let ids: Vec<u32> = (0..tokens).map(token).collect();
            rows.push(&ids, &vec![true; tokens], 1.0 / (tokens - 1) as f32)
        });
        let of_slots = of_slots.collect();
        Ok(Self { decoder, layout, slots: all, rows, of_slots })
    }

    /// A step: forward, backward, norms, `AdamW`. Returns the losses.
    fn step(&mut self) -> Result<Vec<f32>, Box<dyn Error>> {
        let (mut adapters, mut grads) = (Vec::new(), Vec::new());
        for ([params, grad, ..], rows) in self.slots.iter_mut().zip(&self.of_slots) {
            let (layout, params, rows) = (&self.layout, &*params, rows.clone());
            adapters.push(ActiveAdapter { layout, params, rows, dropout: None });
            grads.push(grad);
        }
        let nll = self.decoder.train(&self.rows, &adapters, &mut grads, false)?;
        let backend = &self.decoder.backend;
        let gradients: Vec<&Tensor> = self.slots.iter().map(|[_, grad, ..]| grad).collect();
        backend.norms(&gradients)?;
        let step = AdamWStep {
            learning_rate: 1e-4,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            step: 1,
            grad_scale: 1.0,
        };
        let mut updates = Vec::with_capacity(self.slots.len());
        for [params, grad, first_moment, second_moment] in &mut self.slots {
            updates.push(AdamWUpdate {
                params,
                grad,
                first_moment,
                second_moment,
                rate_factors: None,
                step,
            });
        }
        backend.adamw(&mut updates)?;
        Ok(nll)
    }

    /// Every value that the slots have learnt.
    fn values(&self) -> Result<Vec<u32>, Box<dyn Error>> {
        let mut all = Vec::new();
        for [params, ..] in &self.slots {
            let values = self.decoder.backend.values(params)?;
            all.extend(values.into_iter().map(f32::to_bits));
        }
        Ok(all)
    }
}

/// Three packed steps, time after time: a race shows as another bit somewhere.
fn races(times: usize) -> Outcome {
    let mut first = None;
    for time in 0..times {
        let decoder = support::decoder(gpu(Numbers::Bf16)?, "llama");
        let vocab = decoder.model.config.vocab_size;
        let mut pack = Pack::new(decoder, 16, 40, vocab)?;
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.extend(pack.step()?.into_iter().map(f32::to_bits));
        }
        seen.extend(pack.values()?);
        if *first.get_or_insert_with(|| seen.clone()) != seen {
            return Err(format!("the run {time} gives other numbers than the first").into());
        }
    }
    println!("races: {times} runs of 3 packed steps agree in every bit");
    Ok(())
}

/// Tokens a second of packed steps, and the rate of a large product for comparison.
fn speed(model: &str, steps: usize, packs: &[usize]) -> Outcome {
    let shape = match model {
        "tiny" => {
            Shape { hidden: 64, ffn: 128, layers: 2, heads: 4, kv_heads: 2, vocab: 256, tokens: 24 }
        }
        "1.5B" => Shape {
            hidden: 2048,
            ffn: 5632,
            layers: 28,
            heads: 16,
            kv_heads: 8,
            vocab: 32_000,
            tokens: TOKENS,
        },
        "8B" => Shape {
            hidden: 4096,
            ffn: 14_336,
            layers: 32,
            heads: 32,
            kv_heads: 8,
            vocab: 128_256,
            tokens: TOKENS,
        },
        _ => return Err(format!("no model {model}").into()),
    };
    let backend = gpu(Numbers::Bf16)?;
    println!("{model}: products reach {:.1} TFLOP/s", product_rate(&backend, &shape)? / 1e12);
    let dir = tempfile::tempdir()?;
    let began = Instant::now();
    write_model(&shape, dir.path())?;
    let written = began.elapsed();
    let began = Instant::now();
    let model_on = Model::load(&backend, dir.path(), &BaseSettings::default())?;
    println!(
        "{model}: written in {:.1} s, loaded in {:.1} s",
        written.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    let mut decoder = Decoder { backend, model: model_on };
    for slots in packs {
        let mut pack = Pack::new(decoder, *slots, shape.tokens, shape.vocab)?;
        pack.step()?;
        pack.values()?;
        let before = pack.decoder.backend.gpu().counts()?;
        let began = Instant::now();
        for _ in 0..steps {
            pack.step()?;
        }
        let counts = pack.decoder.backend.gpu().counts()? - before;
        // The optimizer's last step is still queued.
        pack.decoder.backend.values(&pack.slots[0][1])?;
        let seconds = began.elapsed().as_secs_f64() / steps as f64;
        let tokens = pack.rows.len() as f64;
        let values = pack.decoder.model.config.parameters() as f64;
        let per_step = |n: u64| n as f64 / steps as f64;
        println!(
            "{model} x{slots}: {:.0} tokens/s, {:.1} ms a step, {:.1} TFLOP/s of the products, {:.0} \
             launches and {:.0} waits a step, {:.2} GiB",
            tokens / seconds,
            seconds * 1e3,
            // Forward, and backward to the input alone: 4 operations a weight and token.
            4.0 * values * tokens / seconds / 1e12,
            per_step(counts.launches + counts.products),
            per_step(counts.synchronisations),
            pack.decoder.backend.gpu().peak_bytes() as f64 / f64::from(1 << 30),
        );
        decoder = pack.decoder;
    }
    Ok(())
}

/// Operations a second of the largest product of a block over 16 rows of tokens.
fn product_rate(backend: &Cuda, shape: &Shape) -> Result<f64, Box<dyn Error>> {
    let (outputs, inputs, rows) = (2 * shape.ffn, shape.hidden, 16 * shape.tokens);
    let bytes = random(outputs * inputs);
    let stored = Stored::new(Bytes::Owned(bytes.into()), Format::Bf16, outputs, inputs)?;
    let weight = backend.freeze(&[stored])?;
    let layer = Linear { weight, bias: None };
    let probe = backend.zeros(1, 1)?;
    let x = backend.linear_backward(&backend.zeros(rows, outputs)?, &layer)?;
    let times = 20;
    let mut began = Instant::now();
    for time in 0..=times {
        backend.linear(&x, &layer)?;
        if time == 0 || time == times {
            // Reading anything waits for all that is queued.
            backend.values(&probe)?;
        }
        if time == 0 {
            began = Instant::now();
        }
    }
    let operations = 2.0 * (outputs * inputs * rows * times) as f64;
    Ok(operations / began.elapsed().as_secs_f64())
}

/// Small numbers in bf16.
fn random(values: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let value = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let uniform = (state >> 8) as f32 / 16_777_216.0 - 0.5;
        ((0.06 * uniform).to_bits() >> 16) as u16
    };
    (0..values).map(value).flat_map(u16::to_le_bytes).collect()
}

fn write_model(shape: &Shape, dir: &Path) -> Outcome {
    let (d, f, v) = (shape.hidden, shape.ffn, shape.vocab);
    let kv = d / shape.heads * shape.kv_heads;
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": v, "hidden_size": d, "intermediate_size": f,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "tie_word_embeddings": false,
    });
    std::fs::write(dir.join("config.json"), config.to_string())?;
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![v, d]),
        ("lm_head.weight".to_owned(), vec![v, d]),
        ("model.norm.weight".to_owned(), vec![d]),
    ];
    for layer in 0..shape.layers {
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
            tensors.push((format!("model.layers.{layer}.{part}.weight"), shape));
        }
    }
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in &tensors {
        let begin = end;
        end += 2 * shape.iter().product::<usize>();
        let entry =
            serde_json::json!({ "dtype": "BF16", "shape": shape, "data_offsets": [begin, end] });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = BufWriter::new(File::create(dir.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let block = random(RANDOM);
    // Matrices go on where the one before has ended, so that no two are alike.
    let mut at = 0;
    for (_, shape) in &tensors {
        let mut left = 2 * shape.iter().product::<usize>();
        if shape.len() == 1 {
            // Norms multiply by 1.
            file.write_all(&[0x80, 0x3f].repeat(left / 2))?;
            continue;
        }
        while left > 0 {
            let bytes = left.min(block.len() - at);
            file.write_all(&block[at..at + bytes])?;
            at = (at + bytes) % block.len();
            left -= bytes;
        }
    }
    Ok(file.flush()?)
}
