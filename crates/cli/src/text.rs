//! Quantities in words, and words into quantities. Pure.

use std::time::Duration;

use time::OffsetDateTime;

/// `1.2 MB`, powers of ten as on a disk's label.
#[expect(clippy::cast_precision_loss, reason = "for display")]
pub fn bytes(count: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = "B";
    for next in units {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `12.0 MB used (s3 11.0 MB), 40.0 GB free`, of the health page's `disk`; services that take little are left out.
pub fn disk(page: &serde_json::Value) -> String {
    let number = |name: &str| page[name].as_u64().unwrap_or_default();
    let services = page["services"].as_object().into_iter().flatten();
    let mut large: Vec<(&String, u64)> = services.filter_map(|(name, used)| Some((name, used.as_u64()?))).collect();
    large.retain(|(_, used)| *used >= 1_000_000);
    large.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
    let each: Vec<String> = large.iter().map(|(name, used)| format!("{name} {}", bytes(*used))).collect();
    let each = if each.is_empty() { String::new() } else { format!(" ({})", each.join(", ")) };
    let bound = match page["max_bytes"].as_u64() {
        Some(most) => format!(" of {}", bytes(most)),
        None => String::new(),
    };
    format!(
        "{}{bound} used{each}, {} free, of which {} stay free",
        bytes(number("used_bytes")),
        bytes(number("free_bytes")),
        bytes(number("min_free_bytes"))
    )
}

/// `2.1 Mb/s`
#[expect(clippy::cast_precision_loss, reason = "for display")]
pub fn bitrate(bits: u64) -> String {
    if bits < 1_000_000 { format!("{} kb/s", bits / 1000) } else { format!("{:.1} Mb/s", bits as f64 / 1e6) }
}

/// `$0.0123`; what is less than a hundredth of a cent is not nothing.
pub fn usd(dollars: f64) -> String {
    if dollars > 0.0 && dollars < 0.000_05 { "under $0.0001".into() } else { format!("${dollars:.4}") }
}

/// `42 s`, `3 min 05 s`, `1 h 04 min`
pub fn seconds(total: u64) -> String {
    match total {
        0..60 => format!("{total} s"),
        60..3600 => format!("{} min {:02} s", total / 60, total % 60),
        _ => format!("{} h {:02} min", total / 3600, total % 3600 / 60),
    }
}

/// `12:03:44.120` of the day, UTC.
pub fn clock(at_ms: u64) -> String {
    let at = moment(at_ms);
    format!("{:02}:{:02}:{:02}.{:03}", at.hour(), at.minute(), at.second(), at.millisecond())
}

/// `2026-04-30 12:03:44`, UTC.
pub fn date(at_ms: u64) -> String {
    let at = moment(at_ms);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
}

fn moment(at_ms: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The month of a moment and those before it, the latest first, as the ledger names them: `2026-04`.
pub fn months(now_ms: u64, count: usize) -> Vec<String> {
    let at = moment(now_ms);
    let (mut year, mut month) = (at.year(), u8::from(at.month()));
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(format!("{year:04}-{month:02}"));
        (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
    }
    names
}

/// `500MB`, `20 GB`, `1TB`, as on a disk's label; a number alone is bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1_000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "tb" | "t" => 1_000_000_000_000,
        _ => return Err("write 500MB, 20GB or 1TB".into()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| "write 500MB, 20GB or 1TB".into())
}

/// `90s`, `10m`, `2h`, `1d`
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length of time: write 90s, 10m, 2h or 1d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or(text).parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_disks_are_labelled() {
        for (text, bytes) in [("0", 0), ("512", 512), ("500MB", 500_000_000), ("20 gb", 20_000_000_000), ("1T", 1_000_000_000_000)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "1.5GB", "-1", "1XB", "99999999999999999999", "99999999TB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_read_well() {
        assert_eq!([0, 999, 1000, 999_949, 999_950, 1_234_567_890].map(bytes), ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.2 GB"]);
        assert_eq!([0, 856_000, 2_996_000].map(bitrate), ["0 kb/s", "856 kb/s", "3.0 Mb/s"]);
        assert_eq!([0.0, 0.000_01, 0.012_34, 1.5].map(usd), ["$0.0000", "under $0.0001", "$0.0123", "$1.5000"]);
        assert_eq!([59, 65, 3840].map(seconds), ["59 s", "1 min 05 s", "1 h 04 min"]);
        assert_eq!(clock(1_777_550_624_120), "12:03:44.120");
        assert_eq!(date(1_777_550_624_120), "2026-04-30 12:03:44");
    }

    #[test]
    fn months_go_back_over_the_year() {
        assert_eq!(months(1_767_225_600_000, 3), ["2026-01", "2025-12", "2025-11"]);
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_duration("1d"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "m", "10", "-1s", "10 m", "1mm", "99999999999999999999d", "9999999999999999999d", "1é"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
