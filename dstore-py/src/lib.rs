//! `dstore._dstore`: the Rust crate as Python objects. Conversions, and nothing else.
//!
//! Sync methods and their `_async` twins share one future: [`run::block`] waits for it with the interpreter released, and
//! [`run::spawn`] gives it to asyncio.

mod args;
mod buffer;
mod client;
mod cluster;
mod error;
mod ethereum;
mod gate;
mod get;
mod ledger;
mod listing;
mod log;
mod node;
mod owner;
mod reader;
mod registry;
mod report;
mod run;
mod scheme;
mod server;
mod settings;
mod transfer;
mod value;
mod writer;

use pyo3::prelude::*;

/// The compiled part of dstore.
#[pymodule]
mod _dstore {
    use super::*;

    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::cluster::Cluster;
    #[pymodule_export]
    use super::ethereum::{EthereumAccount, EthereumLedger};
    #[pymodule_export]
    use super::get::{ByteBatches, Get};
    #[pymodule_export]
    use super::ledger::{LocalLedger, MemoryLedger};
    #[pymodule_export]
    use super::listing::HeadBatches;
    #[pymodule_export]
    use super::node::StorageNode;
    #[pymodule_export]
    use super::owner::Owner;
    #[pymodule_export]
    use super::reader::RawReader;
    #[pymodule_export]
    use super::registry::Registry;
    #[pymodule_export]
    use super::scheme::Scheme;
    #[pymodule_export]
    use super::value::RecoveredVersions;
    #[pymodule_export]
    use super::writer::RawWriter;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("CODES", pyo3::types::PyTuple::new(module.py(), dstore::Error::CODES)?)?;
        log::install();
        gate::install(module.py())
    }
}
