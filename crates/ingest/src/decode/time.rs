//! Times from their text: instants to the nanosecond, never guessed.
//!
//! A number is taken as seconds, milliseconds, microseconds or nanoseconds since 1970, whichever puts it between 2009
//! and 2262; no number fits two of them. Zero is the same instant in all of them. A text is RFC 3339, with a space for
//! the `T` allowed and UTC if there is no offset.

use mpsync_core::decimal::{NumberFault, NumberParts, Plain};

/// The first instant that is plausible: 2009-01-01, in seconds.
pub(super) const PLAUSIBLE_FROM_SECS: i64 = 1_230_768_000;
/// The first second that signed 64-bit nanoseconds do not hold, in April 2262.
const PLAUSIBLE_TO_SECS: i64 = 9_223_372_036;
pub(super) const NANOS_PER_SEC: i64 = 1_000_000_000;
const SECS_PER_DAY: i64 = 86_400;
/// The range of ClickHouse's `DateTime64`: 1900 to 2299, in seconds, both included.
pub(super) const DATE_TIME64_RANGE_SECS: (i64, i64) = (-2_208_988_800, 10_413_791_999);
/// The range of ClickHouse's `Date32`: 1900 to 2299, in days, both included.
pub(super) const DATE32_RANGE_DAYS: (i32, i32) = (-25_567, 120_529);

/// An instant: seconds since 1970, rounded down, and the nanoseconds beyond them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant {
    pub secs: i64,
    pub nanos: u32,
}

/// The reason why a text is not an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeFault {
    /// It is neither a number nor RFC 3339.
    Malformed,
    /// It has digits beyond the nanosecond.
    ExcessDigits,
    /// It is a number, but in no unit a time from 2009 to 2262.
    Implausible,
}

impl Instant {
    /// From nanoseconds since 1970.
    pub(super) fn from_nanos(nanos: i64) -> Self {
        Self::from_ticks(nanos, 9)
    }

    /// The range that callers let through, ±10^20 ns, keeps the seconds far within 64 bits.
    fn from_wide_nanos(nanos: i128) -> Self {
        let per_sec = i128::from(NANOS_PER_SEC);
        Self {
            secs: i64::try_from(nanos.div_euclid(per_sec)).unwrap_or(i64::MAX),
            nanos: u32::try_from(nanos.rem_euclid(per_sec)).unwrap_or(0),
        }
    }

    /// Reads a number or RFC 3339.
    pub(super) fn parse(text: &str) -> Result<Self, TimeFault> {
        if let Some(number) = Plain::parse(text).and_then(Plain::natural) {
            let (ticks, digits) = ticks(number).ok_or(TimeFault::Implausible)?;
            return Ok(Self::from_ticks(ticks, digits));
        }
        match NumberParts::parse(text) {
            Ok(parts) => Self::from_parts(parts),
            Err(_) => rfc3339(text.as_bytes()),
        }
    }

    /// From units of `10^-digits` seconds, at most nine digits.
    fn from_ticks(ticks: i64, digits: u8) -> Self {
        let per_sec = power_of_ten(digits);
        Self {
            secs: ticks.div_euclid(per_sec),
            nanos: u32::try_from(ticks.rem_euclid(per_sec) * (NANOS_PER_SEC / per_sec))
                .unwrap_or(0),
        }
    }

    /// A number with a point or an exponent, such as seconds with a fraction.
    fn from_parts(parts: NumberParts<'_>) -> Result<Self, TimeFault> {
        const BILLION: i128 = 1_000_000_000;
        // Nine digits after the point are more than any unit needs; an integer of up to 29 digits fits beside them.
        let scaled: i128 = match parts.at_scale(38, 9, false) {
            Ok(scaled) => scaled.value,
            Err(NumberFault::ExcessDigits) => return Err(TimeFault::ExcessDigits),
            Err(_) => return Err(TimeFault::Implausible),
        };
        if scaled == 0 {
            return Ok(Self { secs: 0, nanos: 0 });
        }
        for unit_nanos in [BILLION, 1_000_000, 1_000, 1] {
            let secs = scaled / BILLION * unit_nanos / BILLION;
            if (i128::from(PLAUSIBLE_FROM_SECS)..i128::from(PLAUSIBLE_TO_SECS)).contains(&secs) {
                let nanos = scaled * unit_nanos;
                return if nanos % BILLION == 0 {
                    Ok(Self::from_wide_nanos(nanos / BILLION))
                } else {
                    Err(TimeFault::ExcessDigits)
                };
            }
        }
        Err(TimeFault::Implausible)
    }

    /// The count of units of `10^-scale` seconds since 1970 (`scale` at most 9), rounded half to even if need be, and
    /// whether it was; `None` if 64 bits do not hold it.
    #[inline]
    pub(super) fn at_scale(self, scale: u8) -> Option<(i64, bool)> {
        let per_sec = power_of_ten(scale);
        let unit = NANOS_PER_SEC / per_sec;
        let nanos = i64::from(self.nanos);
        let whole = self.secs.checked_mul(per_sec)?.checked_add(nanos / unit)?;
        let rest = nanos % unit;
        if rest == 0 {
            return Some((whole, false));
        }
        let up = rest * 2 > unit || rest * 2 == unit && whole & 1 == 1;
        Some((whole.checked_add(i64::from(up))?, true))
    }

