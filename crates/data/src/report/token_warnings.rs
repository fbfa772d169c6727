//! Warnings about tokens: what a trained adapter would do wrong later.

use super::{DataReport, DataRole, FileReport, rows};
use crate::model_tokens::ModelTokens;
use crate::notes::{Noticed, TokenNotes};

/// Of all files: a sentence for each thing that is noticed, with its count and its remedy.
pub(super) fn token_warnings(report: &DataReport) -> Vec<String> {
    let notices = Notices { report };
    [
        notices.repeated(),
        notices.endless(),
        notices.unstopped(),
        notices.beyond_positions(),
        notices.raw(),
    ]
    .concat()
}

/// A count over the files of a report, with the place of the first row.
struct Found {
    rows: usize,
    place: String,
}

struct Notices<'a> {
    report: &'a DataReport,
}

impl Notices<'_> {
    /// Adds up what is noticed of the files that `is_counted`.
    fn sum(
        &self,
        is_counted: impl Fn(&FileReport) -> bool,
        of: impl Fn(&TokenNotes) -> Noticed,
    ) -> Option<Found> {
        let files = self.report.files.iter().filter(|file| is_counted(file));
        let found: Vec<(&FileReport, Noticed)> = files
            .map(|file| (file, of(&file.notes)))
            .filter(|(_, noticed)| noticed.rows > 0)
            .collect();
        let (file, first) = found.first()?;
        let line = format!("{} {}", file.format.unit(), first.first_line);
        let place = match (found.len(), self.report.files.len()) {
            (1, 1) => line,
            _ => format!("{} {line}", file.path.display()),
        };
        Some(Found { rows: found.iter().map(|(_, noticed)| noticed.rows).sum(), place })
    }

    fn all(&self, of: impl Fn(&TokenNotes) -> Noticed) -> Option<Found> {
        self.sum(|_| true, of)
    }

    /// Only what weights learn from teaches.
    fn trained(&self, of: impl Fn(&TokenNotes) -> Noticed) -> Option<Found> {
        self.sum(|file| file.role == DataRole::Train, of)
    }

    fn model(&self) -> &ModelTokens {
        &self.report.model
    }

    fn repeated(&self) -> Vec<String> {
        let (bos, eos) = (self.model().prefix.concat(), &self.model().eos);
        let once = [
            (self.all(|notes| notes.repeated_bos), ["begins with", "begin with"], &bos, "before"),
            (self.all(|notes| notes.repeated_eos), ["ends in", "end in"], eos, "after"),
        ];
        let mut warnings: Vec<String> = once
            .into_iter()
            .filter_map(|(found, how, token, side)| {
                let Found { rows: count, place } = found?;
                Some(format!(
                    "{} `{token}`, which is added {side} every row anyway (first {place}): it is \
                     written once",
                    rows_that(count, how)
                ))
            })
            .collect();
        if let Some(Found { rows: count, place }) = self.all(|notes| notes.doubled) {
            warnings.push(format!(
                "{} with two beginning tokens, or with two end tokens `{eos}` in a row (first \
                 {place}): the messages contain what the chat template writes; remove it from them",
                rows(count)
            ));
        }
        warnings
    }

    fn endless(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(Found { rows: count, place }) = self.trained(|notes| notes.endless) {
            warnings.push(format!(
                "{} no end token, so the adapter does not learn to stop there (first {place}): the \
                 chat template writes none after the last answer; use one that writes `{}`",
                rows_that(count, ["teaches", "teach"]),
                self.model().eos
            ));
        }
        if let Some(Found { rows: count, place }) = self.trained(|notes| notes.cut_endless) {
            warnings.push(format!(
                "{} cut before the end token, so the adapter does not learn to stop there (first \
                 {place}): raise `train.max_seq_len`, or shorten the rows",
                rows_that(count, ["is", "are"])
            ));
        }
        warnings
    }

    /// End tokens that are learnt and that `generate()` does not stop at.
    fn unstopped(&self) -> Vec<String> {
        let Some(stops) = &self.model().stops else { return Vec::new() };
        let files = self.report.files.iter().filter(|file| file.role == DataRole::Train);
        let mut ends: Vec<u32> = files.flat_map(|file| file.notes.ends.keys().copied()).collect();
        ends.sort_unstable();
        ends.dedup();
        ends.retain(|end| !stops.ids.contains(&u64::from(*end)));
        ends.into_iter()
            .filter_map(|end| {
                let of = |notes: &TokenNotes| notes.ends.get(&end).copied().unwrap_or_default();
                let Found { rows: count, place } = self.trained(of)?;
                let known: Vec<String> =
                    stops.ids.iter().map(|id| self.model().named(*id as u32)).collect();
                Some(format!(
                    "{} {} (first {place}), but generate() stops only at {} (eos_token_id in {}): \
                     add {end} to it, or generation does not stop",
                    rows_that(count, ["ends in", "end in"]),
                    self.model().named(end),
                    known.join(", "),
                    stops.file
                ))
            })
            .collect()
    }

    fn beyond_positions(&self) -> Vec<String> {
        let found = self.all(|notes| notes.beyond_positions);
        let (Some(Found { rows: count, place }), Some(most)) =
            (found, self.model().max_position_embeddings)
        else {
            return Vec::new();
        };
        let files = self.report.files.iter().filter(|file| file.notes.beyond_positions.rows > 0);
        let longest = files.map(|file| file.longest).max().unwrap_or(0);
        vec![format!(
            "{} more tokens than the model has positions (up to {longest}; max_position_embeddings \
             is {most}; first {place}): set `train.max_seq_len` to {most}, or shorten the rows",
            rows_that(count, ["has", "have"])
        )]
    }

    fn raw(&self) -> Vec<String> {
        let (Some(Found { rows: count, place }), Some(template)) =
            (self.trained(|notes| notes.raw), &self.model().chat_template)
        else {
            return Vec::new();
        };
        vec![format!(
            "{} written without the model's chat template ({}; first {place}): if people will use \
             the adapter through that template, write the rows as `messages`",
            rows_that(count, ["is", "are"]),
            template.display()
        )]
    }
}

/// `1 row ends in`, `2 rows end in`.
fn rows_that(count: usize, [one, many]: [&str; 2]) -> String {
    format!("{} {}", rows(count), if count == 1 { one } else { many })
}
