//! Sweep files that are right: what they resolve to, and what they are warned of.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use spec::{
    BaseForm, Brackets, CommandValue, DeviceChoice, EarlyTerminate, ExecutorKind, Goal, Ignored,
    InitLoraWeights, LrScheduler, MeasureEvery, Method, Parameter, PathKind, Quantization, Score,
    Shape, SlurmSettings, Sweep, TargetModule, TrialConfig, ValidationSource, example, resolve,
};

const HEAD: &str = "method: random\nrun_cap: 9\nmodel: base\ndata: {train: rows.jsonl}\n";

fn look(path: &Path) -> PathKind {
    match path.extension() {
        Some(_) => PathKind::File,
        None => PathKind::Folder,
    }
}

fn sweep(text: &str) -> Sweep {
    resolve(text, Path::new("sweeps/x.yaml"), &look).unwrap_or_else(|errors| panic!("{errors}"))
}

fn with_parameters(lines: &str) -> Sweep {
    sweep(&format!("{HEAD}parameters:\n{lines}"))
}

#[test]
fn the_example_resolves_without_a_warning_and_states_the_defaults() {
    let example = sweep(&example());
    assert_eq!(example.warnings, []);
    assert_eq!(example.space.grid_size(), Some(18));
    let bare = sweep("method: grid\nmodel: m\ndata: {train: t.jsonl}\nparameters: {}\n");
    assert_eq!(example.train, bare.train);
    assert_eq!(example.executor, bare.executor);
    assert_eq!(example.report, bare.report);
    assert_eq!(example.seed, bare.seed);
    for parameter in Parameter::ALL {
        let swept = [Parameter::Rank, Parameter::LearningRate, Parameter::BatchSize];
        if !swept.contains(&parameter) {
            let (a, b) = (example.space.grid_config(0), bare.space.grid_config(0));
            let value = |config| {
                serde_json::to_value(config).expect("plain data")[parameter.name()].clone()
            };
            // Alpha is a multiple of the rank, which the example varies.
            if parameter == Parameter::LoraAlpha {
                assert_eq!(a.lora_alpha / f64::from(a.rank), b.lora_alpha / f64::from(b.rank));
            } else {
                assert_eq!(value(a), value(b), "{parameter}");
            }
        }
    }
}

#[test]
fn what_the_example_has_in_comments_is_valid_too() {
    let keys = [
        "target",
        "quantization",
        "micro_batch_size",
        "eval_steps",
        "eval_train_examples",
        "layers_to_transform",
        "rank_pattern",
        "alpha_pattern",
        "max_packed",
        "early_terminate",
        "  type",
        "  min_iter",
        "  eta",
        "  strict",
    ];
    let uncomment = |line: &str| {
        let (indent, rest) = line.split_once("# ").unwrap_or(("", line));
        let key = rest.split_once(':').map_or("", |(key, _)| key);
        // One of two ways to say it; the other test has this one.
        let is_swept = rest.starts_with("quantization: [");
        let commented = line.trim_start().starts_with('#') && keys.contains(&key) && !is_swept;
        if commented { format!("{indent}{rest}\n") } else { format!("{line}\n") }
    };
    let sweep = sweep(&example().lines().map(uncomment).collect::<String>());
    assert!(sweep.early_terminate.is_some() && sweep.metric.target.is_some());
    assert_eq!(sweep.base.quantization, Some(Quantization::Nf4));
    assert!(sweep.train.eval.eval_steps.is_some() && sweep.train.eval.train_subset.is_some());
    assert!(sweep.train.micro_batch_size.is_some() && sweep.executor.max_packed.is_some());
}

