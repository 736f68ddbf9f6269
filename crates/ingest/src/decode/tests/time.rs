//! Exact times.

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::time::{Instant, TimeFault};
use super::{cases, value};

fn nanos(text: &str) -> Result<i128, TimeFault> {
    let instant = Instant::parse(text)?;
    Ok(i128::from(instant.secs) * 1_000_000_000 + i128::from(instant.nanos))
}

#[test]
fn a_number_is_taken_in_the_unit_in_which_it_is_plausible() {
    for (text, expected) in [
        ("1626916404", 1_626_916_404_000_000_000),
        ("1626916404006", 1_626_916_404_006_000_000),
        ("1626916404006007", 1_626_916_404_006_007_000),
        ("1626916404006007008", 1_626_916_404_006_007_008),
        ("1626916404.006", 1_626_916_404_006_000_000),
        ("1626916404.006007008", 1_626_916_404_006_007_008),
        ("1626916404006.007008", 1_626_916_404_006_007_008),
        ("1.626916404006e12", 1_626_916_404_006_000_000),
        ("1230768000", 1_230_768_000_000_000_000),
        ("9223372035999999999", 9_223_372_035_999_999_999),
        ("0", 0),
        ("0.0", 0),
    ] {
        assert_eq!(nanos(text), Ok(expected), "{text}");
    }
    for text in [
        "1",
        "-1",
        "1230767999",
        "1230767999999",
        "9223372036",
        "9223372036000",
        "86400000",
        "-1626916404006",
        "99999999999999999999999",
        "1e30",
        "1230767999.999999999",
        "12307679999999",
    ] {
        assert_eq!(nanos(text), Err(TimeFault::Implausible), "{text}");
    }
    for text in [
        "1626916404.0060070081",
        "1626916404006007008.5",
        "1626916404006.0070081",
    ] {
        assert_eq!(nanos(text), Err(TimeFault::ExcessDigits), "{text}");
    }
}

#[test]
fn rfc_3339_is_read_with_any_offset_and_without() {
    for (text, expected) in [
        ("2025-10-09T08:53:20Z", 1_760_000_000_000_000_000),
        ("2025-10-09t08:53:20z", 1_760_000_000_000_000_000),
        ("2025-10-09 08:53:20", 1_760_000_000_000_000_000),
        ("2025-10-09T08:53:20+00:00", 1_760_000_000_000_000_000),
        ("2025-10-09T10:53:20+02:00", 1_760_000_000_000_000_000),
        ("2025-10-09T10:53:20+0200", 1_760_000_000_000_000_000),
        ("2025-10-09T10:53:20+02", 1_760_000_000_000_000_000),
        (
            "2025-10-09T03:23:20.123456789-05:30",
            1_760_000_000_123_456_789,
        ),
        ("2025-10-09 08:53:20.5", 1_760_000_000_500_000_000),
        (
            "2025-10-09T08:53:20.12300000000000Z",
            1_760_000_000_123_000_000,
        ),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2000-02-29T00:00:00Z", 951_782_400_000_000_000),
    ] {
        assert_eq!(nanos(text), Ok(expected), "{text}");
    }
    for text in [
        "",
        "now",
        "2025-10-09",
        "2025-10-09T08:53Z",
        "2025-10-09T08:53:20.Z",
        "2025-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-00-01T00:00:00Z",
        "2025-04-31T00:00:00Z",
        "2025-01-00T00:00:00Z",
        "2025-01-01T24:00:00Z",
        "2025-01-01T00:60:00Z",
        "2025-01-01T00:00:60Z",
        "2025-01-01T00:00:00+24:00",
        "2025-01-01T00:00:00 +01:00",
        "2025-01-01T00:00:00UTC",
        "2025/01/01 00:00:00",
        "20250101T000000Z",
        "2025-1-1T00:00:00Z",
        "+2025-01-01T00:00:00Z",
        "2025-01-01T00:00:00Z ",
        "２０２５-01-01",
        "2025-01-01T-1:00:00Z",
    ] {
        assert_eq!(nanos(text), Err(TimeFault::Malformed), "{text}");
    }
    assert_eq!(
        nanos("2025-10-09T08:53:20.1234567891Z"),
        Err(TimeFault::ExcessDigits)
    );
}

