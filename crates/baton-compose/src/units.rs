//! Durations and sizes as people type them in a compose file.

use std::time::Duration;

/// Reads a Go-style duration: `30s`, `1m30s`, `500ms`, `1.5h`, `0`. Units: `h`, `m`, `s`, `ms`,
/// `us`/`µs`, `ns`. None for anything else, negative ones and what does not fit 64 bits of
/// nanoseconds (292 years), as in Go's `time.ParseDuration`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(scaled(number, scale)?)?;
        rest = tail;
    }
    (nanos <= i64::MAX as u64).then(|| Duration::from_nanos(nanos))
}

/// A decimal number times `scale`, rounded down; None unless it is digits with at most one point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = whole.checked_mul(scale)?;
    let mut part = u128::from(scale);
    let mut numerator: u128 = 0;
    // Digits beyond the 18th are under a nanosecond for every unit.
    let digits = &fraction[..fraction.len().min(18)];
    if !digits.is_empty() {
        numerator = digits.parse().ok()?;
        part *= numerator;
        part /= 10u128.pow(u32::try_from(digits.len()).ok()?);
    }
    if numerator > 0 {
        total = total.checked_add(u64::try_from(part).ok()?)?;
    }
    Some(total)
}

/// Writes a duration as [`parse_duration`] reads it, the way Go prints it: `1m30s`, `500ms`, `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let mut text = String::new();
    for (amount, unit) in [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(nanos / 1_000_000), "ms"),
        (u64::from(nanos / 1_000 % 1_000), "us"),
        (u64::from(nanos % 1_000), "ns"),
    ] {
        if amount > 0 {
            text.push_str(&format!("{amount}{unit}"));
        }
    }
    text
}

/// Reads a size in bytes: `1024`, `64KiB`, `10MB`, `10m`, `1.5g`. As in Compose and nginx every unit
/// is a power of 1024 and its case does not matter.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    if number.contains('.') && shift == 0 {
        return None;
    }
    scaled(number, 1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_go_reads_them() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("2h", 7_200_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("0", 0),
            ("0s", 0),
            ("1h0m0.25s", 3_600_250),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "+1s",
            "1 s",
            "1d",
            "1m30",
            "1.2.3s",
            ".s",
            "1S",
            "٣s",
            "99999999999h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("64KiB", 65_536),
            ("64k", 65_536),
            ("10MB", 10 << 20),
            ("10m", 10 << 20),
            ("1.5g", 3 << 29),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "1x",
            "1.5",
            "1.5b",
            "1..5k",
            "99999999999999t",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_the_same(nanos in 0..i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }

        #[test]
        fn sizes_scale(number in 0u64..1 << 20, power in 0usize..4) {
            let unit = ["", "k", "MiB", "gb"][power];
            prop_assert_eq!(parse_size(&format!("{number}{unit}")), Some(number << (10 * power)));
        }
    }
}
