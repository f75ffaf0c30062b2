//! Processor time and memory as Linux counts them.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Linux tells times of a process in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of the calling thread so far. (What `/proc` says of a running thread is 4 ms old.)
#[must_use]
pub fn of_thread() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// Processor time of the process `pid` so far, user and system.
#[must_use]
pub fn of_process(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program, in brackets, may hold spaces.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
    TICK * ticks.sum::<u32>()
}

/// What `work` takes of the calling thread's processor time.
pub fn measure(work: impl FnOnce()) -> Duration {
    let before = of_thread();
    work();
    of_thread().saturating_sub(before)
}

/// Memory of this process now, and the most that it ever was, bytes.
#[must_use]
pub fn memory() -> (u64, u64) {
    memory_of("self")
}

/// The same of the process with this number.
#[must_use]
pub fn memory_of(process: &str) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    };
    (field("VmRSS:"), field("VmHWM:"))
}
