//! Counters, and the text that a monitoring system reads: a `Sheet` for each server, none for the process.
//!
//! Invariant: to count is to add to an atomic number, and no label has a value that a peer chose.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge;
use prometheus_client::registry::Registry;

pub(crate) use prometheus_client::metrics::counter::Counter;

/// A number that goes up and down.
pub(crate) type Gauge = gauge::Gauge<f64, AtomicU64>;

/// What one server counts.
pub(crate) struct Sheet(Registry);

impl Sheet {
    /// A sheet whose names all begin with `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        let mut sheet = Self(Registry::with_prefix(prefix));
        let version = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        version.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        sheet.0.register("build_info", "Always 1; the label says which version of dstore this is", version);
        sheet
    }

    /// A number of events; `_total` is added to its name.
    pub(crate) fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register(name, help, counter.clone());
        counter
    }

    /// Numbers of events that `label` tells apart; `_total` is added to the name.
    pub(crate) fn tally(&mut self, name: &str, help: &str, (label, words): Words) -> Tally {
        let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
        self.0.register(name, help, family.clone());
        Tally(words.iter().map(|word| (*word, family.get_or_create(&[(label, *word)]).clone())).collect())
    }

    /// A number that is set when somebody reads the sheet.
    pub(crate) fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }

    /// Such numbers, one for each value of `label`.
    pub(crate) fn gauges(&mut self, name: &str, help: &str, label: &'static str) -> Gauges {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        Gauges { label, family }
    }

    /// Requests of these kinds.
    pub(crate) fn requests(&mut self, kinds: &'static [&'static str]) -> Requests {
        let (ended, seconds) = (Family::default(), Family::<_, Seconds>::default());
        let help = "Requests answered, by what was asked and how it ended. Many that `failed`: see the log";
        self.0.register("requests", help, ended.clone());
        let help = "Time from a whole request to the end of its answer, bodies included, in seconds";
        self.0.register("request_seconds", help, seconds.clone());
        let cells = std::iter::repeat_with(OnceLock::new).take(kinds.len() * OUTCOMES.len()).collect();
        let seconds = kinds.iter().map(|kind| seconds.get_or_create(&[("kind", *kind)]).clone()).collect();
        let requests = Requests { kinds, ended, cells, seconds };
        for kind in kinds {
            requests.cell(kind, OUTCOMES[0]);
        }
        requests
    }

    /// The whole sheet as OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut page = String::new();
        // Writing to a text does not fail.
        let _ = text::encode(&mut page, &self.0);
        page
    }
}

impl fmt::Debug for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sheet")
    }
}

