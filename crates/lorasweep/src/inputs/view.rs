//! What the model will see of a sweep's rows, and what is doubtful about them.

use data::{DataReport, Dataset, Example, Place, PreparedData, TextPiece, Vocabulary};
use serde::Serialize;
use spec::Sweep;

use super::rows;
use crate::error::Error;

/// A set of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSet {
    /// What adapters learn from.
    Train,
    /// What trials are ranked by.
    Validation,
    /// What the base model can do already.
    Retention,
    /// What nothing is chosen by.
    Test,
}

impl DataSet {
    /// As in a sweep file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Retention => "retention",
            Self::Test => "test",
        }
    }
}

/// What `data` found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataFindings {
    /// Rows are cut to this many tokens.
    pub max_seq_len: u32,
    /// The rows as they were read.
    pub data: DataReport,
    /// How long the rows of each set are.
    pub lengths: Vec<Lengths>,
    /// The row that was asked for.
    pub example: ShownRow,
    /// What is doubtful about the rows.
    pub warnings: Vec<String>,
}

/// How long the rows of a set are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lengths {
    /// The set.
    pub set: DataSet,
    /// Rows.
    pub rows: usize,
    /// Tokens of all rows.
    pub tokens: usize,
    /// Tokens of the shortest row.
    pub shortest: usize,
    /// Tokens of the median row.
    pub median: usize,
    /// Tokens of the longest row.
    pub longest: usize,
    /// Rows by length.
    pub bins: Vec<LengthBin>,
}

/// Rows of `from` to `to` tokens, both included.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LengthBin {
    /// Least tokens.
    pub from: usize,
    /// Most tokens.
    pub to: usize,
    /// Rows.
    pub rows: usize,
}

/// A row as the model sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShownRow {
    /// The set.
    pub set: DataSet,
    /// Which row of the set, counted from 1.
    pub number: usize,
    /// Where it is.
    pub place: Place,
    /// Its tokens.
    pub input_ids: Vec<u32>,
    /// Which tokens are targets.
    pub loss_mask: Vec<bool>,
    /// Its tokens as text.
    pub pieces: Vec<TextPiece>,
}

/// Reads the rows of a sweep, and shows row `number` of `set`, counted from 1.
pub fn look(sweep: &Sweep, set: DataSet, number: usize) -> Result<DataFindings, Error> {
    let data = rows::prepare(&sweep.data, &sweep.model, &sweep.train)?;
    let all = [DataSet::Train, DataSet::Validation, DataSet::Retention, DataSet::Test];
    let lengths = all.iter().filter_map(|set| Some(lengths(*set, of_set(&data, *set)?.0)));
    Ok(DataFindings {
        max_seq_len: sweep.train.max_seq_len,
        lengths: lengths.collect(),
        example: shown(sweep, &data, set, number)?,
        warnings: data.report.warnings(),
        data: data.report,
    })
}

/// A set's rows and where they are; `None` where the sweep has no such set.
pub fn of_set(data: &PreparedData, set: DataSet) -> Option<(&Dataset, &[Place])> {
    let places = &data.places;
    Some(match set {
        DataSet::Train => (&data.train, &places.train),
        DataSet::Validation => (&data.validation, &places.validation),
        DataSet::Retention => (data.retention.as_ref()?, &places.retention),
        DataSet::Test => (data.test.as_ref()?, &places.test),
    })
}

fn shown(
    sweep: &Sweep,
    data: &PreparedData,
    set: DataSet,
    number: usize,
) -> Result<ShownRow, Error> {
    let (rows, places) = of_set(data, set).unwrap_or((&data.train, &[]));
    let found = number
        .checked_sub(1)
        .and_then(|index| Some((rows.examples.get(index)?.clone(), *places.get(index)?)));
    let Some((Example { input_ids, loss_mask }, place)) = found else {
        return Err(Error::NoSuchRow { set: set.name(), number, rows: places.len() });
    };
    let vocabulary = Vocabulary::load(&sweep.model).map_err(Error::Data)?;
    let pieces = vocabulary.pieces(&input_ids, &loss_mask);
    Ok(ShownRow { set, number, place, input_ids, loss_mask, pieces })
}

fn lengths(set: DataSet, rows: &Dataset) -> Lengths {
    let mut lengths: Vec<usize> = rows.examples.iter().map(|row| row.input_ids.len()).collect();
    lengths.sort_unstable();
    Lengths {
        set,
        rows: lengths.len(),
        tokens: lengths.iter().sum(),
        shortest: lengths.first().copied().unwrap_or(0),
        median: lengths.get(lengths.len() / 2).copied().unwrap_or(0),
        longest: lengths.last().copied().unwrap_or(0),
        bins: bins(&lengths),
    }
}

/// Bins whose borders are powers of two, from the shortest row's to the longest row's.
fn bins(ascending: &[usize]) -> Vec<LengthBin> {
    let (Some(first), Some(last)) = (ascending.first(), ascending.last()) else {
        return Vec::new();
    };
    let bit = |length: usize| length.max(1).ilog2();
    (bit(*first)..=bit(*last))
        .map(|bit| {
            let (from, to) = (1 << bit, (2 << bit) - 1);
            let rows = ascending.iter().filter(|length| (from..=to).contains(*length)).count();
            LengthBin { from, to, rows }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_in_bins_of_powers_of_two() {
        let bin = |from, to, rows| LengthBin { from, to, rows };
        assert_eq!(
            bins(&[3, 4, 7, 16]),
            [bin(2, 3, 1), bin(4, 7, 2), bin(8, 15, 0), bin(16, 31, 1)]
        );
        assert_eq!(bins(&[]), []);
    }
}
