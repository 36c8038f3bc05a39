//! Dates and times as people write them (RFC 3339).

use super::Timestamp;

/// Years that are written with more digits than four: those of no RFC 3339, written as ISO 8601 expands
/// them.
const FOUR_DIGITS_MAX: i64 = 9_999;

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// Writes a `date-time` of RFC 3339 clause 5.6 in UTC, with six digits of a fraction if there is one. A
/// year after 9999 has a sign and six digits, as ISO 8601 expands it.
pub(super) fn format(at: Timestamp) -> String {
    let (seconds, micros) =
        (at.as_micros() / MICROS_PER_SECOND, at.as_micros() % MICROS_PER_SECOND);
    let (days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (year, month, day) = date_of(i64::try_from(days).unwrap_or(i64::MAX));
    let year = if year > FOUR_DIGITS_MAX { format!("+{year:06}") } else { format!("{year:04}") };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Reads a `date-time` of RFC 3339 clause 5.6, such as `2031-01-01T00:00:00Z`, and what [`format()`] writes.
/// Of a fraction of a second six digits count. `None` for what is none, and for times before 1970.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (expanded, year_digits) = match text.strip_prefix('+') {
        Some(rest) => (rest, 6),
        None => (text, 4),
    };
    let (date, rest) = expanded.split_at_checked(year_digits + 6)?;
    let (time, zone) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [year_digits, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    // A leap second is told as 60 and has no number of its own.
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(year, month, day);
    let local = ((days * 24 + hour) * 60 + minute) * 60 + second.min(59);
    let (micros, zone) = fraction(zone)?;
    let seconds = u64::try_from(local - offset(zone)?).ok()?;
    seconds.checked_mul(MICROS_PER_SECOND)?.checked_add(micros).map(Timestamp::from_micros)
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut found = [0; 3];
    for (number, width) in found.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|octet| octet.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Microseconds, and what follows the fraction.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(fraction) = text.strip_prefix('.') else { return Some((0, text)) };
    let rest = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let digits = fraction.strip_suffix(rest)?.as_bytes();
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + digits.get(place).map_or(0, |digit| u64::from(digit - b'0'));
    }
    (!digits.is_empty()).then_some((micros, rest))
}

/// Seconds that the zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = if let Some(rest) = zone.strip_prefix('+') {
        (1, rest)
    } else {
        (-1, zone.strip_prefix('-')?)
    };
    let [hours, minutes, _] = numbers(&format!("{rest}:00"), ':', [2, 2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Leap days before this year, counted from year 0, and those until 1970.
    let before = year - 1;
    let leap_days = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 477;
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    (year - 1970) * 365 + leap_days + months + day - 1
}

/// The year, month and day of a day that is so many days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    // In 400 years there are 146097 days: this is the year or next to it.
    let mut year = 1970 + days.saturating_mul(400) / 146_097;
    while days_since_1970(year, 1, 1) > days {
        year -= 1;
    }
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_since_1970(year, month + 1, 1) <= days {
        month += 1;
    }
    (year, month, days - days_since_1970(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of GNU `date --utc --date=... +%s`.
    #[test]
    fn a_date_and_time_is_read_as_the_calendar_has_it() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2031-01-01T00:00:00Z", 1_924_992_000),
            ("2031-01-01t01:30:00+01:30", 1_924_992_000),
            ("2030-12-31 16:00:00-08:00", 1_924_992_000),
            ("2100-03-01T00:00:00z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Some(Timestamp::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_and_time_is_not_read() {
        for text in [
            "",
            "2031",
            "2031-01-01",
            "2031-01-01T00:00:00",
            "2031-13-01T00:00:00Z",
            "2031-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2031-00-01T00:00:00Z",
            "2031-01-00T00:00:00Z",
            "2031-01-01T24:00:00Z",
            "2031-01-01T00:00:00.Z",
            "2031-01-01T00:00:00+1:00",
            "2031-01-01T00:00:00Zx",
            "+031-01-01T00:00:00Z",
            "+02031-01-01T00:00:00Z",
            "+999999-12-31T23:59:59Z",
            "1969-12-31T23:59:59Z",
            "2031-01-01T00:00:00\u{e9}",
            "203\u{e9}-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same_microsecond() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (951_868_799_500_000, "2000-02-29T23:59:59.500000Z"),
            (1_924_992_000_000_000, "2031-01-01T00:00:00Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "+010000-01-01T00:00:00Z"),
            (u64::MAX, "+586524-01-19T08:01:49.551615Z"),
        ] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(format(at), text);
            assert_eq!(parse(text), Some(at), "{text}");
        }
        let quarter = Timestamp::from_micros(1_924_992_000_250_000);
        assert_eq!(parse("2031-01-01T01:30:00.2500009+01:30"), Some(quarter));
    }

    #[test]
    fn every_day_has_its_date() {
        for day in (0..200_000).chain(213_503_000..213_503_900) {
            let at = Timestamp::from_secs(day * SECONDS_PER_DAY);
            assert_eq!(parse(&format(at)), Some(at), "{}", format(at));
        }
    }
}
