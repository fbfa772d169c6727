//! Cutting curves at the edges of a panel, so that a diverged run leaves through the top instead
//! of stretching the axis.

/// A point in data coordinates.
pub type Point = (f64, f64);

/// The pieces of `curve` with `low <= y <= high`.
pub fn clip(curve: &[Point], low: f64, high: f64) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<Point> = Vec::new();
    if let [only] = curve
        && (low..=high).contains(&only.1)
    {
        piece.push(*only);
    }
    for pair in curve.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let Some((enter, leave)) = visible(from.1, to.1, low, high) else { continue };
        let between = |part: f64| {
            (from.0 + part * (to.0 - from.0), (from.1 + part * (to.1 - from.1)).clamp(low, high))
        };
        if piece.is_empty() {
            piece.push(between(enter));
        }
        piece.push(between(leave));
        if leave < 1.0 {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// The part of the way from height `from` to height `to`, as shares of it, that lies in range.
fn visible(from: f64, to: f64, low: f64, high: f64) -> Option<(f64, f64)> {
    if from == to {
        return (low..=high).contains(&from).then_some((0.0, 1.0));
    }
    let at = |edge: f64| (edge - from) / (to - from);
    let (a, b) = (at(low), at(high));
    let (enter, leave) = (a.min(b).max(0.0), a.max(b).min(1.0));
    (enter < leave).then_some((enter, leave))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_that_blows_up_leaves_at_the_top_edge() {
        let pieces = clip(&[(0.0, 1.0), (1.0, 0.5), (2.0, 9.5)], 0.0, 5.0);
        assert_eq!(pieces, [vec![(0.0, 1.0), (1.0, 0.5), (1.5, 5.0)]]);
    }

    #[test]
    fn a_curve_that_comes_back_is_drawn_in_pieces() {
        let pieces = clip(&[(0.0, 1.0), (2.0, 9.0), (4.0, 1.0)], 0.0, 5.0);
        assert_eq!(pieces, [vec![(0.0, 1.0), (1.0, 5.0)], vec![(3.0, 5.0), (4.0, 1.0)]]);
    }

    #[test]
    fn a_single_point_stays_and_a_curve_above_everything_is_not_drawn() {
        assert_eq!(clip(&[(1.0, 2.0)], 0.0, 5.0), [vec![(1.0, 2.0)]]);
        assert!(clip(&[(1.0, 9.0), (2.0, 8.0)], 0.0, 5.0).is_empty());
    }
}
