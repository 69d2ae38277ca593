//! Numbers for people.

/// A share: `0.0 %`.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * float(part) / float(whole)) }
}

/// A count for display.
#[expect(clippy::cast_precision_loss, reason = "for display, to three digits")]
pub fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_is_no_number() {
        assert_eq!(percent(1, 4), "25.0 %");
        assert_eq!(percent(1, 0), "-");
    }
}
