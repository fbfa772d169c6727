//! `lorasweep generate`: what the chosen run answers, beside the base model.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _};

use lorasweep::spec::{TrialId, printable, printable_line};
use lorasweep::trainer::generate::Sampling;
use lorasweep::{
    AnswerEvent, AnswerOptions, AnswerOutcome, Chat, DecodingOptions, PromptSource, WriterOptions,
};

use crate::args::GenerateArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Output};

pub fn run(args: &GenerateArgs, output: Output) -> Result<Exit, CliError> {
    let sweep = args.sweep.open()?;
    if args.chat {
        chat(sweep.chat(writer(args), decoding(args))?, output)?;
        return Ok(Exit::Done);
    }
    let options = options(args);
    if args.json {
        let outcome = sweep.answer(&options, &mut |_| {})?;
        warn(&outcome, output);
        output::json("the answers", &outcome)?;
        return Ok(Exit::Done);
    }
    let mut page = Page { colour: output.has_stdout_colour(), ..Page::default() };
    let outcome = sweep.answer(&options, &mut |event| output::piece(&page.text_of(event)))?;
    output::painted(&summary(&outcome));
    warn(&outcome, output);
    Ok(Exit::Done)
}

fn options(args: &GenerateArgs) -> AnswerOptions {
    let prompts = match (&args.prompt, &args.file) {
        (Some(text), _) => PromptSource::Text(text.clone()),
        (None, Some(path)) => PromptSource::File(path.clone()),
        (None, None) => PromptSource::Set { set: args.set.into(), count: args.number as usize },
    };
    AnswerOptions {
        writer: writer(args),
        prompts,
        decoding: decoding(args),
        metrics: args.metric.clone(),
    }
}

fn writer(args: &GenerateArgs) -> WriterOptions {
    WriterOptions { trial: args.trial.map(TrialId), epoch: args.epoch, base_alone: args.base }
}

fn decoding(args: &GenerateArgs) -> DecodingOptions {
    let sampling = args.temperature.map(|temperature| Sampling {
        temperature,
        top_k: args.top_k.map(|k| k as usize),
        top_p: args.top_p,
        seed: args.seed,
    });
    DecodingOptions {
        max_new_tokens: args.max_new_tokens as usize,
        // Zero draws nothing: the most likely token.
        sampling: sampling.filter(|sampling| sampling.temperature > 0.0),
        stop: args.stop.clone(),
    }
}

/// Holds a conversation with the lines of stdin, until they end.
fn chat(mut chat: Chat, output: Output) -> Result<(), CliError> {
    for warning in chat.warnings() {
        output.warning(warning);
    }
    let is_person = io::stdin().is_terminal();
    if is_person {
        output::note(&format!(
            "{} answers; /reset begins anew, Ctrl-D ends the conversation",
            chat.writer()
        ));
    }
    let mut page = Page { colour: output.has_stdout_colour(), ..Page::default() };
    let mut lines = io::stdin().lock().lines();
    loop {
        if is_person {
            output::piece(&label("you"));
        }
        let Some(line) = lines.next() else { break };
        let line = line.map_err(CliError::Input)?;
        let said = line.trim();
        match said {
            "" => {}
            "/reset" => {
                chat.reset();
                output::note("the conversation begins anew");
            }
            said => {
                if !is_person {
                    output::piece(&page.block("you", said, "2"));
                }
                let mut tell = |event: &AnswerEvent<'_>| {
                    // What was asked stands there already.
                    if !matches!(event, AnswerEvent::Asked { .. }) {
                        output::piece(&page.text_of(event));
                    }
                };
                match chat.say(said, &mut tell) {
                    Err(error) if is_person => output.error(&error.into()),
                    answered => {
                        answered?;
                    }
                }
            }
        }
    }
    if is_person {
        // The line that Ctrl-D leaves open.
        output::piece("\n");
    }
    Ok(())
}

fn warn(outcome: &AnswerOutcome, output: Output) {
    for warning in &outcome.warnings {
        output.warning(warning);
    }
}

/// The answers as they are written.
#[derive(Default)]
struct Page {
    colour: bool,
    asked: usize,
    /// Whether something of the answer at hand was shown: blanks before it are not.
    has_begun: bool,
}

impl Page {
    /// What to print of an event; text of others is cleaned.
    fn text_of(&mut self, event: &AnswerEvent<'_>) -> String {
        match event {
            AnswerEvent::Asked { place, prompt, reference } => {
                self.asked += 1;
                let gap = if self.asked > 1 { "\n" } else { "" };
                let place = place.map(|place| format!(" ({})", printable_line(place)));
                let mut text = format!("{gap}{}{}\n", self.asked, place.unwrap_or_default());
                text += &self.block("prompt", prompt.trim(), "2");
                if let Some(reference) = *reference {
                    text += &self.block("reference", reference.trim(), "32");
                }
                text
            }
            AnswerEvent::Begins(writer) => {
                self.has_begun = false;
                label(&writer.to_string())
            }
            AnswerEvent::Text(text) => {
                let text = if self.has_begun { *text } else { text.trim_start() };
                self.has_begun |= !text.is_empty();
                indented(&printable(text))
            }
            AnswerEvent::Ends(answer) => match answer.finish {
                "length" => format!(" … (cut after {} tokens)\n", answer.tokens),
                "not_finite" => " (the model's numbers are not finite: it diverged)\n".to_owned(),
                _ if !self.has_begun => "(nothing)\n".to_owned(),
                _ => "\n".to_owned(),
            },
        }
    }

    /// A text beside its label.
    fn block(&self, name: &str, text: &str, colour: &str) -> String {
        let (label, text) = (label(name), indented(&printable(text)));
        if self.colour {
            format!("{label}\x1b[{colour}m{text}\x1b[0m\n")
        } else {
            format!("{label}{text}\n")
        }
    }
}

fn label(name: &str) -> String {
    format!("  {name:<10} ")
}

/// Further lines stand below the first.
fn indented(text: &str) -> String {
    text.replace('\n', "\n             ")
}

fn summary(outcome: &AnswerOutcome) -> String {
    let answers = outcome.rows.iter().flat_map(|row| &row.answers);
    let tokens: usize = answers.map(|answer| answer.tokens).sum();
    let mut text = String::new();
    for mean in &outcome.means {
        let (metric, writer) = (&mean.metric, mean.writer.to_string());
        let count = if mean.answers == 1 { "answer" } else { "answers" };
        let _ =
            write!(text, "\n{metric} of {writer}: {:.3} over {} {count}", mean.mean, mean.answers);
    }
    let rate = tokens as f64 / outcome.seconds.max(1e-9);
    text + &format!("\n{tokens} tokens in {:.2} s ({rate:.0} tokens/s)", outcome.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_model_writes_stays_text_below_its_label() {
        let mut page = Page::default();
        let asked = AnswerEvent::Asked {
            place: Some("rows.jsonl:3"),
            prompt: "Hi\x1b[2J\nthere",
            reference: Some("yes\u{202e}"),
        };
        assert_eq!(
            page.text_of(&asked),
            "1 (rows.jsonl:3)\n  prompt     Hi\\u{1b}[2J\n             there\n  \
             reference  yes\\u{202e}\n"
        );
        let text = page.text_of(&AnswerEvent::Text(" a\n\x1b]0;b\x07"));
        assert_eq!(text, "a\n             \\u{1b}]0;b\\u{7}");
    }
}
