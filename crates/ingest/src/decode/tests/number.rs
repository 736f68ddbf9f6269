//! Exact numbers.

use arrow::datatypes::i256;
use proptest::prelude::*;

use super::reference::{decimal_text, normal};
use super::{cases, value};
use mpsync_core::decimal::{self, NumberFault, NumberParts, Plain, Scaled};

/// Both ways from a text to a decimal; they must not differ where both know.
fn decimal(text: &str, precision: u8, scale: u8, round: bool) -> Result<Scaled<i128>, NumberFault> {
    let exact = decimal::decimal(text, precision, scale, round);
    if let Some(fast) = Plain::parse(text).and_then(|plain| plain.at_scale(precision, scale)) {
        let rounded = false;
        assert_eq!(
            exact,
            Ok(Scaled {
                value: fast,
                rounded
            }),
            "{text}"
        );
    }
    let wide: Result<Scaled<i256>, _> = decimal::decimal(text, precision, scale, round);
    assert_eq!(
        wide.map(|s| s.value),
        exact.map(|s: Scaled<i128>| i256::from_i128(s.value)),
        "{text}"
    );
    exact
}

#[test]
fn every_form_of_a_number_is_its_exact_decimal() {
    for (text, scale, expected) in [
        ("0", 18, 0),
        ("-0.000", 2, 0),
        ("0e99999999999999999999", 2, 0),
        ("1", 2, 100),
        ("+1", 2, 100),
        ("00012.50", 2, 1250),
        ("-12.5", 2, -1250),
        (".5", 1, 5),
        ("5.", 1, 50),
        ("9.2E-7", 18, 920_000_000_000),
        ("9.2e-7", 8, 92),
        ("1e5", 0, 100_000),
        ("1E+5", 2, 10_000_000),
        ("1200e-2", 0, 12),
        ("1.50000000000000000000000000000000000000000000", 1, 15),
        ("0.000000000000000001", 18, 1),
        (
            "99999999999999999999.999999999999999999",
            18,
            10_i128.pow(38) - 1,
        ),
        (
            "-99999999999999999999999999999999999999",
            0,
            1 - 10_i128.pow(38),
        ),
        ("9223372036854775808", 0, 9_223_372_036_854_775_808),
        ("9999999999999999999", 0, 9_999_999_999_999_999_999),
        ("0.00000000000000000001e20", 0, 1),
    ] {
        let scaled = decimal(text, 38, scale, false).unwrap();
        assert_eq!((scaled.value, scaled.rounded), (expected, false), "{text}");
    }
}

#[test]
fn what_is_no_number_is_no_number() {
    for text in [
        "", "-", "+", ".", "e5", "1e", "1e+", "1.2.3", "1,5", "0x10", "NaN", "inf", "Infinity",
        " 1", "1 ", "1_000", "--1", "١", "1e5.5",
    ] {
        assert_eq!(
            decimal(text, 38, 18, true),
            Err(NumberFault::Malformed),
            "{text}"
        );
        assert_eq!(
            decimal::integer(text),
            Err(NumberFault::Malformed),
            "{text}"
        );
        assert_eq!(
            decimal::float64(text),
            Err(NumberFault::Malformed),
            "{text}"
        );
    }
}

#[test]
fn a_number_too_large_or_too_fine_is_refused() {
    for text in [
        "1e20",
        "100000000000000000000",
        "-1e20",
        "1e999999999999999999999",
    ] {
        assert_eq!(
            decimal(text, 38, 18, true),
            Err(NumberFault::OutOfRange),
            "{text}"
        );
    }
    for text in [
        "0.0000000000000000001",
        "1e-19",
        "1e-999999999999999999999",
        "1.1234567890123456789",
    ] {
        assert_eq!(
            decimal(text, 38, 18, false),
            Err(NumberFault::ExcessDigits),
            "{text}"
        );
    }
}

#[test]
fn rounding_goes_half_to_even_and_says_so() {
    for (text, expected) in [
        ("0.5", 0),
        ("1.5", 2),
        ("2.5", 2),
        ("-2.5", -2),
        ("-3.5", -4),
        ("2.50000000000000000000000000000000000000000001", 3),
        ("2.4999999999999999999999999999999999999999999", 2),
        ("0.05", 0),
        ("1e-30", 0),
        ("99.5", 100),
    ] {
        let scaled = decimal(text, 38, 0, true).unwrap();
        assert_eq!((scaled.value, scaled.rounded), (expected, true), "{text}");
    }
    assert_eq!(decimal("99.5", 2, 0, true), Err(NumberFault::OutOfRange));
}

#[test]
fn thirty_seven_decimals_fit_a_wider_column_only() {
    let text = "\"0.1234567890123456789012345678901234567\"";
    assert_eq!(
        value("Decimal(76, 38)", text).unwrap(),
        "0.12345678901234567890123456789012345670"
    );
    assert_eq!(
        value("Decimal(38, 18)", text).unwrap_err().reason.label(),
        "excess_digits"
    );
    let large = format!("{}.5", "9".repeat(38));
    assert_eq!(
        value("Decimal(76, 38)", &large).unwrap(),
        format!("{large}{}", "0".repeat(37))
    );
}

