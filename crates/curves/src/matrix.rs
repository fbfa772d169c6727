//! Symmetric matrices of a curve's length, and what is solved with them.
//!
//! Notation: A is symmetric and positive definite, A = C Cᵀ with C lower triangular.

/// What is left of a variance below this share of it is rounding.
const DETERMINED: f64 = 1e-12;

/// A square matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    size: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// The matrix with `of(row, column)` in each place.
    pub fn from_fn(size: usize, of: impl Fn(usize, usize) -> f64) -> Self {
        let places = (0..size).flat_map(|row| (0..size).map(move |column| (row, column)));
        Self { size, values: places.map(|(row, column)| of(row, column)).collect() }
    }

    /// Number of rows.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The value in a place.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.size + column]
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.size..(row + 1) * self.size]
    }

    /// The rows and columns up to `size`.
    #[must_use]
    pub fn leading(&self, size: usize) -> Self {
        Self::from_fn(size, |row, column| self.at(row, column))
    }

    /// Variance of the difference of two places of what this is the covariance of.
    pub fn variance_of_difference(&self, a: usize, b: usize) -> f64 {
        (self.at(a, a) + self.at(b, b) - 2.0 * self.at(a, b)).max(0.0)
    }

    /// C of A = C Cᵀ. Pivots below `least` are raised to it. A place that those before it determine
    /// but for rounding has nothing of its own: where `least` is 0 its column is 0, so that a
    /// covariance without full rank has a factor too.
    #[must_use]
    pub fn cholesky(&self, least: f64) -> Self {
        let n = self.size;
        let mut factor = Self { size: n, values: vec![0.0; n * n] };
        for row in 0..n {
            for column in 0..=row {
                let known = dot(&factor.row(row)[..column], &factor.row(column)[..column]);
                let rest = self.at(row, column) - known;
                let pivot = factor.at(column, column);
                factor.values[row * n + column] = if row == column {
                    let is_determined = rest < DETERMINED * self.at(row, row);
                    if is_determined { least.sqrt() } else { rest.max(least).sqrt() }
                } else if pivot > 0.0 {
                    rest / pivot
                } else {
                    0.0
                };
            }
        }
        factor
    }

    /// x of C x = b, for a lower triangular C.
    pub fn forward(&self, b: &[f64]) -> Vec<f64> {
        let mut x: Vec<f64> = Vec::with_capacity(self.size);
        for (row, value) in b.iter().enumerate() {
            let rest = value - dot(&self.row(row)[..row], &x);
            x.push(rest / self.at(row, row));
        }
        x
    }

    /// C z, for a lower triangular C.
    pub fn lower_times(&self, z: &[f64]) -> Vec<f64> {
        (0..self.size).map(|row| dot(&self.row(row)[..=row], &z[..=row])).collect()
    }
}

/// The sum of products.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
