//! Files for other tools.

mod metrics;
mod mlflow;
mod optuna;
mod parquet;
mod protobuf;
mod ranking;
mod tensorboard;

pub use metrics::{evaluations_csv, is_within_evaluations, metrics_csv, steps_csv};
pub use mlflow::{MlflowExperiment, mlflow};
pub use optuna::optuna_journal;
pub use parquet::{evaluations_parquet, ranking_parquet};
pub use ranking::{ranking_csv, ranking_json};
pub use tensorboard::tensorboard;

use spec::spreadsheet_cell;

use crate::error::ReportError;

/// One file of an export that is a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// Its path below that folder.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Writes a header and rows as CSV text with `\n` line ends; no cell is a formula.
fn table(
    name: &'static str,
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> Result<String, ReportError> {
    let failed = |source: csv::Error| ReportError::Csv { table: name, source };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(failed)?;
    for row in rows {
        for cell in &row {
            writer.write_field(&*spreadsheet_cell(cell)).map_err(failed)?;
        }
        writer.write_record(None::<&[u8]>).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A measured value with at most eight significant decimals, as short as it can be; empty when
/// absent.
fn measured(value: impl Into<Option<f64>>) -> String {
    value.into().map_or_else(String::new, |value| {
        let rounded = (value * 1e8).round() / 1e8;
        if rounded == 0.0 && value != 0.0 { value.to_string() } else { rounded.to_string() }
    })
}

/// A count; empty when absent.
fn counted(value: impl Into<Option<u32>>) -> String {
    value.into().map_or_else(String::new, |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_of_a_table_is_a_formula_or_commands_a_terminal() {
        let row = ["-0.5", "=1+1", "@x", "a\x1b[2J", "b, \"c\""].map(str::to_owned).to_vec();
        let table = table("x.csv", &["a", "b", "c", "d", "e"], [row].into_iter());
        let expected = "a,b,c,d,e\n-0.5,'=1+1,'@x,a\\u{1b}[2J,\"b, \"\"c\"\"\"\n";
        assert_eq!(table.expect("a table"), expected);
    }
}
