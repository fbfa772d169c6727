//! How numbers are written in every output, so that the table, the plots and the explanations
//! show the same value in the same way.

/// A loss in nats per token: four decimals.
pub fn loss(value: f64) -> String {
    if value.abs() < 1000.0 { format!("{value:.4}") } else { format!("{value:.3e}") }
}

/// A difference of losses, always with its sign.
pub fn change(value: f64) -> String {
    if value.abs() < 1000.0 { format!("{value:+.4}") } else { format!("{value:+.3e}") }
}

/// A learning rate as people write it in sweep files: `2e-4`, `1.5e-4`; three digits at most.
pub fn learning_rate(value: f64) -> String {
    scientific(&format!("{value:.2e}"))
}

/// A learning rate with two digits at most, where space is short.
pub fn rough_learning_rate(value: f64) -> String {
    scientific(&format!("{value:.1e}"))
}

fn scientific(written: &str) -> String {
    match written.split_once('e') {
        Some((mantissa, exponent)) => format!("{}e{exponent}", trimmed(mantissa)),
        None => written.to_owned(),
    }
}

/// Epochs as a fraction, with two decimals at most: `4`, `2.5`, `0.33`.
pub fn epoch(value: f64) -> String {
    trimmed(&format!("{value:.2}")).to_owned()
}

/// A plain number with four decimals at most, zeros trimmed.
pub fn plain(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e6) {
        return learning_rate(value);
    }
    trimmed(&format!("{value:.4}")).to_owned()
}

/// A share as a percentage with as many decimals as it deserves: `12 %`, `1.4 %`.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value.abs() >= 10.0 { format!("{value:.0} %") } else { format!("{value:.1} %") }
}

/// A large count with two digits and a unit: `830`, `12 k`, `3.4 M`, `1.2 G`.
pub fn short_count(value: f64) -> String {
    let units = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    match units.iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) if value / size < 10.0 => format!("{:.1}{unit}", value / size),
        Some((size, unit)) => format!("{:.0}{unit}", value / size),
        None => format!("{value:.0}"),
    }
}

fn trimmed(decimal: &str) -> &str {
    if decimal.contains('.') {
        decimal.trim_end_matches('0').trim_end_matches('.')
    } else {
        decimal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(learning_rate(2e-4), "2e-4");
        assert_eq!(learning_rate(0.000_15), "1.5e-4");
        assert_eq!(learning_rate(1.0), "1e0");
        assert_eq!(epoch(4.0), "4");
        assert_eq!(epoch(10.0), "10");
        assert_eq!(epoch(1.0 / 3.0), "0.33");
        assert_eq!(plain(0.05), "0.05");
        assert_eq!(plain(0.0), "0");
        assert_eq!(percent(0.0142), "1.4 %");
        assert_eq!(percent(0.5), "50 %");
        assert_eq!(short_count(830.0), "830");
        assert_eq!(short_count(12_345.0), "12 k");
        assert_eq!(short_count(3_400_000.0), "3.4 M");
    }
}
