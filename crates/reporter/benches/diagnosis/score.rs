//! Precision, recall and the area under their curve.

/// How sure a rule is, and whether it is true.
pub type Case = (f64, bool);

/// Area under the precision-recall curve (average precision: Boyd, Eng & Page 2013); cases of equal
/// scores are told apart by nobody.
pub fn area(cases: &[Case]) -> f64 {
    let mut sorted = cases.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all = sorted.iter().filter(|case| case.1).count() as f64;
    let (mut seen, mut hits, mut area) = (0.0, 0.0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
        let new = equal.iter().filter(|case| case.1).count() as f64;
        (seen, hits) = (seen + equal.len() as f64, hits + new);
        area += new / all * (hits / seen);
    }
    area
}

/// Counts of what was said and what was true.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    both: usize,
    said_alone: usize,
    missed: usize,
    neither: usize,
}

impl Counts {
    /// Adds a case.
    pub fn add(&mut self, said: bool, is_true: bool) {
        *match (said, is_true) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.said_alone,
            (false, true) => &mut self.missed,
            (false, false) => &mut self.neither,
        } += 1;
    }

    pub fn of(cases: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut counts = Self::default();
        for (said, is_true) in cases {
            counts.add(said, is_true);
        }
        counts
    }

    pub const fn all(&self) -> usize {
        self.both + self.said_alone + self.missed + self.neither
    }

    pub const fn true_ones(&self) -> usize {
        self.both + self.missed
    }

    pub const fn said(&self) -> usize {
        self.both + self.said_alone
    }

    pub fn precision(&self) -> Option<f64> {
        (self.said() > 0).then(|| self.both as f64 / self.said() as f64)
    }

    pub fn recall(&self) -> Option<f64> {
        (self.true_ones() > 0).then(|| self.both as f64 / self.true_ones() as f64)
    }
}

/// Two digits, or a dash.
pub fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}
