//! The only place that prints: data on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use crate::failure::{BROKEN_PIPE, Failure, INTERRUPTED, Result};
use crate::shape::{ExitError, WarningEvent};

/// When to show something that only some places can show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl When {
    /// The setting as it is written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(format!("{text:?} is none of auto, always, never")),
        }
    }

    fn on(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// When and how to show how far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bars {
    /// As people read it.
    People(When),
    /// As JSON lines.
    Json,
}

impl Bars {
    /// The setting as it is written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            text => When::parse(text)
                .map(Self::People)
                .map_err(|_| format!("{text:?} is none of auto, always, never, json")),
        }
    }
}

impl Default for Bars {
    fn default() -> Self {
        Self::People(When::Auto)
    }
}

impl From<When> for clap::ColorChoice {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Always => Self::Always,
            When::Never => Self::Never,
        }
    }
}

/// The one bar of a command, when it has one.
#[derive(Debug, Clone)]
pub(crate) struct SharedBar(Arc<Mutex<ProgressBar>>);

impl Default for SharedBar {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()))))
    }
}

/// Where events of a transfer go: standard output, unless the file itself does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// Nowhere: the command tells its story itself.
    None,
}

/// How a transfer shows how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressStyle {
    /// Not at all.
    Silent,
    /// A bar that is redrawn in place.
    Bar,
    /// A line now and then, where nothing can be redrawn.
    Lines,
    /// JSON lines.
    Events,
}

/// What may be printed, and how. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// No messages but errors.
    pub(crate) quiet: bool,
    /// 0 to 3.
    pub(crate) verbose: u8,
    /// Colours on standard error.
    pub(crate) color: When,
    /// Progress bars.
    pub(crate) progress: Bars,
    /// The bar that is shown: messages go above it.
    pub(crate) bar: SharedBar,
    /// Whether its reader has gone away.
    pub(crate) stdout_closed: Arc<AtomicBool>,
}

impl Output {
    /// Whether people read standard output as it comes.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Makes `bar` the one that is shown.
    pub(crate) fn show(&self, bar: &ProgressBar) {
        *self.bar.0.lock().unwrap_or_else(PoisonError::into_inner) = bar.clone();
    }

    fn bar(&self) -> ProgressBar {
        self.bar.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How transfers show their progress.
    pub(crate) fn progress_style(&self) -> ProgressStyle {
        let terminal = io::stderr().is_terminal();
        match self.progress {
            Bars::People(When::Never) => ProgressStyle::Silent,
            _ if self.json => ProgressStyle::Events,
            Bars::Json => ProgressStyle::Events,
            Bars::People(when) if !when.on(terminal && !self.quiet) => ProgressStyle::Silent,
            Bars::People(_) if terminal => ProgressStyle::Bar,
            Bars::People(_) => ProgressStyle::Lines,
        }
    }

    /// A line of data.
    pub(crate) fn line(&self, text: &str) -> Result {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(Failure::stdout)
    }

    /// Lines of data, written together.
    pub(crate) fn lines(&self, lines: &[String]) -> Result {
        if lines.is_empty() { Ok(()) } else { self.line(&lines.join("\n")) }
    }

    /// The one JSON document of a command.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result {
        self.line(&json(document))
    }

    /// An event of a transfer, as a JSON line. A reader that goes away misses the rest; the transfer goes on.
    pub(crate) fn event(&self, channel: Channel, event: &impl Serialize) {
        match channel {
            Channel::Err => self.error_line(&json(event)),
            Channel::None => {}
            Channel::Out if self.stdout_closed.load(Ordering::Relaxed) => {}
            Channel::Out => {
                if self.line(&json(event)).is_err() {
                    self.stdout_closed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Something worth knowing.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.error_line(text);
        }
    }

    /// Something that went wrong and stopped nothing; `code` is its stable word.
    pub(crate) fn warning(&self, code: &'static str, text: &str) {
        if self.json {
            self.error_line(&json(&WarningEvent::general(code, text)));
        } else if !self.quiet {
            self.error_line(&format!("{} {text}", self.painted("warning:", "33")));
        }
    }

    /// One of several items failed; the command goes on.
    pub(crate) fn item_failure(&self, item: &str, failure: &Failure) {
        if !self.json {
            let named = names(&failure.message, item);
            let item = if named { String::new() } else { format!("{}: ", crate::text::harmless(item)) };
            self.error_line(&format!("{} {item}{}", self.painted("error:", "31"), failure.message));
        }
    }

    /// What the parser of the command line says: help and version are data, all else is a usage error.
    pub(crate) fn clap(&self, error: &clap::Error) -> Result {
        let printed = error.print();
        if !error.use_stderr() {
            return printed.map_err(Failure::stdout);
        }
        Err(Failure { printed: true, ..Failure::from(error) })
    }

    /// The end of a command that failed. With JSON, the last line of standard error.
    pub(crate) fn failure(&self, failure: &Failure) {
        // What a signal cut off may not have been dropped yet, and would draw on.
        self.bar().finish_and_clear();
        if failure.code == BROKEN_PIPE {
            return;
        }
        if failure.code == INTERRUPTED {
            self.note(&failure.message);
        } else if !failure.printed {
            self.error_line(&format!("{} {}", self.painted("error:", "31"), failure.message));
            if self.verbose > 0 {
                for cause in &failure.causes {
                    self.error_line(&format!("  caused by: {cause}"));
                }
            }
            for hint in &failure.hints {
                self.error_line(&format!("{} {hint}", self.painted("hint:", "36")));
            }
        }
        if self.json {
            self.error_line(&json(&ExitError::new(failure)));
        }
    }

    /// A line on standard error, above the bar. That it cannot be written is nothing one could tell anybody.
    pub(crate) fn error_line(&self, text: &str) {
        self.bar().suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }

    /// Whether standard error is coloured.
    pub(crate) fn colors_errors(&self) -> bool {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        self.color.on(wanted && io::stderr().is_terminal())
    }

    /// `text` in bold with an ANSI colour, where standard output shows colours.
    pub(crate) fn painted_data(&self, text: &str, color: &str) -> String {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colored = self.color.on(wanted && self.is_terminal());
        if colored { format!("\x1b[1;{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Columns of standard output, when people read it as it comes.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.is_terminal().then(|| usize::from(console::Term::stdout().size().1))
    }

    /// `text` in bold with an ANSI colour, where colours are shown.
    fn painted(&self, text: &str, color: &str) -> String {
        if self.colors_errors() { format!("\x1b[1;{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Whether a message says already which item it is about.
fn names(message: &str, item: &str) -> bool {
    message.contains(&format!("{item:?}")) || message.contains(&format!(" {item}: "))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our shapes have text keys and finite numbers")
}
