//! Dates and times as people write them (RFC 3339).

use crate::time::Timestamp;

/// Reads a `date-time` of RFC 3339 clause 5.6, such as `2031-01-01T00:00:00Z`. A fraction of a second is
/// cut off. `None` for what is none, and for times before 1970.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, zone) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
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
    u64::try_from(local - offset(without_fraction(zone)?)?).ok().map(Timestamp::from_secs)
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

fn without_fraction(zone: &str) -> Option<&str> {
    let Some(fraction) = zone.strip_prefix('.') else { return Some(zone) };
    let rest = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
    (rest.len() < fraction.len()).then_some(rest)
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
            ("2031-01-01t01:30:00.25+01:30", 1_924_992_000),
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
            "1969-12-31T23:59:59Z",
            "2031-01-01T00:00:00\u{e9}",
            "203\u{e9}-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
