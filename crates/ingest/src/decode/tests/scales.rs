//! Decimals of every precision and scale, alone and in levels, and times at every scale, in every form in which they are
//! written: what comes out is what went in.

use arrow::array::AsArray as _;
use arrow::datatypes::i256;
use proptest::prelude::*;

use super::reference::{decimal_text, normal};
use super::{cases, cell, decoder_of, row, value};

/// A type's precision and scale, and a number with no more digits than that.
fn decimals() -> impl Strategy<Value = (usize, usize, String, bool)> {
    (1_usize..=76).prop_flat_map(|precision| {
        let digits = proptest::collection::vec(
            proptest::sample::select(b"0123456789".to_vec()),
            1..=precision,
        );
        let digits = digits.prop_map(|digits| String::from_utf8(digits).unwrap());
        (Just(precision), 0..=precision, digits, any::<bool>())
    })
}

/// The number `digits × 10^-scale` in one of the forms in which publishers write it.
fn written(digits: &str, scale: usize, negative: bool, form: u8) -> String {
    let sign = if negative { "-" } else { "" };
    let significant = digits.trim_start_matches('0');
    let significant = if significant.is_empty() {
        "0"
    } else {
        significant
    };
    match form % 6 {
        0 => format!("\"{}\"", decimal_text(significant, scale, negative)),
        1 => decimal_text(significant, scale, negative),
        2 => format!("{sign}{significant}e-{scale}"),
        3 => format!("\"{sign}{significant}E-{scale}\""),
        4 => format!("\"{sign}{significant}000e-{}\"", scale + 3),
        // One digit before the point.
        _ => {
            let (first, rest) = significant.split_at(1);
            let rest = if rest.is_empty() { "0" } else { rest };
            let exponent =
                i64::try_from(significant.len()).unwrap() - 1 - i64::try_from(scale).unwrap();
            format!("{sign}{first}.{rest}e{exponent}")
        }
    }
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn a_decimal_of_any_precision_and_scale_comes_back((precision, scale, digits, negative) in decimals(), form: u8) {
        let json = written(&digits, scale, negative, form);
        let found = value(&format!("Decimal({precision}, {scale})"), &json);
        let expected = normal(&format!("{}{digits}e-{scale}", if negative { "-" } else { "" }));
        prop_assert_eq!(found.map(|text| normal(&text)).map_err(|e| e.to_string()), Ok(expected), "{}", json);
    }

    #[test]
    fn one_digit_too_many_is_refused_and_never_cut((precision, scale, digits, negative) in decimals(), form: u8, last in 1_u8..=9) {
        let json = written(&format!("{digits}{last}"), scale + 1, negative, form);
        prop_assert!(value(&format!("Decimal({precision}, {scale})"), &json).is_err(), "{}", json);
    }

    #[test]
    fn levels_of_any_two_types_come_back(price in decimals(), quantity in decimals(), form: u8, pairs: bool) {
        let (types, json) = [price, quantity].map(|(precision, scale, digits, negative)| {
            (format!("Decimal({precision}, {scale})"), (written(&digits, scale, negative, form), digits, scale, negative))
        }).into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        let mut decoder = decoder_of(&[("v", &format!("Array(Tuple(price {}, quantity {}))", types[0], types[1]))]);
        let (p, q) = (&json[0].0, &json[1].0);
        let level = if pairs { format!("[{p},{q}]") } else { format!("{{\"price\":{p},\"quantity\":{q}}}") };
        let batch = row(&mut decoder, &format!("{{\"ts\":1774590000000,\"v\":[{level},{level}]}}")).unwrap();
        let levels = batch["v"].as_list::<i32>().value(0);
        for (part, (_, digits, scale, negative)) in json.iter().enumerate() {
            let array = levels.as_struct().column(part);
            let expected = normal(&format!("{}{digits}e-{scale}", if *negative { "-" } else { "" }));
            for i in 0..2 {
                let text = arrow::util::display::array_value_to_string(array, i).unwrap();
                prop_assert_eq!(normal(&text), expected.clone());
            }
        }
    }

    #[test]
    fn an_instant_in_any_form_comes_back(nanos in 1_230_768_000_000_000_000_i64..4_000_000_000_000_000_000, scale in 0_u32..=9, form in 0_u8..6, offset in -14_i64..=14) {
        let unit = 10_i64.pow(9 - scale);
        let nanos = nanos / unit * unit;
        let instant = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
        let zone = jiff::tz::Offset::from_seconds(i32::try_from(offset * 3600).unwrap()).unwrap();
        let (secs, part) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let json = match form {
            0 => nanos.to_string(),
            1 if nanos % 1000 == 0 => (nanos / 1000).to_string(),
            2 if nanos % 1_000_000 == 0 => format!("\"{}\"", nanos / 1_000_000),
            3 => format!("\"{secs}.{part:09}\""),
            4 => format!("\"{}\"", instant.display_with_offset(zone)),
            _ => format!("\"{instant}\""),
        };
        let mut decoder = decoder_of(&[("v", &format!("DateTime64({scale}, 'UTC')"))]);
        let batch = row(&mut decoder, &format!("{{\"ts\":1774590000000,\"v\":{json}}}")).unwrap();
        let text = cell(&batch, "v");
        let found: jiff::Timestamp = text.parse().unwrap();
        prop_assert_eq!(found, instant, "{}", json);
    }

    #[test]
    fn the_widest_unscaled_numbers_come_back(high: i128, low: u128, form: u8) {
        let unscaled = i256::from_parts(low, high / 64);
        let text = unscaled.to_string();
        let (digits, negative) = text.strip_prefix('-').map_or((text.as_str(), false), |digits| (digits, true));
        let json = written(digits, 38, negative, form);
        let found = value("Decimal(76, 38)", &json);
        prop_assert_eq!(found.map(|text| normal(&text)).map_err(|e| e.to_string()), Ok(normal(&format!("{text}e-38"))));
    }
}
