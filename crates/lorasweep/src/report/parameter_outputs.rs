//! The table of parameters walked through everything that is made from it: a row that is added
//! there is found in all of these places, or this says in which it is not.

use std::path::Path;

use reporter::{Lang, Page, html, importance, rank, ranking_csv};
use serde_json::Value;
use spec::{
    CommandValue, Evaluation, Event, Feature, Kind, Mistake, Outcome, Parameter, PathKind,
    ReportSettings, Row, Sweep, SweepErrors, SweepState, TABLE, Trial, TrialConfig, TrialId,
    resolve,
};

use super::explain::explain;

fn read(rest: &str) -> Result<Sweep, SweepErrors> {
    let look = |path: &Path| match path.extension() {
        Some(_) => PathKind::File,
        None => PathKind::Folder,
    };
    let text = format!("method: grid\nmodel: base\ndata: {{train: rows.jsonl}}\n{rest}");
    resolve(&text, Path::new("sweep.yaml"), &look)
}

/// Two values of a parameter, as a sweep file has them.
fn two_values(row: &Row) -> [&'static str; 2] {
    match &row.kind {
        Kind::Whole(_) | Kind::Seed(_) => ["4", "8"],
        Kind::Real(_) => ["0.1", "0.2"],
        Kind::Rate(_) => ["1e-4", "1e-3"],
        Kind::PerRank(_) => ["16", "48"],
        Kind::Flag(_) => ["false", "true"],
        Kind::Choice(choice) => [choice.words[0], choice.words[1]],
        Kind::Modules(_) => ["attention", "mlp"],
    }
}

/// A sweep over two values of one parameter.
fn sweep_over(row: &Row) -> Sweep {
    let [a, b] = two_values(row);
    read(&format!("parameters:\n  {}: [{a}, {b}]\n", row.name))
        .unwrap_or_else(|errors| panic!("{}: {errors}", row.name))
}

fn evaluation(step: u32, eval_loss: f64) -> Evaluation {
    Evaluation {
        step,
        epoch: f64::from(step) / 10.0,
        eval_loss,
        eval_loss_stderr: 0.01,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: Some(eval_loss),
        retention_loss: None,
        scores: Vec::new(),
        tokens: u64::from(step) * 100,
        seconds: f64::from(step),
    }
}

/// Eight trials, by turns with each of two configurations, of which the second does better.
fn events(configs: &[TrialConfig; 2]) -> Vec<Event> {
    let mut events = vec![Event::BaseEvaluated { evaluation: evaluation(0, 3.0) }];
    for number in 1..=8 {
        let trial = TrialId(number);
        let which = number as usize % 2;
        let config = configs[which].clone();
        let loss = 2.0 - which as f64 + 0.01 * f64::from(number);
        let total_steps = 10 * config.epochs;
        events.extend([
            Event::proposed(Trial { id: trial, config }),
            Event::TrialStarted {
                trial,
                device: "cpu".to_owned(),
                from_step: 0,
                total_steps,
                continues: None,
            },
            Event::Evaluated { trial, evaluation: evaluation(total_steps, loss) },
            Event::TrialFinished { trial, outcome: Outcome::Completed },
        ]);
    }
    events
}

/// A sweep of two values of a parameter, as it went.
struct Went {
    sweep: Sweep,
    configs: [TrialConfig; 2],
    events: Vec<Event>,
    state: SweepState,
}

fn went(row: &Row) -> Went {
    let sweep = sweep_over(row);
    let configs = [sweep.space.grid_config(0), sweep.space.grid_config(1)];
    let events = events(&configs);
    let mut state = SweepState::default();
    for event in &events {
        state.apply(event);
    }
    Went { sweep, configs, events, state }
}