#[test]
fn a_metric_is_a_name_or_a_section_and_has_a_goal_of_its_own() {
    let metric = |lines: &str| with_parameters(&format!("  rank: 8\n{lines}")).metric;
    let by_loss = metric("");
    assert_eq!((by_loss.name.as_str(), by_loss.goal), ("eval_loss", Goal::Minimize));
    assert_eq!(by_loss, metric("metric: eval_loss\n"));
    // What is in the fingerprints of sweeps of earlier versions.
    let written = serde_json::to_value(&by_loss).expect("plain data");
    let before = serde_json::json!({"name": "eval_loss", "goal": "minimize", "target": null});
    assert_eq!(written, before);

    for name in spec::SCORES.iter().filter(|name| **name != "regex_match") {
        let short = metric(&format!("metric: {name}\n"));
        assert_eq!((short.name.as_str(), short.goal), (*name, Goal::Maximize));
        assert_eq!(short, metric(&format!("metric: {{name: {name}, goal: maximize}}\n")));
    }
    let answers = metric(
        "metric:\n  name: regex_match\n  pattern: '(\\d+)'\n  normalise: [case, articles]\n  \
         measure: [exact_match, {name: number_match, tolerance: 0.5}, {name: mine, command: judge}]\n  \
         examples: 60\n  every: best\n  max_new_tokens: 9\n  stop: [\"\\n\", x]\n",
    )
    .answers
    .expect("it measures answers");
    let names: Vec<&str> = answers.scores.iter().map(|score| score.name.as_str()).collect();
    assert_eq!(names, ["regex_match", "exact_match", "number_match", "mine"]);
    let normalise = Ignored { case: true, articles: true, ..Ignored::default() };
    assert_eq!(answers.scores[0].score, Score::RegexMatch { pattern: "(\\d+)".into(), normalise });
    assert_eq!(answers.scores[2].score, Score::NumberMatch { tolerance: 0.5 });
    assert_eq!(answers.judges().collect::<Vec<_>>(), [("mine", "judge")]);
    assert_eq!((answers.examples, answers.every), (60, MeasureEvery::Best));
    assert_eq!((answers.max_new_tokens, answers.stop), (9, vec!["\n".to_owned(), "x".to_owned()]));
}

#[test]
fn a_metric_beside_the_loss_does_not_choose() {
    let sweep = with_parameters("  rank: 8\nmetric: {measure: exact_match}\n");
    assert!(sweep.metric.objective().is_loss());
    assert_eq!(sweep.metric.answers.expect("it is measured").scores.len(), 1);
}

#[test]
fn whoever_trains_elsewhere_has_metrics_of_any_name() {
    for executor in ["{type: external}", "{type: command, command: \"train {{rank}}\"}"] {
        let sweep = with_parameters(&format!(
            "  rank: 8\nmetric: {{name: bleu/4, goal: maximize, target: -2}}\nexecutor: {executor}\n"
        ));
        let objective = sweep.metric.objective();
        assert_eq!((objective.metric.as_str(), objective.goal), ("bleu/4", Goal::Maximize));
        assert_eq!((sweep.metric.target, sweep.metric.answers), (Some(-2.0), None));
    }
}

#[test]
fn the_forms_of_the_base_can_be_a_parameter() {
    let swept = sweep(&example().replace("  # quantization: [", "  quantization: ["));
    let nf4 = BaseForm::Quantized(Quantization::Nf4);
    assert_eq!(swept.space.base_forms(), [Some(BaseForm::AsStored), Some(nf4)]);
    assert_eq!(swept.space.grid_size(), Some(36));
    let swept = with_parameters("  quantization: {values: [int8, none]}\n");
    // The weights as they are stored are what the others are measured against.
    let forms = swept.bases().into_iter().map(|base| base.quantization);
    assert_eq!(forms.collect::<Vec<_>>(), [None, Some(Quantization::Int8)]);
    let written: Vec<_> = (0..2)
        .map(|at| serde_json::to_value(swept.space.grid_config(at)).expect("plain data"))
        .map(|config| config["quantization"].clone())
        .collect();
    assert!(written.contains(&"none".into()) && written.contains(&"int8".into()), "{written:?}");
    let one = with_parameters("  quantization: nf4\n");
    assert_eq!(one.bases()[0].quantization, Some(Quantization::Nf4));
    assert_ne!(one.fingerprint(), swept.fingerprint());
}

#[test]
fn a_sweep_without_forms_of_the_base_is_what_it_was_before_there_were_any() {
    let config = with_parameters("  rank: [4, 8]\n").space.grid_config(0);
    let written = serde_json::to_value(&config).expect("plain data");
    assert_eq!(written.get("quantization"), None);
    let read: TrialConfig = serde_json::from_value(written).expect("a configuration");
    assert_eq!(read.key(), config.key());
    let on_nf4 = TrialConfig { quantization: Some(BaseForm::Quantized(Quantization::Nf4)), ..read };
    assert_ne!(on_nf4.key(), config.key());
    let space = with_parameters("  rank: [4, 8]\n").space;
    assert_eq!(serde_json::to_value(&space).expect("plain data").get("quantization"), None);
}

#[test]
fn files_written_on_windows_are_read() {
    let sweep = sweep(&format!("\u{feff}{HEAD}parameters: {{rank: 8}}\n").replace('\n', "\r\n"));
    assert_eq!(sweep.method, Method::Random);
    let bad = "method: grid\r\nname: a b\r\n";
    let errors = resolve(bad, Path::new("x.yaml"), &look).expect_err("the name is not a folder's");
    assert!(errors.to_string().contains("2 | name: a b\n"), "{errors}");
}

