//! What can go wrong while a report is written.

use thiserror::Error;

/// Why an output could not be made. Nothing here depends on the numbers of a sweep: any state
/// can be reported.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A table could not be written as CSV.
    #[error("failed to write {table} as CSV")]
    Csv {
        /// Which table.
        table: &'static str,
        /// What the writer said.
        #[source]
        source: csv::Error,
    },
    /// A table could not be written as Parquet.
    #[error("failed to write {table} as Parquet")]
    Parquet {
        /// Which table.
        table: &'static str,
        /// What the writer said.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A value could not be written as JSON.
    #[error("failed to write {what} as JSON")]
    Json {
        /// What was written.
        what: &'static str,
        /// What the writer said.
        #[source]
        source: serde_json::Error,
    },
    /// The page could not be put together.
    #[error("failed to write report.html")]
    Page {
        /// What the template engine said.
        #[source]
        source: minijinja::Error,
    },
    /// A plot could not be drawn.
    #[error("failed to draw the plot `{plot}`: {reason}")]
    Plot {
        /// The plot's name.
        plot: String,
        /// What the drawing library said.
        reason: String,
    },
}
