//! SIGINT and SIGTERM as something to wait for.

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;

use crate::failure::{Failure, Result};

/// Watches for signals from its creation on.
#[derive(Debug)]
pub(crate) struct Interrupt(Signals);

impl Interrupt {
    /// Takes the signals over from their default, which ends the process at once.
    pub(crate) fn new() -> Result<Self> {
        let signals = Signals::new([Signal::Int, Signal::Term]);
        signals.map(Self).map_err(|error| Failure::io("cannot watch for signals", error))
    }

    /// The number of the next signal.
    pub(crate) async fn next(&mut self) -> u8 {
        match self.0.next().await {
            Some(Ok(Signal::Term)) => 15,
            Some(_) => 2,
            // Signals never end.
            None => std::future::pending().await,
        }
    }
}
