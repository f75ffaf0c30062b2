//! Numbers, times and names as people read them.

use std::time::Duration;

use bytesize::ByteSize;
use dstore::ledger::Cost;
use dstore::rt::Timestamp;

/// `64.0 MiB`
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// `67,108,864`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `129 MB/s`; nothing for a time too short to tell.
pub(crate) fn speed(bytes: u64, time: Duration) -> Option<String> {
    let nanos = time.as_nanos();
    let per_second = (u128::from(bytes) * 1_000_000_000).checked_div(nanos)?;
    let per_second = u64::try_from(per_second).ok().filter(|_| bytes >= 1 << 16)?;
    Some(match per_second {
        0..1_000_000 => format!("{} kB/s", per_second / 1000),
        1_000_000..10_000_000 => format!("{}.{} MB/s", per_second / 1_000_000, per_second / 100_000 % 10),
        _ => format!("{} MB/s", per_second / 1_000_000),
    })
}

/// `0.52 s`, `3 min 20 s`
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.2} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// `3h`: the largest unit is enough.
pub(crate) fn age(time: Duration) -> String {
    let (number, unit) = match time.as_secs() {
        seconds @ 0..60 => (seconds, 's'),
        seconds @ 60..3600 => (seconds / 60, 'm'),
        seconds @ 3600..172_800 => (seconds / 3600, 'h'),
        seconds => (seconds / 86_400, 'd'),
    };
    format!("{number}{unit}")
}

/// `64.0 MiB in 0.52 s (129 MB/s)`
pub(crate) fn amount(bytes: u64, time: Duration) -> String {
    match speed(bytes, time) {
        Some(speed) => format!("{} in {} ({speed})", size(bytes), seconds(time)),
        None => format!("{} in {}", size(bytes), seconds(time)),
    }
}

/// `0.0123 ETH`: nine digits after the point, rounded down, as nobody pays less.
pub(crate) fn ether(wei: u128) -> String {
    const GWEI: u128 = 1_000_000_000;
    if wei > 0 && wei < GWEI {
        return "less than 0.000000001 ETH".to_owned();
    }
    let (whole, part) = (wei / (GWEI * GWEI), wei / GWEI % GWEI);
    let part = format!("{part:09}");
    match part.trim_end_matches('0') {
        "" => format!("{whole} ETH"),
        part => format!("{whole}.{part} ETH"),
    }
}

/// `70,123 gas: 0.00007 ETH now, at most 0.007 ETH`
pub(crate) fn cost(cost: &Cost) -> String {
    let (now, most) = (ether(cost.wei), ether(cost.max_wei));
    format!("{} gas: {now} at the fees of now, at most {most}", grouped(cost.gas))
}

/// `2026-11-22 15:54`
pub(crate) fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// `1 node`, `2 nodes`
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A name that does nothing to a terminal: control characters, and those that turn the direction of text, as escapes.
pub(crate) fn harmless(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c {
            c if c.is_control() || turns => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// `text` in lines of at most `width` columns, broken between words; a word that is longer stays whole.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let len = word.chars().count();
        if used > 0 && used + 1 + len > width {
            lines.push(String::new());
            used = 0;
        }
        let line = lines.last_mut().expect("there is always one");
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += len;
    }
    lines
}

/// A path as a shell reads it back.
pub(crate) fn shell_quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,=".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_speeds_have_units() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(64 << 20), "64.0 MiB");
        assert_eq!(grouped(64 << 20), "67,108,864");
        assert_eq!((grouped(0), grouped(999), grouped(1000)), ("0".into(), "999".into(), "1,000".into()));
        assert_eq!(speed(100_000_000, Duration::from_millis(500)).as_deref(), Some("200 MB/s"));
        assert_eq!(speed(4_500_000, Duration::from_secs(1)).as_deref(), Some("4.5 MB/s"));
        assert_eq!(speed(100, Duration::from_secs(1)), None);
        assert_eq!(speed(100_000_000, Duration::ZERO), None);
        assert_eq!(amount(64 << 20, Duration::from_millis(520)), "64.0 MiB in 0.52 s (129 MB/s)");
        assert_eq!(seconds(Duration::from_secs(200)), "3 min 20 s");
    }

    #[test]
    fn amounts_of_ether_have_no_digits_that_say_nothing() {
        assert_eq!(ether(0), "0 ETH");
        assert_eq!(ether(999_999_999), "less than 0.000000001 ETH");
        assert_eq!(ether(1_500_000_000_000_000_000), "1.5 ETH");
        assert_eq!(ether(70_123_456_789_012), "0.000070123 ETH");
        assert_eq!(ether(10_000 * 1_000_000_000_000_000_000), "10000 ETH");
    }

    #[test]
    fn ages_are_as_exact_as_anybody_cares() {
        let of = |seconds| age(Duration::from_secs(seconds));
        assert_eq!([of(0), of(61), of(86_400), of(700_000)], ["0s", "1m", "24h", "8d"]);
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(harmless("我的 文件.txt"), "我的 文件.txt");
        assert_eq!(harmless("a\x1b[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\n\\u{202e}c");
    }

    #[test]
    fn long_texts_break_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible word", 8), ["incomprehensible", "word"]);
        assert_eq!(wrapped("one two", usize::MAX), ["one two"]);
        assert_eq!(wrapped("", 8), [""]);
    }

    #[test]
    fn folders_with_spaces_are_quoted_for_the_shell() {
        assert_eq!(shell_quoted("/tmp/a-b"), "/tmp/a-b");
        assert_eq!(shell_quoted("/tmp/it's here"), r"'/tmp/it'\''s here'");
    }
}