#[test]
fn a_parameter_is_read_fixed_and_refused_by_its_row() {
    for row in TABLE {
        let name = row.name;
        let Went { sweep, configs, .. } = went(row);
        assert_eq!(sweep.space.axis(row.parameter).values().len(), 2, "{name}");
        assert_ne!(row.get(&configs[0]), row.get(&configs[1]), "{name}");
        assert_ne!(configs[0].key(), configs[1].key(), "{name}");
        let wrong = if row.kind.is_number() { "-1" } else { "nonsense" };
        let errors = read(&format!("parameters: {{{name}: {wrong}}}\n")).expect_err(name);
        let told = errors.to_string();
        assert!(told.contains(&format!("parameters.{name}")) || told.contains(wrong), "{told}");
        let is_of_value = |mistake: &Mistake| {
            matches!(
                mistake,
                Mistake::OutOfRange { .. }
                    | Mistake::WrongType { .. }
                    | Mistake::UnknownName { .. }
            )
        };
        assert!(errors.errors().iter().all(|error| is_of_value(&error.mistake)), "{told}");
        if let Some(peft) = row.peft.filter(|peft| *peft != name) {
            let told = read(&format!("parameters: {{{peft}: 8}}\n")).expect_err(name).to_string();
            assert!(told.contains(&format!("did you mean `{name}`?")), "{told}");
        }
        // What counts for all trials is said at the top level.
        if row.parameter != Parameter::Quantization {
            let fixed =
                read(&format!("parameters: {{}}\ntrain: {{{name}: {}}}\n", two_values(row)[0]));
            let config = fixed.expect(name).space.grid_config(0);
            assert_eq!(row.get(&config), row.get(&configs[0]), "{name}");
        }
        assert!(CommandValue::all().any(|value| value.name() == name), "{name}");
    }
}

#[test]
fn a_parameter_is_in_the_reference_file_and_the_schema() {
    let (reference, schema) = (spec::example(), spec::schema());
    let schema: Value = serde_json::from_str(&schema).expect("the schema is JSON");
    for row in TABLE {
        let line = format!("{}: ", row.name);
        let is_there = |text: &str| text.trim_start_matches([' ', '#']).starts_with(&line);
        assert!(reference.lines().any(is_there), "{}", row.name);
        assert!(schema["$defs"][row.name].is_object(), "{}", row.name);
        let described = &schema["properties"]["parameters"]["properties"][row.name]["description"];
        assert_eq!(*described, format!("{}.", row.about), "{}", row.name);
    }
}

#[test]
fn a_parameter_that_a_sweep_varies_is_in_its_tables_its_page_and_its_explanation() {
    for row in TABLE {
        let name = row.name;
        let Went { sweep, configs, events, state } = went(row);
        let settings = ReportSettings::default();
        let ranking = rank(&state, &settings, Lang::En);
        let table = ranking_csv(&ranking).expect("a table");
        let mut lines = table.lines();
        let heading = lines.next().unwrap_or_default().split(',').position(|cell| cell == name);
        assert!(heading.is_some(), "{name}: {table}");
        let page = Page {
            state: &state,
            ranking: &ranking,
            settings: &settings,
            lang: Lang::En,
            reload_seconds: None,
        };
        let page = html(page).expect("a page");
        let data = page.split_once(r#"type="application/json">"#).expect("data").1;
        let data = data.split_once("</script>").expect("its end").0;
        let data: Value = serde_json::from_str(data).expect("JSON");
        let shown: Vec<&Value> =
            data["parameters"].as_array().expect("a list").iter().map(|p| &p["name"]).collect();
        assert_eq!(shown, [name]);
        let explained = explain(&sweep, &events);
        for (trial, config) in explained.trials.iter().zip([&configs[1], &configs[0]]) {
            assert_eq!(trial.settings, format!("{name} {}", row.shown(config)));
        }
        let shares: Vec<&str> = importance(&state).iter().map(|share| share.name).collect();
        // A seed is chance.
        let expected: &[&str] = if matches!(row.kind, Kind::Seed(_)) { &[] } else { &[name] };
        assert_eq!(shares, expected);
    }
}

#[test]
fn the_planner_tells_the_values_of_a_parameter_apart_by_its_coordinate() {
    for row in TABLE.iter().filter(|row| row.feature != Feature::Apart) {
        let Went { sweep, configs, state, .. } = went(row);
        let expected = configs.map(|config| {
            planner::expectation(&sweep, &state, &config).expect("eight trials were measured").loss
        });
        assert!(expected[0] > expected[1] + 0.1, "{}: {expected:?}", row.name);
    }
}
