//! Generated tokens against transformers + peft, and against the decoder without a cache.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::{DType, Device};
use serde::Deserialize;
use spec::{BaseSettings, Quantization, TargetModule};
use trainer::adapter::AdapterLayout;
use trainer::backend::Backend;
use trainer::backend::candle::CandleBackend;
use trainer::backend::cpu::Cpu;
use trainer::decoder::{Decoder, Past, Rows};
use trainer::generate::{
    Finish, GenerateOptions, Generated, PlacedAdapter, Progress, Prompt, Sampling,
};
use trainer::model::Model;
use trainer::peft;

use crate::quantised::random_model;
use crate::support::{ARCHITECTURES, Adapter, decoder, golden_dir};

/// `scripts/golden/make_generation_golden.py` writes it.
#[derive(Deserialize)]
struct Golden {
    max_new_tokens: usize,
    models: BTreeMap<String, OfModel>,
}

#[derive(Deserialize)]
struct OfModel {
    prompts: Vec<Vec<u32>>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    end: u32,
    /// With the end token, where there is one.
    tokens: Vec<Vec<u32>>,
}

fn golden() -> Golden {
    let path = golden_dir("").join("../golden_generation/greedy.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("greedy.json")).expect("greedy.json")
}

fn placed<B: Backend>(decoder: &Decoder<B>, architecture: &str, case: &str) -> PlacedAdapter<B> {
    let dir = golden_dir(architecture).join(case);
    let loaded = peft::load(&dir, &decoder.model.config).expect("the golden adapter loads");
    let params = decoder.backend.tensor(&loaded.values, 1, loaded.layout.len).expect("params");
    PlacedAdapter { layout: loaded.layout, params }
}

fn prompts(of: &[Vec<u32>], adapter: Option<usize>) -> Vec<Prompt> {
    of.iter().map(|tokens| Prompt { tokens: tokens.clone(), adapter }).collect()
}

fn generate<B: Backend>(
    decoder: &Decoder<B>,
    adapters: &[PlacedAdapter<B>],
    prompts: &[Prompt],
    options: &GenerateOptions,
) -> Vec<Generated> {
    let all = &mut |_, _| ControlFlow::Continue(());
    decoder.generate(adapters, prompts, options, all).expect("answers")
}

fn options(max_new_tokens: usize, end_tokens: Vec<u32>) -> GenerateOptions {
    GenerateOptions { max_new_tokens, end_tokens, ..GenerateOptions::default() }
}

/// What transformers gives without the end token, and whether there was one.
fn expected(tokens: &[u32], end: u32) -> (Vec<u32>, Finish) {
    match tokens.split_last() {
        Some((last, before)) if *last == end => (before.to_vec(), Finish::End),
        _ => (tokens.to_vec(), Finish::Length),
    }
}

#[test]
fn greedy_tokens_of_every_architecture_equal_transformers_and_peft() {
    let golden = golden();
    assert!(ARCHITECTURES.iter().all(|name| golden.models.contains_key(*name)));
    for (architecture, of_model) in &golden.models {
        let decoder = decoder(Cpu::<f32>::new(), architecture);
        for (name, case) in &of_model.cases {
            let adapters: Vec<_> = (name != "base")
                .then(|| placed(&decoder, architecture, name))
                .into_iter()
                .collect();
            let prompts = prompts(&of_model.prompts, (name != "base").then_some(0));
            // All at once, and in two places that five prompts take in turn.
            for sequences in [8, 2] {
                let options =
                    GenerateOptions { sequences, ..options(golden.max_new_tokens, vec![case.end]) };
                let ours = generate(&decoder, &adapters, &prompts, &options);
                for (ours, theirs) in ours.iter().zip(&case.tokens) {
                    let (tokens, finish) = expected(theirs, case.end);
                    assert_eq!(ours.tokens, tokens, "{architecture} {name}, {sequences} at once");
                    assert_eq!(ours.finish, finish, "{architecture} {name}");
                }
                assert_eq!(ours.len(), case.tokens.len());
            }
        }
    }
}

#[test]
fn adapters_that_generate_together_write_what_each_writes_alone() {
    let golden = golden();
    for (architecture, of_model) in &golden.models {
        let decoder = decoder(Cpu::<f32>::new(), architecture);
        let names: Vec<&String> = of_model.cases.keys().filter(|name| *name != "base").collect();
        let adapters: Vec<_> =
            names.iter().map(|name| placed(&decoder, architecture, name)).collect();
        // The prompts of the adapters and of the base come mixed.
        let places: Vec<Option<usize>> =
            std::iter::once(None).chain((0..names.len()).map(Some)).collect();
        let mixed: Vec<Prompt> = of_model
            .prompts
            .iter()
            .flat_map(|tokens| {
                places.iter().map(|adapter| Prompt { tokens: tokens.clone(), adapter: *adapter })
            })
            .collect();
        let all =
            generate(&decoder, &adapters, &mixed, &options(golden.max_new_tokens, Vec::new()));
        for (prompt, ours) in mixed.iter().zip(&all) {
            let name = prompt.adapter.map_or("base", |place| names[place]);
            let case = &of_model.cases[name];
            let at = of_model.prompts.iter().position(|p| *p == prompt.tokens).expect("a prompt");
            let (theirs, _) = expected(&case.tokens[at], case.end);
            assert_eq!(ours.tokens[..theirs.len()], theirs, "{architecture} {name}");
        }
    }
}

/// The most likely tokens by the decoder that keeps nothing.
fn without_a_cache<B: Backend>(
    decoder: &Decoder<B>,
    adapter: Option<&Adapter<B>>,
    prompt: &[u32],
    count: usize,
) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let mut rows = Rows::default();
        rows.push(&tokens, &vec![false; tokens.len()], 0.0);
        let active: Vec<_> = adapter.iter().map(|a| a.active(0..rows.len())).collect();
        let logits = decoder.logits(&rows, &active, &[rows.len() - 1]).expect("logits");
        let best = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        tokens.push(best.expect("a vocabulary") as u32);
    }
    tokens.split_off(prompt.len())
}