    /// Returns the days since 1970, if it is midnight UTC.
    pub(super) fn days(self) -> Option<i64> {
        (self.nanos == 0 && self.secs.rem_euclid(SECS_PER_DAY) == 0)
            .then_some(self.secs.div_euclid(SECS_PER_DAY))
    }
}

/// Returns the meaning of a number: units since 1970, and how many digits of a second the unit is. `None` if it is not a
/// plausible time in any unit.
#[inline]
pub(super) fn ticks(number: u64) -> Option<(i64, u8)> {
    const FROM: u64 = PLAUSIBLE_FROM_SECS as u64;
    const TO: u64 = PLAUSIBLE_TO_SECS as u64;
    const MILLI: u64 = 1_000;
    const MICRO: u64 = 1_000_000;
    const NANO: u64 = 1_000_000_000;
    let digits = if (FROM * MILLI..TO * MILLI).contains(&number) {
        3
    } else if (FROM..TO).contains(&number) || number == 0 {
        0
    } else if (FROM * MICRO..TO * MICRO).contains(&number) {
        6
    } else if (FROM * NANO..TO * NANO).contains(&number) {
        9
    } else {
        return None;
    };
    Some((i64::try_from(number).ok()?, digits))
}

/// Ten to the power of `digits`, at most nine.
#[inline]
pub(super) fn power_of_ten(digits: u8) -> i64 {
    const POWERS: [i64; 10] = [
        1,
        10,
        100,
        1_000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
        100_000_000,
        1_000_000_000,
    ];
    POWERS[usize::from(digits.min(9))]
}

/// Returns the days since 1970 of a date of the proleptic Gregorian calendar, if there is such a day.
///
/// The year is counted from March, so that the leap day is its last: Howard Hinnant's `days_from_civil`.
fn days_from_date(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// A number of exactly so many digits.
fn fixed(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

/// `2026-03-27`, as days since 1970, and what follows.
fn date_prefix(text: &[u8]) -> Option<(i64, &[u8])> {
    let (date, rest) = text.split_first_chunk::<10>()?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *date else {
        return None;
    };
    let days = days_from_date(
        fixed(&[y0, y1, y2, y3])?,
        fixed(&[m0, m1])?,
        fixed(&[d0, d1])?,
    )?;
    Some((days, rest))
}

/// A date without a time of day, as days since 1970.
pub(super) fn date(text: &str) -> Option<i64> {
    match date_prefix(text.as_bytes())? {
        (days, []) => Some(days),
        _ => None,
    }
}

fn rfc3339(text: &[u8]) -> Result<Instant, TimeFault> {
    let (day, clock, rest) = date_and_clock(text).ok_or(TimeFault::Malformed)?;
    let (nanos, rest) = match rest {
        [b'.', rest @ ..] => fraction(rest)?,
        rest => (0, rest),
    };
    let offset = offset_secs(rest).ok_or(TimeFault::Malformed)?;
    Ok(Instant {
        secs: day * SECS_PER_DAY + clock - offset,
        nanos,
    })
}

/// Day, second of the day, and what follows. A leap second is refused: no column can hold it.
fn date_and_clock(text: &[u8]) -> Option<(i64, i64, &[u8])> {
    let (days, rest) = date_prefix(text)?;
    let (clock, rest) = rest.split_first_chunk::<9>()?;
    let [b'T' | b't' | b' ', h0, h1, b':', m0, m1, b':', s0, s1] = *clock else {
        return None;
    };
    let (hour, minute, second) = (fixed(&[h0, h1])?, fixed(&[m0, m1])?, fixed(&[s0, s1])?);
    (hour < 24 && minute < 60 && second < 60).then_some((
        days,
        hour * 3600 + minute * 60 + second,
        rest,
    ))
}

/// The digits after the point as nanoseconds, and what follows.
fn fraction(text: &[u8]) -> Result<(u32, &[u8]), TimeFault> {
    let run = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(run);
    if digits.is_empty() {
        return Err(TimeFault::Malformed);
    }
    if digits.iter().skip(9).any(|&digit| digit != b'0') {
        return Err(TimeFault::ExcessDigits);
    }
    let nanos = digits
        .iter()
        .chain(std::iter::repeat(&b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Ok((nanos, rest))
}

/// `Z`, `+01:00`, `+0100`, `+01`, or nothing for UTC.
fn offset_secs(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match *text {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h0, h1] => (sign, [h0, h1], [b'0', b'0']),
        [sign, h0, h1, b':', m0, m1] | [sign, h0, h1, m0, m1] => (sign, [h0, h1], [m0, m1]),
        _ => return None,
    };
    let (hours, minutes) = (fixed(&hours)?, fixed(&minutes)?);
    let secs = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
    match sign {
        b'+' => Some(secs),
        b'-' => Some(-secs),
        _ => None,
    }
}
