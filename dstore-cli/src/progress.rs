//! How far a transfer is: a bar, a line now and then, or JSON lines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dstore::{Progress, Warning};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle, TermLike};

use crate::margin::Margin;
use crate::output::{Channel, Output, ProgressStyle};
use crate::shape::{StatusEvent, WarningEvent};
use crate::text;

/// The least time between two status events of one file.
const EVENT_EVERY: Duration = Duration::from_millis(250);
/// The least time between two progress lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Columns from which there is room for the bar itself, and for more than the percentage.
const WIDE: u16 = 75;
const MEDIUM: u16 = 45;

/// The progress of one command, over all its files. Clones share it; the bar goes when the last one does.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    out: Output,
    op: &'static str,
    channel: Channel,
    style: ProgressStyle,
    label: String,
    bar: ProgressBar,
    width: u16,
    started: Instant,
    done: AtomicU64,
    total: Option<u64>,
    last_line: Mutex<Instant>,
}

impl Meter {
    /// Starts to show `op` of what `label` says, `total` bytes long when that is known.
    pub(crate) fn start(out: &Output, op: &'static str, label: &str, total: Option<u64>, channel: Channel) -> Self {
        let style = out.progress_style();
        // Without --json, standard output is for data, and the story is told on standard error.
        let channel = if out.json || channel == Channel::None { channel } else { Channel::Err };
        let label = text::harmless(label);
        // Whole before it has a place to draw: each change would draw it.
        let target = match style {
            ProgressStyle::Bar => ProgressDrawTarget::term_like(Box::new(Margin::default())),
            _ => ProgressDrawTarget::hidden(),
        };
        let width = Margin::default().width();
        let bar = new_bar(total, width, target).with_message(label.clone());
        if style == ProgressStyle::Bar {
            out.show(&bar);
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        let started = Instant::now();
        let (done, last_line) = (AtomicU64::new(0), Mutex::new(started));
        Self(Arc::new(Shared {
            out: out.clone(),
            op,
            channel,
            style,
            label,
            bar,
            width,
            started,
            done,
            total,
            last_line,
        }))
    }

    /// Starts to follow one file.
    pub(crate) fn file(&self, path: &str, total: Option<u64>) -> FileMeter {
        let state = FileState { done: 0, last_event: None };
        let file = FileMeter { meter: self.clone(), path: path.into(), total, state: Arc::new(Mutex::new(state)) };
        let mut start = Progress::default();
        start.bytes_total = total;
        file.progress(start);
        file
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.started.elapsed()
    }

    fn add(&self, bytes: u64, file_total: Option<u64>) {
        let shared = &self.0;
        let done = shared.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let (None, Some(total)) = (shared.bar.length(), file_total) {
            shared.bar.set_length(total);
            shared.bar.set_style(known_style(shared.width));
        }
        shared.bar.set_position(done);
        if shared.style == ProgressStyle::Lines {
            let mut last = shared.last_line.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= LINE_EVERY {
                *last = Instant::now();
                shared.out.error_line(&self.progress_line(done, shared.total.or(file_total)));
            }
        }
    }

    fn progress_line(&self, done: u64, total: Option<u64>) -> String {
        let Shared { op, label, .. } = &*self.0;
        let of = match total {
            Some(total) if total > 0 => format!(" of {} ({} %)", text::size(total), done.saturating_mul(100) / total),
            _ => String::new(),
        };
        let speed = text::speed(done, self.elapsed()).map(|speed| format!(", {speed}")).unwrap_or_default();
        format!("{op} {label}: {}{of}{speed}", text::size(done))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn new_bar(total: Option<u64>, width: u16, target: ProgressDrawTarget) -> ProgressBar {
    let style = match total {
        Some(_) => known_style(width),
        None if width >= MEDIUM => style("{wide_msg} {spinner} {binary_bytes:>10} {decimal_bytes_per_sec:>11}"),
        None => style("{wide_msg} {spinner} {binary_bytes:>10}"),
    };
    ProgressBar::with_draw_target(total, target).with_style(style)
}

/// As much as leaves the name some twenty columns.
fn known_style(width: u16) -> BarStyle {
    match width {
        WIDE.. => {
            style("{wide_msg} {bar:20.cyan/dim} {percent:>3} % {binary_bytes:>10} {decimal_bytes_per_sec:>11} {eta:>4}")
        }
        MEDIUM.. => style("{wide_msg} {percent:>3} % {binary_bytes:>10} {decimal_bytes_per_sec:>11}"),
        _ => style("{wide_msg} {percent:>3} %"),
    }
    .progress_chars("━━─")
}

fn style(template: &'static str) -> BarStyle {
    BarStyle::with_template(template).expect("the template is written here and tested")
}

/// The progress of one file.
#[derive(Debug, Clone)]
pub(crate) struct FileMeter {
    meter: Meter,
    path: Arc<str>,
    total: Option<u64>,
    state: Arc<Mutex<FileState>>,
}

#[derive(Debug)]
struct FileState {
    done: u64,
    last_event: Option<Instant>,
}

impl FileMeter {
    /// Takes what the library says.
    pub(crate) fn progress(&self, mut progress: Progress) {
        progress.bytes_total = progress.bytes_total.or(self.total);
        let complete = progress.bytes_total == Some(progress.bytes_done);
        let (more, due) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let more = progress.bytes_done.saturating_sub(state.done);
            state.done += more;
            let due = complete || state.last_event.is_none_or(|last| last.elapsed() >= EVENT_EVERY);
            if due {
                state.last_event = Some(Instant::now());
            }
            (more, due)
        };
        self.meter.add(more, progress.bytes_total);
        let Shared { out, op, channel, style, .. } = &*self.meter.0;
        if *style == ProgressStyle::Events && due {
            out.event(*channel, &StatusEvent::new(op, &self.path, progress));
        }
    }

    /// Takes what the library warns of.
    pub(crate) fn warning(&self, warning: &Warning) {
        let Shared { out, channel, style, .. } = &*self.meter.0;
        if out.json || *style == ProgressStyle::Events || *channel == Channel::None {
            out.event(*channel, &WarningEvent::new(&self.path, warning));
        } else {
            out.warning(warning.code.as_str(), &format!("{}: {warning}", text::harmless(&self.path)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_valid_templates() {
        for width in [20, MEDIUM, WIDE] {
            for total in [Some(1), None] {
                new_bar(total, width, ProgressDrawTarget::hidden()).tick();
            }
        }
    }

    #[test]
    fn a_progress_line_says_how_far_and_of_how_much() {
        let meter = Meter::start(&Output::default(), "put", "a\x1b", Some(200), Channel::Out);
        assert_eq!(meter.progress_line(100, Some(200)), "put a\\u{1b}: 100 B of 200 B (50 %)");
        assert_eq!(meter.progress_line(100, None), "put a\\u{1b}: 100 B");
    }
}
