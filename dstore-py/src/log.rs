//! What dstore tells with `tracing`, on its way to Python's `logging`, under `dstore.*`.
//!
//! Events may come from threads of ours, in the middle of work: they put them into a queue, and never wait for the
//! interpreter. A thread of its own hands them over, and so does every call when it ends.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use async_channel::{Receiver, Sender};
use pyo3::prelude::*;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::gate;

/// Events that wait; when there are more, the newest are lost, and counted.
const MAX_WAITING: usize = 4096;
/// `logging`'s numbers: one that nobody has set yet.
const UNKNOWN: i32 = -1;

struct Queue {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    lost: AtomicU64,
}

struct Event {
    target: String,
    level: u32,
    text: String,
    /// Seconds since the epoch.
    time: f64,
}

static QUEUE: LazyLock<Queue> = LazyLock::new(|| {
    let (sender, receiver) = async_channel::bounded(MAX_WAITING);
    Queue { sender, receiver, lost: AtomicU64::new(0) }
});
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();
/// The level of the logger `dstore` when it was looked at last.
static FOLLOWED: AtomicI32 = AtomicI32::new(UNKNOWN);

fn targets(level: LevelFilter) -> Targets {
    Targets::new().with_target("dstore", level)
}

/// Has events go to the queue.
pub(crate) fn install() {
    let (filter, handle) = reload::Layer::new(targets(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Lines)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time()
        .with_filter(filter);
    // Another extension of this process has its own copy of `tracing`.
    if tracing::subscriber::set_global_default(Registry::default().with(lines)).is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Makes the level of the logger `dstore` ours.
pub(crate) fn follow(py: Python<'_>) -> PyResult<()> {
    let logger = py.import("logging")?.call_method1("getLogger", ("dstore",))?;
    // However large, it means that nothing is told.
    let level = logger.call_method0("getEffectiveLevel")?.extract().unwrap_or(i32::MAX);
    if FOLLOWED.swap(level, Ordering::Relaxed) != level
        && let Some(filter) = FILTER.get()
    {
        let level = match level {
            ..10 => LevelFilter::TRACE,
            10..20 => LevelFilter::DEBUG,
            20..30 => LevelFilter::INFO,
            30..40 => LevelFilter::WARN,
            40..=50 => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        };
        let _ = filter.modify(|filter| *filter = targets(level));
    }
    Ok(())
}

/// Hands over what waits.
///
/// # Errors
/// What is raised meanwhile and is no failure of a handler's, which `logging` tells itself: an interrupt, for one.
pub(crate) fn drain(py: Python<'_>) -> PyResult<()> {
    while let Ok(event) = QUEUE.receiver.try_recv() {
        emit(py, &event)?;
    }
    let lost = QUEUE.lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let text = format!("{lost} messages were lost: they came faster than logging took them");
        emit(py, &Event::new("dstore", Level::WARN, text))?;
    }
    Ok(())
}

fn emit(py: Python<'_>, event: &Event) -> PyResult<()> {
    let Event { target, level, text, time } = event;
    py.import("dstore._logging")?.call_method1("emit", (target, level, text, time)).map(drop)
}

impl Event {
    fn new(target: &str, level: Level, text: String) -> Self {
        let level = match level {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            Level::DEBUG => 10,
            Level::TRACE => 5,
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { target: target.replace("::", "."), level, text, time }
    }

    fn queue(self) {
        if QUEUE.sender.try_send(self).is_err() {
            QUEUE.lost.fetch_add(1, Ordering::Relaxed);
        }
        static STARTED: AtomicBool = AtomicBool::new(false);
        if !STARTED.swap(true, Ordering::Relaxed) {
            // Without it, calls still hand events over when they end.
            let _ = std::thread::Builder::new().name("dstore-log".to_owned()).spawn(hand_over);
        }
    }
}

/// Hands events over as they come.
fn hand_over() {
    while let Ok(event) = QUEUE.receiver.recv_blocking() {
        let Some(_pass) = gate::pass() else { return };
        Python::attach(|py| {
            // There is nobody here to be told what is raised.
            let _ = emit(py, &event).and_then(|()| drain(py));
        });
    }
}

/// Takes the lines that the formatter writes.
struct Lines;

/// One of them: it goes to the queue when it is whole.
struct Line {
    target: String,
    level: Level,
    text: Vec<u8>,
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { target: "dstore".to_owned(), level: Level::INFO, text: Vec::new() }
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> Line {
        Line { target: metadata.target().to_owned(), level: *metadata.level(), text: Vec::new() }
    }
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text).trim_end().to_owned();
        if !text.is_empty() {
            Event::new(&self.target, self.level, text).queue();
        }
    }
}