#[test]
fn a_quantised_base_writes_the_same_with_a_cache_and_without() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    random_model(dir.path());
    for quantization in Quantization::ALL {
        let base = BaseSettings { weights: None, quantization: Some(quantization) };
        for backend in [Cpu::<f32>::new(), Cpu::<f32>::new().keeping_formats_from(0)] {
            let model =
                Model::load(&backend, dir.path(), &base).expect("the model loads quantised");
            let decoder = Decoder { backend, model };
            let modules = [TargetModule::QProj, TargetModule::DownProj];
            let layout = AdapterLayout::new(&decoder.model.config, 3, 2.0, &modules);
            let values: Vec<f32> = (0..layout.len).map(|i| (i as f32).sin() / 16.0).collect();
            let adapter = Adapter::new(&decoder, layout.clone(), &values);
            let params = decoder.backend.tensor(&values, 1, layout.len).expect("params");
            let adapters = [PlacedAdapter { layout, params }];
            let asked = [vec![1, 5, 9, 20, 33, 7], vec![1, 30], vec![1, 8, 8, 12]];
            let ours =
                generate(&decoder, &adapters, &prompts(&asked, Some(0)), &options(10, Vec::new()));
            for (prompt, ours) in asked.iter().zip(ours) {
                let theirs = without_a_cache(&decoder, Some(&adapter), prompt, 10);
                assert_eq!(ours.tokens, theirs, "{quantization:?}");
            }
        }
    }
}

#[test]
fn sampled_answers_depend_on_the_seed_and_the_prompt_and_not_on_the_company() {
    let decoder = decoder(Cpu::<f32>::new(), "llama");
    let sampling = Sampling { temperature: 1.0, top_k: Some(20), top_p: Some(0.9), seed: 3 };
    let of = |seed, sequences| {
        let options = GenerateOptions {
            sampling: Some(Sampling { seed, ..sampling }),
            sequences,
            ..options(12, Vec::new())
        };
        let asked = vec![vec![1, 4, 7]; 5];
        generate(&decoder, &[], &prompts(&asked, None), &options)
    };
    let together = of(3, 8);
    assert_eq!(together, of(3, 1));
    assert_ne!(together, of(4, 8));
    assert!(together.iter().any(|answer| *answer != together[0]));
}

