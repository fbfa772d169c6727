//! The page of every kind of sweep. Each is kept in the target folder's `tmp/gallery/*.html`, where
//! a browser opens it.

use std::fs;
use std::path::PathBuf;

use reporter::{Lang, Page, html, importance, rank};
use serde_json::Value;
use spec::{
    Event, ExampleLosses, KeptAnswer, ReportSettings, ScoredAnswers, SweepState, Trial, TrialId,
};

use crate::sweeps;

fn page(name: &str, state: &SweepState, lang: Lang) -> String {
    let settings = ReportSettings::default();
    let ranking = rank(state, &settings, lang);
    let reload_seconds = (!state.finished).then_some(5);
    let page = Page { state, ranking: &ranking, settings: &settings, lang, reload_seconds };
    let page = html(page).expect("a page");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gallery");
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join(format!("{name}.html")), &page).expect("page");
    page
}

/// The data embedded in a page.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"type="application/json">"#).expect("data");
    let (text, _) = rest.split_once("</script>").expect("its end");
    serde_json::from_str(text).expect("valid JSON")
}

/// Losses of single examples for every run, as its mean with something of its own on each.
fn with_examples(mut state: SweepState) -> SweepState {
    let examples = |loss: f64, own: u32| {
        let each = (0..120_u32).map(|e| {
            let noise = f64::from((e * 37 + own * 101) % 97) / 97.0 - 0.5;
            let common = f64::from((e * 53) % 89) / 89.0 - 0.5;
            ((loss + common + 0.2 * noise) * 20.0, 20)
        });
        ExampleLosses::collect(each)
    };
    state.base_examples = Some(examples(sweeps::base().eval_loss, 0));
    for trial in state.trials.values_mut() {
        let id = trial.trial.id.0;
        trial.examples = trial.best().map(|best| examples(best.eval_loss, id));
    }
    state
}

/// As many random runs as wanted, with several parameters.
fn random(runs: u32) -> SweepState {
    let configs: Vec<_> = (0..runs)
        .map(|n| {
            let rank = [2, 4, 8, 16, 32, 64][n as usize % 6];
            let exponent = -4.7 + 2.9 * f64::from(n * 7919 % 1000) / 1000.0;
            let mut config = sweeps::config(rank, 10_f64.powf(exponent), 3 + n / 7 % 4);
            config.batch_size = [4, 8, 16][n as usize / 6 % 3];
            config.lora_dropout = [0.0, 0.05][n as usize / 2 % 2];
            config
        })
        .collect();
    with_examples(sweeps::sweep("random", &configs))
}

