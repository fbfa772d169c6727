//! `lorasweep explain`: what was expected of each trial when it was proposed, what came, and which
//! parameters matter. Works for every method, also while the sweep runs.

use std::fmt::Write as _;

use lorasweep::{Explanation, ParameterImportance};

use crate::args::ExplainArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub fn run(args: &ExplainArgs) -> Result<Exit, CliError> {
    let explanation = args.sweep.open()?.explain()?;
    if args.json {
        output::json("the explanation", &explanation)?;
    } else {
        output::result(&render(&explanation));
    }
    Ok(Exit::Done)
}

fn render(found: &Explanation) -> String {
    let mut out = format!("{}: what was expected of each trial, and what came\n\n", found.name);
    let _ = writeln!(
        out,
        "{:>5}  {:<27}  {:>9}  {:>9}  settings; how it ended",
        "trial", "expected last (95%)", "last", found.metric
    );
    for trial in &found.trials {
        let expected = match (trial.expected_loss, trial.expected_low, trial.expected_high) {
            (Some(loss), Some(low), Some(high)) => format!("{loss:.4} ({low:.4} to {high:.4})"),
            _ => "nothing was measured yet".to_owned(),
        };
        let shown =
            |loss: Option<f64>| loss.map_or_else(|| "-".to_owned(), |it| format!("{it:.4}"));
        let (last, best) = (shown(trial.last_value), shown(trial.best_value));
        let surprise = if trial.as_expected == Some(false) { "; a surprise" } else { "" };
        let _ = writeln!(
            out,
            "{:>5}  {expected:<27}  {last:>9}  {best:>9}  {}; {}{surprise}",
            format!("{:03}", trial.trial),
            trial.settings,
            trial.status,
        );
    }
    if let Some(first) = found.models_shared_from {
        let _ = writeln!(
            out,
            "\nFrom trial {first:03} on, not each trial has a model of its own: what was expected is from up to 2% \
             fewer events than were known."
        );
    }
    if !found.importance.is_empty() {
        let _ = writeln!(
            out,
            "\nShare of the variance of {} that each parameter explains alone (the report's page \
             shows the same):",
            found.metric
        );
        for ParameterImportance { parameter, share, stderr } in &found.importance {
            let _ =
                writeln!(out, "{parameter:>16}  {:>3.0}% +- {:.0}", share * 100.0, stderr * 100.0);
        }
        let alone: f64 = found.importance.iter().map(|line| line.share).sum();
        let _ = writeln!(out, "{:>16}  {:>3.0}%", "together only", (1.0 - alone).max(0.0) * 100.0);
    }
    if let Some(conclusion) = &found.conclusion {
        let _ = writeln!(out, "\nNo further trial was proposed: {conclusion}.");
    }
    out
}