#[test]
fn the_example_explains_every_key() {
    let of_the_base = Parameter::Quantization;
    for parameter in Parameter::ALL.into_iter().filter(|parameter| *parameter != of_the_base) {
        assert!(example().contains(&format!("  {parameter}: ")), "{parameter}");
    }
    for key in [
        "quantization",
        "micro_batch_size",
        "eval_steps",
        "eval_train_examples",
        "layers_to_transform",
        "rank_pattern",
        "alpha_pattern",
        "max_packed",
        "target",
    ] {
        assert!(example().contains(&format!("  # {key}: ")), "{key}");
    }
    for key in ["base_weights", "quantization"] {
        assert!(example().contains(&format!("\n# {key}: ")), "{key}");
    }
}

#[test]
fn parameters_that_are_not_given_have_the_documented_defaults() {
    let config = with_parameters("  {}\n").space.grid_config(0);
    assert_eq!((config.rank, config.lora_alpha, config.lora_dropout), (16, 32.0, 0.0));
    assert_eq!((config.learning_rate, config.batch_size, config.epochs), (2e-4, 8, 3));
    assert_eq!((config.warmup_ratio, config.weight_decay, config.seed), (0.03, 0.0, 42));
    assert_eq!(config.lr_scheduler, LrScheduler::Linear);
    assert_eq!(config.target_modules, TargetModule::ALL);
    assert!(!config.use_rslora);
}

#[test]
fn alpha_may_be_a_multiple_of_the_rank() {
    let space = with_parameters("  rank: [4, 64]\n  lora_alpha: 0.5r\n").space;
    let mut pairs: Vec<(u32, f64)> =
        (0..2).map(|i| space.grid_config(i)).map(|c| (c.rank, c.lora_alpha)).collect();
    pairs.sort_by_key(|(rank, _)| *rank);
    assert_eq!(pairs, [(4, 2.0), (64, 32.0)]);
}

