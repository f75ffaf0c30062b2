//! Figures as people read them.

use std::time::Duration;

/// One mebibyte.
pub const MIB: u64 = 1 << 20;

/// A length in its largest whole unit.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..=0xf_ffff => format!("{} KiB", bytes >> 10),
        0x10_0000..=0x3fff_ffff => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// A time with three digits.
#[must_use]
pub fn time(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        0.0..10.0 => format!("{millis:.2} ms"),
        10.0..100.0 => format!("{millis:.1} ms"),
        100.0..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.2} s", millis / 1e3),
    }
}

/// Bytes in a time, as megabytes (10^6) a second.
#[must_use]
pub fn rate(bytes: u64, time: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let rate = bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9);
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// How many times `whole` is `part`.
#[must_use]
pub fn ratio(whole: Duration, part: Duration) -> String {
    format!("{:.1}x", whole.as_secs_f64() / part.as_secs_f64().max(1e-9))
}