#[test]
fn a_page_is_one_file_that_asks_no_network() {
    let page = page("quickstart", &with_examples(sweeps::quickstart()), Lang::En);
    for (at, _) in page.match_indices("http") {
        let rest = &page[at..];
        let is_namespace = rest.starts_with("http://www.w3.org/2000/svg");
        assert!(is_namespace || rest.starts_with("http-equiv"), "{}", &rest[..60]);
    }
    for tag in ["<link rel=\"stylesheet", " src=", "@import", "url(http"] {
        assert!(!page.contains(tag), "{tag}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn the_verdict_and_the_findings_are_on_it_without_any_script() {
    let state = with_examples(sweeps::quickstart());
    let page = page("words", &state, Lang::En);
    let verdict = rank(&state, &ReportSettings::default(), Lang::En).verdict;
    let escaped = |text: &str| text.replace('\'', "&#x27;").replace('/', "&#x2f;");
    assert!(verdict.sentences.len() > 2 && verdict.findings.len() > 2);
    for sentence in &verdict.sentences {
        assert!(page.contains(&escaped(sentence)), "{sentence}");
    }
    for finding in &verdict.findings {
        assert!(page.contains(&escaped(&finding.evidence)), "{}", finding.evidence);
    }
}

#[test]
fn the_page_of_two_thousand_runs_stays_small() {
    let page = page("two_thousand", &random(2000), Lang::En);
    assert!(page.len() < 10_000_000, "{} bytes", page.len());
    assert_eq!(data(&page)["rows"].as_array().map(Vec::len), Some(2001));
}

#[test]
fn one_run_and_twenty_and_none_have_a_page() {
    page("twenty", &random(20), Lang::En);
    let one = with_examples(sweeps::sweep("one", &[sweeps::config(8, 3e-4, 4)]));
    assert_eq!(data(&page("one", &one, Lang::En))["chosen"], 1);
    assert_eq!(data(&page("none", &SweepState::default(), Lang::En))["chosen"], Value::Null);
    let trial = Trial { id: TrialId(1), config: sweeps::config(8, 3e-4, 1) };
    let pending = SweepState::from_events(&[Event::proposed(trial)]);
    assert_eq!(data(&page("pending", &pending, Lang::En))["reload"], 5);
}

#[test]
fn missing_values_and_no_numbers_become_null() {
    let mut state = with_examples(sweeps::quickstart());
    state.finished = false;
    state.base = None;
    for (number, value) in [(2, f64::NAN), (3, f64::INFINITY), (4, f64::NEG_INFINITY)] {
        let trial = state.trials.get_mut(&TrialId(number)).expect("trial");
        for evaluation in &mut trial.evaluations {
            evaluation.train_loss = Some(value);
            evaluation.retention_loss = None;
        }
        trial.evaluations[1].eval_loss = 1e300;
        trial.evaluations[1].eval_loss_stderr = f64::NAN;
        trial.examples = None;
    }
    state.trials.get_mut(&TrialId(6)).expect("trial").evaluations.clear();
    state.trials.get_mut(&TrialId(7)).expect("trial").train_points.clear();
    let data = data(&page("missing", &state, Lang::En));
    let rows = data["rows"].as_array().expect("rows");
    let row = |trial: u32| rows.iter().find(|row| row["trial"] == trial).expect("row");
    assert_eq!(row(2)["gap"], Value::Null);
    assert_eq!(row(2)["curve"]["train"][0], Value::Null);
    assert_eq!(row(6)["loss"], Value::Null);
}

#[test]
fn names_cannot_break_out_of_the_page() {
    let mut state = with_examples(sweeps::quickstart());
    state.name = "</script><script>alert(1)</script> & <b>".to_owned();
    let page = page("hostile", &state, Lang::En);
    assert!(!page.contains("<script>alert"));
    assert!(!page.contains("<b>"));
    assert_eq!(data(&page)["name"], state.name);
}

#[test]
fn the_page_speaks_vietnamese_too() {
    let page = page("vietnamese", &random(20), Lang::Vi);
    assert!(page.contains("<html lang=\"vi\">"));
    assert!(page.contains("Nên chọn lượt"));
    assert!(page.contains("Nên làm gì tiếp"));
}

#[test]
fn the_learning_rate_matters_most_where_it_decides() {
    let found = importance(&random(200));
    assert_eq!(found[0].name, "learning_rate");
    assert!(found.iter().all(|i| (0.0..=1.0).contains(&i.share)));
    let idle = found.iter().find(|i| i.name == "lora_dropout").expect("dropout");
    assert!(idle.share < 0.1, "{found:?}");
}

/// What a model could write to get out of the page, or to break it.
const HOSTILE: [&str; 12] = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]></style><svg onload=alert(1)>",
    "\u{2028}\u{2029}\u{202e}\u{0}\u{1b}[2J\u{7f}",
    "\"};alert(1);//\\",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp; <b>",
    "javascript:alert(1) https://example.org",
    "",
    " \n\n ",
    "🙂 tiếng Việt \u{fffd} e\u{301}\u{301}\u{301}",
];

#[test]
fn whatever_a_model_writes_is_text_on_the_page() {
    let kept = |own: &str| -> Vec<KeptAnswer> {
        let one = |(at, output): (u32, &&str)| KeptAnswer {
            example: at,
            prompt: format!("{output} {own}?"),
            reference: (*output).to_owned(),
            output: format!("{own}{output}"),
        };
        (0..).zip(&HOSTILE).map(one).collect()
    };
    let answers = |own, last| ScoredAnswers { kept: kept(own), last, ..ScoredAnswers::default() };
    let mut state = with_examples(sweeps::quickstart());
    let plain = page("plain", &state, Lang::En);
    state.base_answers = Some(answers("base ", Vec::new()));
    for trial in state.trials.values_mut() {
        trial.answers = Some(answers("", kept("over")));
    }
    let hostile = page("hostile", &state, Lang::Vi);
    for mark in ["<script", "</script", "<img", "<svg", "<!--", "<style", "</style"] {
        let count = |page: &str| page.matches(mark).count();
        assert_eq!(count(&hostile), count(&plain), "{mark}");
    }
    let shown = data(&hostile);
    let runs = shown["answers"]["runs"].as_object().expect("runs");
    assert_eq!(runs.len(), state.trials.len());
    for run in runs.values() {
        for (at, text) in HOSTILE.iter().enumerate() {
            assert_eq!(run["best"][at].as_str(), Some(*text));
            assert_eq!(run["last"][at].as_str(), Some(format!("over{text}").as_str()));
            let question = &shown["answers"]["questions"][at];
            assert_eq!(question["base"].as_str(), Some(format!("base {text}").as_str()));
        }
    }
}
