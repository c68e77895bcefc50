//! Durations and bytes as people write them.

use time::OffsetDateTime;

/// `12 ms`, `1.2 s`, `48 s`, `2 m 05 s`, `1 h 02 m`.
#[must_use]
pub fn millis(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `512 B`, `64 KiB`, `1.5 GiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = count * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

/// `48213` → `48,213`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 request`, `2 requests`.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `2026-01-31 14:05:09`, UTC, for lists. JSON has the full time.
#[must_use]
pub fn moment(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{} {:02}:{:02}:{:02}",
        at.date(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// `just now`, `3 minutes ago`, `2 days ago`.
#[must_use]
pub fn ago(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let seconds = (now - at).whole_seconds().max(0).unsigned_abs();
    let (number, unit) = match seconds {
        0..10 => return "just now".to_owned(),
        10..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_what_matters() {
        let shown: Vec<String> = [0, 999, 1_234, 48_900, 125_000, 3_720_000]
            .into_iter()
            .map(millis)
            .collect();
        assert_eq!(
            shown,
            ["0 ms", "999 ms", "1.2 s", "48 s", "2 m 05 s", "1 h 02 m"]
        );
    }

    #[test]
    fn bytes_keep_one_digit_where_it_says_something() {
        let shown: Vec<String> = [512, 64 << 10, 412 << 20, (3 << 30) / 2, 5 << 40]
            .into_iter()
            .map(bytes)
            .collect();
        assert_eq!(shown, ["512 B", "64 KiB", "412 MiB", "1.5 GiB", "5 TiB"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(7), "7");
        assert_eq!(count(48_213), "48,213");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(counted(1, "request", "requests"), "1 request");
    }

    #[test]
    fn ages_are_rough() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(10);
        assert_eq!(ago(now, now), "just now");
        assert_eq!(ago(now - time::Duration::seconds(61), now), "1 minute ago");
        assert_eq!(ago(now - time::Duration::hours(50), now), "2 days ago");
    }
}
