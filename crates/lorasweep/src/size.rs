//! Sizes as a person reads them.

/// Bytes with a unit, two digits or more.
pub fn bytes(count: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = count as f64 / MIB;
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes(5 << 20), "5 MiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
    }
}
