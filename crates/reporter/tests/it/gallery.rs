//! Every picture of every kind of sweep is drawn and lies in the target folder's `tmp/gallery`
//! to be looked at.

use std::fs;
use std::path::PathBuf;

use reporter::plot::{Plot, all_plots, sweep_plots};
use reporter::{Lang, ReportError};
use spec::{Event, ReportSettings, SweepState, Trial, TrialId};

use crate::sweeps;

fn drawn(folder: &str, state: &SweepState) -> Vec<Plot> {
    kept(folder, all_plots(state, &ReportSettings::default(), Lang::En))
}

fn drawn_as_a_whole(folder: &str, state: &SweepState) -> Vec<Plot> {
    kept(folder, sweep_plots(state, &ReportSettings::default(), Lang::En))
}

fn kept(folder: &str, plots: Vec<Result<Plot, ReportError>>) -> Vec<Plot> {
    let plots: Vec<Plot> =
        plots.into_iter().collect::<Result<_, _>>().expect("every plot is drawn");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gallery").join(folder);
    for plot in &plots {
        let path = folder.join(format!("{}.png", plot.name));
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs::write(&path, &plot.png).expect("png");
        fs::write(path.with_extension("svg"), &plot.svg).expect("svg");
        assert!(plot.png.starts_with(b"\x89PNG"), "{}", plot.name);
        assert!(plot.svg.contains("</svg>"), "{}", plot.name);
        assert!(!plot.svg.contains("NaN") && !plot.svg.contains("inf"), "{}", plot.name);
        assert_inside_the_page(plot);
    }
    plots
}

/// No coordinate leaves the page by more than the width of a stroke.
fn assert_inside_the_page(plot: &Plot) {
    let allowed = -40..=1640;
    for (attribute, rest) in
        plot.svg.match_indices("points=\"").map(|(at, found)| (at, &plot.svg[at + found.len()..]))
    {
        let points = rest.split('"').next().unwrap_or_default();
        for number in points.split([' ', ',']).filter(|number| !number.is_empty()) {
            let value: f64 = number.parse().expect("a number");
            assert!(allowed.contains(&(value as i32)), "{} at {attribute}: {points}", plot.name);
        }
    }
}

fn names(plots: &[Plot]) -> Vec<&str> {
    plots.iter().map(|plot| plot.name.as_str()).collect()
}

const OF_THE_SWEEP: [&str; 6] =
    ["overview", "gap", "learning_rate", "rank", "heatmap", "gap_vs_loss"];

#[test]
fn a_grid_gives_six_pictures_of_the_sweep_and_one_per_run() {
    let plots = drawn("quickstart", &sweeps::quickstart());
    assert_eq!(names(&plots)[..6], OF_THE_SWEEP);
    assert_eq!(names(&plots)[6], "runs/trial-001");
    assert_eq!(plots.len(), 6 + 18);
}

#[test]
fn what_lies_out_of_a_picture_has_no_entry_in_its_legend() {
    let mut state = sweeps::quickstart();
    let mut with_base_at = |loss: f64| -> Vec<bool> {
        state.base.as_mut().expect("a base model").eval_loss = loss;
        let plots = drawn("legends", &state);
        let own = |plot: &&Plot| ["overview", "runs/trial-001"].contains(&plot.name.as_str());
        plots.iter().filter(own).map(|plot| plot.svg.contains("\nbase")).collect()
    };
    assert_eq!(with_base_at(90.0), [false, false]);
    assert_eq!(with_base_at(2.0), [true, true]);
}

#[test]
fn two_hundred_random_runs_are_still_drawn() {
    assert_eq!(names(&drawn_as_a_whole("large", &sweeps::large())), OF_THE_SWEEP);
}

#[test]
fn one_run_of_one_epoch_is_a_sane_picture() {
    drawn("single", &sweeps::sweep("single", &[sweeps::config(8, 3e-4, 1)]));
}

#[test]
fn a_sweep_in_which_everything_diverged_is_a_sane_picture() {
    let configs = [sweeps::config(8, 1e-2, 2), sweeps::config(16, 3e-2, 2)];
    drawn("diverged", &sweeps::sweep("diverged", &configs));
}

#[test]
fn a_sweep_without_any_evaluation_is_a_sane_picture() {
    let trial = Trial { id: TrialId(1), config: sweeps::config(8, 3e-4, 1) };
    let pending = SweepState::from_events(&[Event::proposed(trial)]);
    assert_eq!(names(&drawn("pending", &pending)), OF_THE_SWEEP);
    assert_eq!(names(&drawn("empty", &SweepState::default())), OF_THE_SWEEP);
}

#[test]
fn a_sweep_without_its_base_model_is_a_sane_picture() {
    let mut state = sweeps::quickstart();
    state.base = None;
    drawn_as_a_whole("without_base", &state);
}