#[test]
fn a_time_column_takes_what_it_holds_exactly() {
    for (type_text, json, expected) in [
        ("DateTime", "1626916404", "2021-07-22T01:13:24"),
        ("DateTime('UTC')", "1626916404000", "2021-07-22T01:13:24Z"),
        (
            "DateTime64(1, 'UTC')",
            "1626916404500",
            "2021-07-22T01:13:24.500Z",
        ),
        (
            "DateTime64(3, 'UTC')",
            "\"2021-07-22T01:13:24.500Z\"",
            "2021-07-22T01:13:24.500Z",
        ),
        ("DateTime64(6, 'UTC')", "1626916404", "2021-07-22T01:13:24Z"),
        (
            "DateTime64(7, 'UTC')",
            "\"2021-07-22T01:13:24.1234567Z\"",
            "2021-07-22T01:13:24.123456700Z",
        ),
        (
            "DateTime64(9, 'UTC')",
            "1626916404006007008",
            "2021-07-22T01:13:24.006007008Z",
        ),
        ("DateTime64(3, 'UTC')", "0", "1970-01-01T00:00:00Z"),
        (
            "DateTime64(3, 'UTC')",
            "\"1900-01-01 00:00:00\"",
            "1900-01-01T00:00:00Z",
        ),
        (
            "DateTime64(3, 'UTC')",
            "\"2299-12-31 23:59:59.999\"",
            "2299-12-31T23:59:59.999Z",
        ),
        ("Date", "\"2026-03-27\"", "2026-03-27"),
        ("Date", "1774569600", "2026-03-27"),
        ("Date32", "\"1900-01-01\"", "1900-01-01"),
        ("Date32", "\"2299-12-31\"", "2299-12-31"),
    ] {
        assert_eq!(
            value(type_text, json).unwrap(),
            expected,
            "{type_text} {json}"
        );
    }
    for (type_text, json, label) in [
        ("DateTime", "1626916404500", "excess_digits"),
        ("DateTime64(1, 'UTC')", "1626916404550", "excess_digits"),
        (
            "DateTime64(3, 'UTC')",
            "\"2021-07-22T01:13:24.1234Z\"",
            "excess_digits",
        ),
        (
            "DateTime64(7, 'UTC')",
            "1626916404006007008",
            "excess_digits",
        ),
        ("DateTime", "\"1969-12-31T23:59:59Z\"", "out_of_range"),
        ("DateTime", "\"2106-02-07T06:28:16Z\"", "out_of_range"),
        ("DateTime", "4294967296", "out_of_range"),
        ("DateTime64(3)", "\"1899-12-31T23:59:59Z\"", "out_of_range"),
        ("DateTime64(3)", "\"2300-01-01T00:00:00Z\"", "out_of_range"),
        ("DateTime64(9)", "\"2262-04-12T00:00:00Z\"", "out_of_range"),
        ("DateTime64(3)", "\"yesterday\"", "bad_time"),
        ("DateTime64(3)", "true", "wrong_type"),
        ("DateTime64(3)", "12345", "implausible_time"),
        ("Date", "\"1969-12-31\"", "out_of_range"),
        ("Date", "\"2149-06-07\"", "out_of_range"),
        ("Date", "1774569601", "excess_digits"),
        ("Date32", "\"2300-01-01\"", "out_of_range"),
    ] {
        assert_eq!(
            value(type_text, json).unwrap_err().reason.label(),
            label,
            "{type_text} {json}"
        );
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn rfc_3339_is_read_as_jiff_reads_it(secs in -2_208_988_800_i64..10_413_791_999, nanos_part in 0_i32..1_000_000_000, offset in -1439_i64..1440) {
        let time = Timestamp::new(secs, nanos_part).unwrap();
        prop_assert_eq!(nanos(&time.to_string()), Ok(time.as_nanosecond()));
        // The same instant on a clock that is ahead by the offset.
        let shifted = Timestamp::new(secs + offset * 60, nanos_part).unwrap().to_string();
        let sign = if offset < 0 { '-' } else { '+' };
        let clock = shifted.trim_end_matches('Z');
        let text = format!("{clock}{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60);
        prop_assert_eq!(nanos(&text), Ok(time.as_nanosecond()), "{}", text);
        prop_assert_eq!(text.parse::<Timestamp>().unwrap(), time);
    }

    #[test]
    fn an_instant_at_a_scale_is_what_integer_division_says(secs in 1_230_768_000_i64..4_000_000_000, part in 0_u32..1_000_000_000, scale in 0_u8..=9) {
        let unit = 10_i64.pow(9 - u32::from(scale));
        let all = secs * 1_000_000_000 + i64::from(part);
        let (whole, rest) = (all / unit, all % unit);
        let up = rest * 2 > unit || rest * 2 == unit && whole % 2 == 1;
        let instant = Instant { secs, nanos: part };
        prop_assert_eq!(instant.at_scale(scale), Some((whole + i64::from(up), rest != 0)));
        prop_assert_eq!(Instant::from_nanos(all), instant);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), digits in proptest::collection::vec(proptest::sample::select(b"0129.-+eT:Z ".to_vec()), 0..40)) {
        let _ = Instant::parse(&text);
        let _ = Instant::parse(&String::from_utf8(digits).unwrap());
    }
}