#[test]
fn an_answer_ends_where_its_reader_has_had_enough() {
    let decoder = decoder(Cpu::<f32>::new(), "llama");
    let asked = prompts(&[vec![1, 4, 7], vec![1, 9]], None);
    let (mut seen, mut ended) = (vec![Vec::new(); 2], Vec::new());
    let answers = decoder
        .generate(&[], &asked, &options(9, Vec::new()), &mut |prompt, progress| {
            match progress {
                Progress::Token(token) => seen[prompt].push(token),
                Progress::End(finish) => ended.push((prompt, finish)),
            }
            if prompt == 0 && seen[0].len() == 3 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .expect("answers");
    assert_eq!(answers.iter().map(|a| a.tokens.len()).collect::<Vec<_>>(), [3, 9]);
    assert_eq!(
        answers.iter().map(|a| a.finish).collect::<Vec<_>>(),
        [Finish::Stopped, Finish::Length]
    );
    assert_eq!(ended, [(0, Finish::Stopped), (1, Finish::Length)]);
    assert_eq!(seen, answers.into_iter().map(|a| a.tokens).collect::<Vec<_>>());
    assert!(
        generate(&decoder, &[], &asked, &options(0, Vec::new()))
            .iter()
            .all(|a| a.tokens.is_empty())
    );
}

#[test]
fn where_memory_is_short_fewer_sequences_share_a_step_and_write_the_same() {
    let asked: Vec<Vec<u32>> = (0..40).map(|i| vec![1 + i % 30; 60]).collect();
    // Small steps, so that what is kept of the sequences is most of the memory.
    let options = GenerateOptions { tokens_per_step: 64, ..options(40, Vec::new()) };
    let wide = decoder(Cpu::<f32>::new(), "llama");
    let all = generate(&wide, &[], &prompts(&asked, None), &options);
    let peak = wide.backend.peak_bytes();
    let of_one = Past::<Cpu<f32>>::bytes(&wide.model.config, 100);
    for room in [peak / 2, peak / 3] {
        assert!(room < 40 * of_one, "{room} bytes hold all sequences of {of_one}");
        let tight = decoder(Cpu::<f32>::with_limit(room), "llama");
        assert_eq!(generate(&tight, &[], &prompts(&asked, None), &options), all);
        assert!(tight.backend.peak_bytes() <= room);
    }
}

#[test]
fn an_adapter_that_diverged_ends_its_own_answers_alone() {
    let decoder = decoder(Cpu::<f32>::new(), "llama");
    let whole = placed(&decoder, "llama", "adapter");
    let values = vec![f32::NAN; whole.layout.len];
    let params = decoder.backend.tensor(&values, 1, values.len()).expect("params");
    let broken = PlacedAdapter { layout: whole.layout.clone(), params };
    let adapters = [whole, broken];
    let asked = [vec![1, 4, 7], vec![1, 9]];
    let mixed = [prompts(&asked, Some(0)), prompts(&asked, Some(1))].concat();
    let answers = generate(&decoder, &adapters, &mixed, &options(6, Vec::new()));
    let alone = generate(&decoder, &adapters, &mixed[..2], &options(6, Vec::new()));
    assert_eq!(answers[..2], alone);
    assert!(answers[2..].iter().all(|a| a.finish == Finish::NotFinite && a.tokens.is_empty()));
}

#[test]
fn a_backend_that_cannot_generate_says_so() {
    let backend = CandleBackend::new(Device::Cpu, DType::F32);
    let decoder = decoder(backend, "llama");
    let error = decoder
        .generate(&[], &prompts(&[vec![1, 2]], None), &options(2, Vec::new()), &mut |_, _| {
            ControlFlow::Continue(())
        })
        .expect_err("no generation")
        .to_string();
    assert!(error.contains("device: cpu"), "{error}");
}