#[test]
fn integers_are_exact_in_every_form_and_width() {
    for (text, expected) in [
        ("5", 5),
        ("-5", -5),
        ("1e3", 1000),
        ("1.0", 1),
        ("120e-1", 12),
        ("+7", 7),
        ("007", 7),
    ] {
        assert_eq!(decimal::integer(text), Ok(expected), "{text}");
    }
    assert_eq!(decimal::integer("1.5"), Err(NumberFault::ExcessDigits));
    assert_eq!(
        decimal::integer("18446744073709551615"),
        Ok(u64::MAX.into())
    );
    for (type_text, first, last) in [
        ("Int8", "-128", "127"),
        ("UInt8", "0", "255"),
        ("Int16", "-32768", "32767"),
        ("UInt16", "0", "65535"),
        ("Int32", "-2147483648", "2147483647"),
        ("UInt32", "0", "4294967295"),
        ("Int64", "-9223372036854775808", "9223372036854775807"),
        ("UInt64", "0", "18446744073709551615"),
    ] {
        assert_eq!(value(type_text, first).unwrap(), first);
        assert_eq!(value(type_text, &format!("\"{last}\"")).unwrap(), last);
        for beyond in [format!("{last}0"), "-9223372036854775809".to_owned()] {
            assert_eq!(
                value(type_text, &beyond).unwrap_err().reason.label(),
                "out_of_range"
            );
        }
    }
}

#[test]
fn floats_are_the_nearest_ones() {
    assert_eq!(value("Float64", "0.1").unwrap(), "0.1");
    assert_eq!(value("Float64", "\"1e-5\"").unwrap(), "0.00001");
    assert_eq!(value("Float32", "16777217").unwrap(), "16777216.0");
    assert_eq!(
        value("Float64", "1e999").unwrap_err().reason.label(),
        "out_of_range"
    );
    assert_eq!(
        value("Float32", "1e39").unwrap_err().reason.label(),
        "out_of_range"
    );
    assert_eq!(
        value("Float64", "\"inf\"").unwrap_err().reason.label(),
        "bad_number"
    );
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn any_decimal_in_any_form_comes_back(
        unscaled in prop_oneof![any::<u64>().prop_map(u128::from), 0..10_u128.pow(38)],
        negative: bool, scale in 0_u8..=38, move_point in -60_i64..60, zeros in 0_usize..5, plus: bool,
    ) {
        let value = if negative { -i128::try_from(unscaled).unwrap() } else { i128::try_from(unscaled).unwrap() };
        let plain = decimal_text(&unscaled.to_string(), scale.into(), negative);
        let exponent = move_point - i64::from(scale);
        let sign = if negative { "-" } else if plus { "+" } else { "" };
        let lead = "0".repeat(zeros);
        for text in [
            plain.clone(),
            format!("{value}e-{scale}"),
            format!("{sign}{lead}{unscaled}.{lead}E-{scale}"),
            if let Ok(places) = usize::try_from(move_point) {
                // The point moved into the digits, the exponent moved back.
                format!("{}e{exponent:+}", decimal_text(&unscaled.to_string(), places, negative))
            } else {
                let zeros = "0".repeat(usize::try_from(-move_point).unwrap());
                format!("{plain}{}{zeros}", if scale > 0 { "" } else { "." })
            },
        ] {
            let scaled = decimal(&text, 38, scale, false);
            prop_assert_eq!(scaled, Ok(Scaled { value, rounded: false }), "{}", text);
            prop_assert_eq!(normal(&text), normal(&plain));
        }
    }

    #[test]
    fn rounding_is_what_integer_division_says(unscaled in 0..10_i128.pow(30), drop in 1_u32..25, negative: bool) {
        let text = decimal_text(&unscaled.to_string(), drop as usize, negative);
        let unit = 10_i128.pow(drop);
        let (whole, rest) = (unscaled / unit, unscaled % unit);
        let up = rest * 2 > unit || rest * 2 == unit && whole % 2 == 1;
        let expected = whole + i128::from(up);
        let expected = if negative { -expected } else { expected };
        prop_assert_eq!(decimal(&text, 38, 0, true), Ok(Scaled { value: expected, rounded: rest != 0 }));
    }

    #[test]
    fn a_wide_decimal_comes_back(high in any::<u128>(), low in any::<u128>(), scale in 0_u8..=76, negative: bool) {
        let digits = format!("{high}{low:039}");
        let digits = digits[..digits.len().min(76)].trim_start_matches('0');
        let text = decimal_text(digits, scale.into(), negative);
        let scaled: Scaled<i256> = decimal::decimal(&text, 76, scale, false).unwrap();
        let expected = i256::from_string(&format!("{}{digits:0>1}", if negative { "-" } else { "" })).unwrap();
        prop_assert_eq!(scaled, Scaled { value: expected, rounded: false });
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), digits in proptest::collection::vec(proptest::sample::select(b"0159.-+eE".to_vec()), 0..60)) {
        let _ = NumberParts::parse(&text).map(|p| p.at_scale::<i128>(38, 18, true));
        let digits = String::from_utf8(digits).unwrap();
        let _ = decimal(&digits, 38, 18, true);
        let _ = decimal(&digits, 38, 0, false);
    }
}