/// A label, and every value that it can have.
pub(crate) type Words = (&'static str, &'static [&'static str]);

/// Numbers of events, told apart by a word.
#[derive(Debug, Clone)]
pub(crate) struct Tally(Arc<[(&'static str, Counter)]>);

impl Tally {
    /// Counts an event. A word that the tally was not made with counts nowhere.
    pub(crate) fn add(&self, word: &str) {
        let found = self.0.iter().find(|(known, _)| *known == word);
        debug_assert!(found.is_some(), "{word:?} is none of the words of this tally");
        if let Some((_, counter)) = found {
            counter.inc();
        }
    }
}

/// Numbers that are told apart by what the operator wrote, such as a registry's address.
#[derive(Debug, Clone)]
pub(crate) struct Gauges {
    label: &'static str,
    family: Family<[(&'static str, String); 1], Gauge>,
}

impl Gauges {
    /// Sets the number of `value`.
    pub(crate) fn set(&self, value: &str, number: f64) {
        self.family.get_or_create(&[(self.label, value.to_owned())]).set(number);
    }
}

/// How a request ended: well, refused with a code of docs/wire.md section 10, or with its connection.
const OUTCOMES: [&str; 15] = [
    "ok",
    "malformed",
    "unsupported",
    "denied",
    "not_found",
    "busy",
    "no_space",
    "quota",
    "damaged",
    "mismatch",
    "expired",
    "unreachable",
    "failed",
    "other",
    "broken",
];

/// Requests by kind and outcome, and how long they took.
#[derive(Debug)]
pub(crate) struct Requests {
    kinds: &'static [&'static str],
    ended: Family<[(&'static str, &'static str); 2], Counter>,
    /// Kind by kind, all outcomes. Made when they are needed first, since most never are.
    cells: Vec<OnceLock<Counter>>,
    seconds: Vec<Seconds>,
}

impl Requests {
    /// The kind of a request whose message starts with this number: the last kind stands for all others.
    pub(crate) fn kind(&self, request: &[u8]) -> &'static str {
        let number = request.first().map_or(usize::MAX, |number| usize::from(*number));
        let last = self.kinds.len() - 1;
        self.kinds[number.min(last)]
    }

    /// Counts a request that ended as `outcome`, one of [`OUTCOMES`].
    pub(crate) fn ended(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        if let Some(counter) = self.cell(kind, outcome) {
            counter.inc();
        }
        if let Some(at) = self.kinds.iter().position(|known| *known == kind) {
            self.seconds[at].add(took);
        }
    }

    fn cell(&self, kind: &'static str, outcome: &'static str) -> Option<&Counter> {
        let row = self.kinds.iter().position(|known| *known == kind);
        let column = OUTCOMES.iter().position(|known| *known == outcome);
        debug_assert!(row.is_some() && column.is_some(), "{kind} {outcome}");
        let make = || self.ended.get_or_create(&[("kind", kind), ("outcome", outcome)]).clone();
        Some(self.cells[row? * OUTCOMES.len() + column?].get_or_init(make))
    }
}

/// Upper ends of the classes of [`Seconds`]; one more class has no end.
const CLASSES: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// How long something took, in classes. The histogram of the library takes a lock for each value.
#[derive(Debug, Clone, Default)]
struct Seconds(Arc<Classes>);

#[derive(Debug, Default)]
struct Classes {
    counts: [AtomicU64; CLASSES.len() + 1],
    micros: AtomicU64,
}

impl Seconds {
    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let class = CLASSES.iter().position(|end| seconds <= *end).unwrap_or(CLASSES.len());
        self.0.counts[class].fetch_add(1, Ordering::Relaxed);
        self.0.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl EncodeMetric for Seconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let ends = CLASSES.into_iter().chain([f64::INFINITY]);
        let classes: Vec<_> = ends.zip(self.0.counts.iter().map(|count| count.load(Ordering::Relaxed))).collect();
        let sum = Duration::from_micros(self.0.micros.load(Ordering::Relaxed)).as_secs_f64();
        let count = classes.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &classes, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl prometheus_client::metrics::TypedMetric for Seconds {
    const TYPE: MetricType = MetricType::Histogram;
}

/// Brings a counter up to what was counted elsewhere.
pub(crate) fn follow(counter: &Counter, count: u64) {
    counter.inner().fetch_max(count, Ordering::Relaxed);
}

/// A number of bytes or of things, as a gauge has it.
#[expect(clippy::cast_precision_loss, reason = "monitoring systems have no other numbers")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_stands_on_the_sheet() {
        let mut sheet = Sheet::new("a");
        let events = sheet.counter("events", "What happened");
        let doors = sheet.tally("refused", "Who was sent away", ("reason", &["full", "closed"]));
        let requests = sheet.requests(&["get", "other"]);
        sheet.gauges("up", "Who is there", "peer").set("x\"y", 1.0);
        events.inc_by(3);
        doors.add("closed");
        requests.ended("get", "not_found", Duration::from_millis(3));
        requests.ended("get", "ok", Duration::from_secs(3600));
        let page = sheet.text();
        for line in [
            "# TYPE a_events counter",
            "# HELP a_events What happened.",
            "a_events_total 3",
            "a_refused_total{reason=\"full\"} 0",
            "a_refused_total{reason=\"closed\"} 1",
            "a_requests_total{kind=\"get\",outcome=\"not_found\"} 1",
            "a_requests_total{kind=\"other\",outcome=\"ok\"} 0",
            "a_request_seconds_bucket{le=\"0.001\",kind=\"get\"} 0",
            "a_request_seconds_bucket{le=\"0.005\",kind=\"get\"} 1",
            "a_request_seconds_bucket{le=\"60.0\",kind=\"get\"} 1",
            "a_request_seconds_bucket{le=\"+Inf\",kind=\"get\"} 2",
            "a_request_seconds_sum{kind=\"get\"} 3600.003",
            "a_up{peer=\"x\\\"y\"} 1.0",
            "# EOF",
        ] {
            assert!(page.lines().any(|known| known == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn whatever_number_a_peer_sends_is_one_of_the_known_kinds() {
        let requests = Sheet::new("a").requests(&["first", "second", "other"]);
        let kinds = [&[0][..], &[1, 9], &[2], &[255], &[]].map(|request| requests.kind(request));
        assert_eq!(kinds, ["first", "second", "other", "other", "other"]);
    }

    #[test]
    fn every_refusal_has_a_word_on_the_sheet() {
        for code in 0..200 {
            let refusal = crate::proto::Refusal::from(code);
            assert!(OUTCOMES.contains(&refusal.name()), "{refusal:?}");
        }
    }
}