#[test]
fn a_learning_rate_range_without_a_distribution_is_logarithmic_and_warned_of() {
    let sweep = with_parameters("  learning_rate: {min: 1e-5, max: 1e-3}\n");
    let distribution = sweep.space.axis(Parameter::LearningRate).distribution();
    assert_eq!(distribution.map(|d| d.shape), Some(Shape::LogUniform { min: 1e-5, max: 1e-3 }));
    insta::assert_snapshot!(sweep.warnings[0], @r"
    warning: `learning_rate` has a range without a distribution: it is drawn log-uniformly, where W&B would draw uniformly
      --> sweeps/x.yaml:6:3
       = help: write `distribution: log_uniform_values` to say so, or `uniform`
    ");
}

#[test]
fn other_ranges_are_inferred_as_in_wandb() {
    let sweep = with_parameters(
        "  rank: {min: 4, max: 64}\n  lora_dropout: {min: 0.0, max: 0.5}\n  lora_alpha: {min: 8, max: 64}\n",
    );
    let shape = |p| sweep.space.axis(p).distribution().map(|d| d.shape);
    assert_eq!(shape(Parameter::Rank), Some(Shape::IntUniform { min: 4, max: 64 }));
    assert_eq!(shape(Parameter::LoraDropout), Some(Shape::Uniform { min: 0.0, max: 0.5 }));
    assert_eq!(shape(Parameter::LoraAlpha), Some(Shape::IntUniform { min: 8, max: 64 }));
    // Whole ends on a parameter that need not be whole are a trap of W&B's.
    assert_eq!(sweep.warnings.len(), 1);
    assert!(sweep.warnings[0].message.contains("lora_alpha"));
}

#[test]
fn log_uniform_takes_exponents_and_its_relatives_mean_the_same_range() {
    let expected = |min: f64, max: f64| Shape::LogUniform { min, max };
    let shape = |line: &str| {
        let sweep = with_parameters(&format!("  learning_rate: {{{line}}}\n"));
        sweep.space.axis(Parameter::LearningRate).distribution().expect("a range").shape
    };
    let (low, high) = ((-9.0_f64).exp(), (-7.0_f64).exp());
    assert_eq!(shape("distribution: log_uniform, min: -9, max: -7"), expected(low, high));
    assert_eq!(shape("distribution: inv_log_uniform, min: 7, max: 9"), expected(low, high));
    for name in ["log_uniform_values", "inv_log_uniform_values"] {
        let line = format!("distribution: {name}, min: 1e-5, max: 1e-3");
        assert_eq!(shape(&line), expected(1e-5, 1e-3));
    }
}

#[test]
fn whole_number_parameters_give_whole_numbers_whatever_the_distribution() {
    let space = with_parameters(
        "  rank: {distribution: log_uniform_values, min: 2, max: 256}\n  batch_size: {distribution: q_log_normal, mu: 3, sigma: 1, q: 4}\n",
    )
    .space;
    for i in 0..100 {
        let config = space.sample(&[f64::from(i) / 100.0; Parameter::COUNT]);
        assert!((2..=256).contains(&config.rank));
        assert!(
            config.batch_size >= 4 && config.batch_size.is_multiple_of(4),
            "{}",
            config.batch_size
        );
    }
}

#[test]
fn probabilities_weight_the_listed_values() {
    let space =
        with_parameters("  rank: {values: [4, 8, 16], probabilities: [0.5, 0.25, 0.25]}\n").space;
    let at = |u| space.sample(&[u; Parameter::COUNT]).rank;
    assert_eq!([at(0.0), at(0.49), at(0.51), at(0.74), at(0.76), at(0.99)], [4, 4, 8, 8, 16, 16]);
}

#[test]
fn target_modules_are_names_presets_or_several_of_either() {
    let values = |text: &str| {
        let space = with_parameters(&format!("  target_modules: {text}\n")).space;
        let cells = space.grid_size().expect("listed values") as u64;
        let each = |cell| space.grid_config(u128::from(cell)).target_modules;
        let mut values: Vec<Vec<TargetModule>> = (0..cells).map(each).collect();
        values.sort_by_key(Vec::len);
        values
    };
    let (q, v) = (TargetModule::QProj, TargetModule::VProj);
    assert_eq!(values("[v_proj, q_proj]"), [vec![q, v]]);
    assert_eq!(values("v_proj"), [vec![v]]);
    assert_eq!(values("all-linear"), [TargetModule::ALL.to_vec()]);
    assert_eq!(values("[attention, mlp]")[1].len(), 4);
    assert_eq!(values("{values: [[q_proj], all-linear]}")[1].len(), 7);
    assert_eq!(values("{value: [q_proj, v_proj]}"), [vec![q, v]]);
}

#[test]
fn parameters_may_be_fixed_under_train() {
    let sweep = sweep(&format!(
        "{HEAD}parameters: {{rank: [4, 8]}}\ntrain: {{weight_decay: 0.1, lr_scheduler: cosine, seed: 7, max_grad_norm: null}}\n"
    ));
    let config = sweep.space.grid_config(0);
    assert_eq!((config.weight_decay, config.seed), (0.1, 7));
    assert_eq!(config.lr_scheduler, LrScheduler::Cosine);
    assert_eq!(sweep.train.optimizer.max_grad_norm, None);
    assert_eq!(sweep.space.varied(), [Parameter::Rank]);
}

#[test]
fn a_lora_variant_is_written_under_train_and_its_ratio_may_be_swept() {
    let sweep = sweep(&format!(
        "{HEAD}parameters: {{rank: [4, 8], loraplus_lr_ratio: [1, 4, 16]}}\ntrain: {{layers_to_transform: [3, 1], rank_pattern: {{q_proj: 2}}, alpha_pattern: {{layers.0.mlp.up_proj: 9}}, init_lora_weights: orthogonal}}\n"
    ));
    assert_eq!(sweep.space.varied(), [Parameter::Rank, Parameter::LoraplusLrRatio]);
    let configs: Vec<_> = (0..6).map(|cell| sweep.space.grid_config(cell)).collect();
    let variant = &configs[0].variant;
    assert_eq!(variant.layers_to_transform, Some(vec![1, 3]));
    assert_eq!(variant.rank_pattern.get("q_proj"), Some(&2));
    assert_eq!(variant.alpha_pattern.get("layers.0.mlp.up_proj"), Some(&9.0));
    assert_eq!(variant.init_lora_weights, InitLoraWeights::Orthogonal);
    let keys: std::collections::HashSet<_> = configs.iter().map(TrialConfig::key).collect();
    assert_eq!(keys.len(), 6);
    for config in &configs {
        let text = serde_json::to_string(config).expect("JSON");
        assert_eq!(serde_json::from_str::<TrialConfig>(&text).expect("read back"), *config);
        assert_eq!(sweep.space.nearest(config), *config);
    }
}

#[test]
fn plain_lora_leaves_no_trace_in_what_is_written() {
    let sweep = sweep(&format!("{HEAD}parameters: {{rank: [4, 8]}}\n"));
    for text in [
        serde_json::to_string(&sweep.space.grid_config(0)).expect("JSON"),
        serde_json::to_string(&sweep.space).expect("JSON"),
    ] {
        assert!(!text.contains("variant") && !text.contains("loraplus"), "{text}");
    }
}

#[test]
fn paths_start_at_the_sweep_files_folder_and_the_name_is_its_stem() {
    let sweep = with_parameters("  rank: 8\n");
    assert_eq!(sweep.name, "x");
    assert_eq!(sweep.model, PathBuf::from("sweeps/base"));
    assert_eq!(sweep.data.train, PathBuf::from("sweeps/rows.jsonl"));
    assert_eq!(sweep.data.validation, ValidationSource::Fraction(0.1));
}

#[test]
fn settings_read_as_written() {
    let sweep = sweep(
        "name: 2024-01\nmethod: grid\nrun_cap: 3\nseed: 5\nmodel: base\n\
         metric: {name: eval_loss, goal: minimize, target: 1.5}\n\
         data: {train: a.csv, validation: {fraction: 0.2}, retention: c.jsonl, test: d.csv}\n\
         parameters: {rank: 8}\nexecutor: {type: local, devices: cuda:1, max_packed: 2}\n\
         early_terminate: {type: hyperband, max_iter: 27, s: 2}\n",
    );
    assert_eq!(sweep.name, "2024-01");
    assert_eq!((sweep.method, sweep.run_cap, sweep.seed), (Method::Grid, Some(3), 5));
    assert_eq!(sweep.metric.target, Some(1.5));
    assert_eq!(sweep.executor.device, DeviceChoice::Cuda(1));
    assert_eq!(sweep.data.validation, ValidationSource::Fraction(0.2));
    assert_eq!(sweep.data.test, Some(PathBuf::from("sweeps/d.csv")));
    let brackets = Brackets::Below { max_iter: 27, s: 2 };
    let expected = EarlyTerminate::Hyperband { brackets, eta: 3.0, strict: false };
    assert_eq!(sweep.early_terminate, Some(expected));
}

/// The executor of a small sweep whose file ends with these lines, and the warnings.
fn executor(lines: &str) -> (ExecutorKind, Vec<String>) {
    let sweep = sweep(&format!(
        "method: grid\nmodel: base\ndata: {{train: rows.jsonl}}\nparameters: {{rank: 8}}\n{lines}"
    ));
    let warnings = sweep.warnings.iter().map(|warning| warning.message.clone()).collect();
    (sweep.executor.kind, warnings)
}

#[test]
fn a_cluster_is_asked_for_what_the_file_says() {
    let (kind, warnings) = executor(
        "executor:\n  type: slurm\n  partition: gpu,long\n  account: lab\n  qos: high\n  time: 1-12:00\n\
         \x20 gpus_per_node: a100:1\n  cpus_per_task: 8\n  mem: 32GiB\n  constraint: 'a100&ib'\n\
         \x20 exclude: [n7, n8]\n  signal_delay_seconds: 300\n  max_jobs: 4\n\
         \x20 setup:\n    - module load cuda\n    - export A=\"b c\"\n\
         \x20 additional_parameters: {reservation: course, exclusive: true, mail_type: END}\n",
    );
    let text = |text: &str| Some(text.to_owned());
    let expected = SlurmSettings {
        partition: text("gpu,long"),
        account: text("lab"),
        qos: text("high"),
        time: text("1-12:00"),
        gpus_per_node: text("a100:1"),
        gres: None,
        cpus_per_task: Some(8),
        mem: text("32G"),
        constraint: text("a100&ib"),
        exclude: text("n7,n8"),
        setup: vec!["module load cuda".to_owned(), "export A=\"b c\"".to_owned()],
        signal_delay_seconds: 300,
        additional_parameters: [
            ("reservation".to_owned(), text("course")),
            ("exclusive".to_owned(), None),
            ("mail-type".to_owned(), text("END")),
        ]
        .into(),
        max_jobs: 4,
    };
    assert_eq!((kind, warnings), (ExecutorKind::Slurm(Box::new(expected)), Vec::new()));
    let (bare, _) = executor("executor: {type: slurm}\n");
    assert_eq!(bare, ExecutorKind::Slurm(Box::default()));
}

#[test]
fn what_slurm_would_read_otherwise_than_meant_is_warned_of() {
    let (_, warnings) = executor("executor: {type: slurm, time: '4:00', gpus_per_node: 4}\n");
    assert_eq!(
        warnings,
        [
            "Slurm reads `4:00` as minutes and seconds",
            "a worker uses one GPU, but each job would hold 4"
        ]
    );
    for (time, read) in [("90", "90"), ("2-0", "2-0"), ("24:00:00", "24:00:00")] {
        let (kind, warnings) = executor(&format!("executor: {{type: slurm, time: {time}}}\n"));
        let ExecutorKind::Slurm(settings) = kind else { panic!("`type: slurm` is Slurm") };
        assert_eq!((settings.time.as_deref(), warnings.as_slice()), (Some(read), [].as_slice()));
    }
}

#[test]
fn a_sweep_may_move_to_a_cluster_and_keep_its_results() {
    let read = |lines: &str| {
        sweep(&format!(
            "method: grid\nmodel: base\ndata: {{train: rows.jsonl}}\nparameters: {{rank: 8}}\n{lines}"
        ))
    };
    let moved = read("executor: {type: slurm, partition: gpu}\n");
    assert_eq!(read("").fingerprint(), moved.fingerprint());
}

#[test]
fn a_command_has_its_line_and_defaults_and_the_model_may_be_any_name() {
    let text = format!(
        "{}parameters: {{rank: 8}}\nexecutor: {{type: command, command: 'train --r {{{{rank}}}}'}}\n",
        HEAD.replace("base", "someone/some-model"),
    );
    let nothing = |_: &Path| PathKind::Missing;
    let sweep = resolve(&text, Path::new("sweeps/x.yaml"), &nothing).expect("it is right");
    assert_eq!(sweep.model, PathBuf::from("someone/some-model"));
    let ExecutorKind::Command(command) = &sweep.executor.kind else { panic!("not a command") };
    assert_eq!(command.dir, PathBuf::from("sweeps"));
    assert_eq!((command.max_parallel, command.grace_seconds), (1, 30));
    assert_eq!(command.command.render(|value| value.name().to_uppercase()), "train --r RANK");
    assert!(CommandValue::all().any(|value| value.name() == "learning_rate"));
}

#[test]
fn the_planners_have_settings_and_asha_is_another_name_for_hyperband() {
    let read = |lines: &str| {
        sweep(&format!(
            "method: bayes\nrun_cap: 9\nmodel: base\ndata: {{train: rows.jsonl}}\nparameters: {{rank: 8}}\n{lines}"
        ))
    };
    let changed = read(
        "bayes: {lora_prior: false, cost_aware: true}\nrank_ladder: {trials_per_rung: 2, sigma: 3}\nearly_terminate: {type: asha, min_iter: 2}\n",
    );
    assert_eq!((changed.bayes.lora_prior, changed.bayes.cost_aware), (false, true));
    assert_eq!((changed.rank_ladder.trials_per_rung, changed.rank_ladder.sigma), (2, 3.0));
    assert!(matches!(changed.early_terminate, Some(EarlyTerminate::Hyperband { .. })));
    let curve = read("early_terminate: {type: curve}\n").early_terminate;
    assert_eq!(curve, Some(EarlyTerminate::Curve { top: 1, chance: 0.05, min_iter: 2 }));
    let promotes = |lines: &str| read(lines).promote;
    assert!(promotes("early_terminate: {type: curve, promote: true}\n"));
    assert!(!promotes("early_terminate: {type: curve}\n"));
    let print = |lines: &str| read(lines).fingerprint();
    let rule = "early_terminate: {type: median}\n";
    assert_eq!(print(rule), print("early_terminate: {type: median, promote: false}\n"));
    assert_ne!(print(rule), print("early_terminate: {type: median, promote: true}\n"));
    // What another method would use changes no results.
    assert_eq!(read("").fingerprint(), read("rank_ladder: {sigma: 3}\n").fingerprint());
    assert_ne!(read("").fingerprint(), read("bayes: {lora_prior: false}\n").fingerprint());
}

#[test]
fn a_grid_meets_every_combination_once() {
    let space = with_parameters(
        "  rank: [4, 8, 16]\n  learning_rate: [1e-4, 1e-3]\n  epochs: {min: 1, max: 4}\n  lora_dropout: {distribution: q_uniform, min: 0, max: 0.2, q: 0.1}\n",
    )
    .space;
    let size = space.grid_size().expect("every axis can be counted");
    assert_eq!(size, 3 * 2 * 4 * 3);
    let keys: std::collections::HashSet<_> =
        (0..size).map(|i| space.grid_config(i).key()).collect();
    assert_eq!(keys.len() as u128, size);
}

#[test]
fn the_first_trials_of_a_grid_vary_every_parameter() {
    let space =
        with_parameters("  rank: [1, 2, 4]\n  learning_rate: [1e-5, 1e-4, 1e-3, 1e-2]\n").space;
    let first: Vec<_> = (0..4).map(|i| space.grid_config(i)).collect();
    let ranks: std::collections::HashSet<u32> = first.iter().map(|c| c.rank).collect();
    let rates: std::collections::HashSet<u64> =
        first.iter().map(|c| c.learning_rate.to_bits()).collect();
    assert_eq!((ranks.len(), rates.len()), (3, 4));
}

#[test]
fn combinations_that_resolve_to_the_same_trial_count_once() {
    let space =
        with_parameters("  rank: [8, 16]\n  lora_alpha: [16, 2r]\n  epochs: [1, 2]\n").space;
    assert_eq!(space.grid_size(), Some(8));
    assert_eq!(space.distinct_size(), Some(6));
}

#[test]
fn a_configuration_lies_at_the_shares_that_give_it() {
    let space = with_parameters(
        "  rank: {values: [4, 64, 16], probabilities: [0.2, 0.5, 0.3]}\n  lora_alpha: [16, 2r]\n  learning_rate: {distribution: log_uniform_values, min: 1e-4, max: 1e-2}\n  epochs: {min: 1, max: 5}\n  lr_scheduler: [linear, cosine]\n  target_modules: {values: [mlp, attention]}\n",
    )
    .space;
    for i in 0..50 {
        let shares = std::array::from_fn(|axis| f64::from((i * 37 + axis as u32 * 11) % 50) / 50.0);
        let config = space.sample(&shares);
        let again = space.sample(&space.shares_of(&config));
        assert!((again.learning_rate / config.learning_rate - 1.0).abs() < 1e-9);
        assert_eq!(TrialConfig { learning_rate: config.learning_rate, ..again }, config);
    }
    let usual =
        TrialConfig { rank: 20, learning_rate: 5e-5, ..space.sample(&[0.5; Parameter::COUNT]) };
    let nearest = space.nearest(&usual);
    assert_eq!((nearest.rank, nearest.learning_rate), (16, 1e-4));
}

#[test]
fn the_fingerprint_changes_with_results_and_with_nothing_else() {
    let base = format!("{HEAD}parameters: {{rank: 8}}\n");
    let print = |extra: &str| sweep(&format!("{base}{extra}")).fingerprint();
    let own = print("");
    assert_eq!(own.len(), 64);
    assert_eq!(own, print("description: other words\n"));
    assert_eq!(own, print("report: {overfit_sigma: 3}\n"));
    assert_eq!(own, print("executor: {checkpoint_seconds: 5, max_packed: 1}\n"));
    assert_eq!(own, print("train: {save_strategy: epoch}\n"));
    assert_ne!(own, print("train: {weight_decay: 0.1}\n"));
    assert_ne!(own, print("train: {adam_beta1: 0.8}\n"));
    assert_ne!(own, print("seed: 1\n"));
    let command = |keys: &str| print(&format!("executor: {{type: command, {keys}}}\n"));
    assert_ne!(own, command("command: a"));
    assert_ne!(command("command: a"), command("command: b"));
    assert_eq!(command("command: a"), command("command: a, max_parallel: 9, grace_seconds: 1"));
    assert_ne!(own, print("executor: {type: external}\n"));
    // The overfit rule ends trials by the report's thresholds, so there they change results.
    let rule = "early_terminate: {type: overfit}\n";
    assert_ne!(print(rule), print(&format!("{rule}report: {{overfit_probability: 0.9}}\n")));
}

#[test]
fn the_fingerprint_does_not_depend_on_where_the_program_was_started() {
    let text = format!("{HEAD}parameters: {{rank: 8}}\n");
    let from = |file: &str| resolve(&text, Path::new(file), &look).expect("it is right");
    assert_ne!(from("x.yaml").model, from("sweeps/x.yaml").model);
    assert_eq!(from("x.yaml").fingerprint(), from("sweeps/x.yaml").fingerprint());
}

#[test]
fn rows_may_be_folders_and_patterns() {
    let text = format!("{HEAD}parameters: {{rank: 8}}\n").replace("rows.jsonl", "'rows/*.csv'");
    assert_eq!(sweep(&text).data.train, Path::new("sweeps/rows/*.csv"));
}

#[test]
fn the_form_of_the_bases_weights_is_read_and_changes_the_fingerprint() {
    let with = |line: &str| sweep(&format!("{HEAD}parameters: {{rank: 8}}\n{line}"));
    let plain = with("");
    assert!(plain.base.is_default());
    let gguf = with("base_weights: files/model.gguf\n");
    assert_eq!(gguf.base.weights.as_deref(), Some(Path::new("sweeps/files/model.gguf")));
    let mut prints = vec![plain.fingerprint(), gguf.fingerprint()];
    for quantization in Quantization::ALL {
        let sweep = with(&format!("quantization: {quantization}\n"));
        assert_eq!(sweep.base.quantization, Some(quantization));
        let json = serde_json::to_value(&sweep).expect("it is written");
        assert_eq!(json["base"]["quantization"], quantization.name());
        prints.push(sweep.fingerprint());
    }
    assert!(serde_json::to_value(&plain).expect("it is written").get("base").is_none());
    prints.sort();
    prints.dedup();
    assert_eq!(prints.len(), 2 + Quantization::ALL.len());
}

#[test]
fn columns_and_packing_change_the_fingerprint_and_a_model_on_a_hub_keeps_its_name() {
    let base = format!("{HEAD}parameters: {{rank: 8}}\n");
    let mapped = base.replace("data: {", "data: {columns: {prompt: question}, ");
    let packed = base.replace("data: {", "data: {packing: true, ");
    assert_eq!(sweep(&mapped).data.columns["prompt"], "question");
    assert!(sweep(&packed).data.packing);
    let own = sweep(&base).fingerprint();
    assert_ne!(sweep(&mapped).fingerprint(), own);
    assert_ne!(sweep(&packed).fingerprint(), own);
    let nothing = |path: &Path| match path.extension() {
        Some(extension) if extension == "jsonl" => PathKind::File,
        _ => PathKind::Missing,
    };
    let on_hub = base.replace("model: base", "model: org/name@v1");
    let on_hub = resolve(&on_hub, Path::new("x.yaml"), &nothing).expect("it is right");
    assert_eq!(on_hub.hub.map(|name| name.to_string()).as_deref(), Some("org/name@v1"));
    assert_eq!(sweep(&base).hub, None);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = resolve(&text, Path::new("x.yaml"), &look).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_shuffling_of_a_sweep_file_makes_the_reader_panic(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(example().lines().map(str::to_owned).collect::<Vec<_>>()),
                (
                    proptest::sample::select(Parameter::ALL.to_vec()),
                    proptest::sample::select(vec![
                        "[]", "{}", "-1", ".nan", "[[1]]", "{min: 1}", "{min: 2, max: 1e400}",
                        "{distribution: q_normal}", "{distribution: log_uniform, min: -1, max: 1}",
                        "{values: [1, 2], probabilities: [1, 0]}", "{value: }", "&a [*a]", "1e308",
                        "{distribution: q_uniform, min: 0, max: 1e300, q: 1e-300}", "-0.0", "r",
                    ]),
                )
                    .prop_map(|(key, value)| format!("  {key}: {value}")),
            ],
            0..40,
        ),
    ) {
        let text = pieces.join("\n");
        if let Ok(sweep) = resolve(&text, Path::new("x.yaml"), &look) {
            let _ = sweep.space.sample(&[0.5; Parameter::COUNT]);
            let _ = (sweep.fingerprint(), sweep.space.grid_config(0), sweep.space.distinct_size());
        }
    }

    #[test]
    fn every_wild_parameter_is_refused_or_can_be_drawn(
        key in proptest::sample::select(Parameter::ALL.to_vec()),
        distribution in proptest::sample::select(vec![
            "uniform", "q_uniform", "int_uniform", "log_uniform", "log_uniform_values", "q_log_uniform_values",
            "inv_log_uniform", "inv_log_uniform_values", "q_log_uniform",
        ]),
        ends in (-30.0..30.0_f64, -30.0..30.0_f64),
        q in proptest::option::of(0.01..4.0_f64),
        u in 0.0..1.0_f64,
    ) {
        let q = q.map_or(String::new(), |q| format!(", q: {q}"));
        let text = format!(
            "{HEAD}parameters:\n  {key}: {{distribution: {distribution}, min: {:.2}, max: {:.2}{q}}}\n",
            ends.0, ends.1
        );
        if let Ok(sweep) = resolve(&text, Path::new("x.yaml"), &look) {
            let config = sweep.space.sample(&[u; Parameter::COUNT]);
            prop_assert!(config.rank >= 1 && config.epochs >= 1 && config.batch_size >= 1);
            prop_assert!(config.learning_rate > 0.0 && config.learning_rate <= 1.0);
            prop_assert!((0.0..1.0).contains(&config.lora_dropout));
            prop_assert!(config.lora_alpha > 0.0 && config.weight_decay >= 0.0);
        }
    }
}
