//! What a sweep trains and is evaluated on.

use data::{Dataset, PreparedData};

/// The rows of a sweep.
#[derive(Debug, Clone, Default)]
pub struct TrainingSets {
    /// What adapters learn from.
    pub train: Dataset,
    /// What runs are ranked by.
    pub validation: Dataset,
    /// What the base model could do already.
    pub retention: Option<Dataset>,
    /// What nothing is chosen by.
    pub test: Option<Dataset>,
}

impl From<PreparedData> for TrainingSets {
    fn from(data: PreparedData) -> Self {
        let PreparedData { train, validation, retention, test, .. } = data;
        Self { train, validation, retention, test }
    }
}
