//! Sizes in bytes. Pure.

/// Parses `1073741824`, `1G`, `512M` or `64K`, in powers of 1024.
///
/// # Errors
///
/// If the text is not a size, or the size is 0 or above `u64::MAX`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let (number, shift) = match upper.trim_end_matches("IB").trim_end_matches('B') {
        t if t.ends_with('K') => (t.trim_end_matches('K'), 10),
        t if t.ends_with('M') => (t.trim_end_matches('M'), 20),
        t if t.ends_with('G') => (t.trim_end_matches('G'), 30),
        t => (t, 0),
    };
    let number: u64 = number
        .trim()
        .parse()
        .map_err(|_| "expected a size such as 4G, 512M or 1073741824".to_owned())?;
    number
        .checked_mul(1 << shift)
        .filter(|n| *n > 0)
        .ok_or_else(|| "the size is out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_a_unit_are_parsed() {
        assert_eq!(parse_bytes("4G"), Ok(4 << 30));
        assert_eq!(parse_bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert!(parse_bytes("0").is_err() && parse_bytes("many").is_err());
    }
}
