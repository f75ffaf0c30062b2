//! The settings of a client, from arguments and from the environment.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use dstore::ClientBuilder;
use dstore::config::{self, Config, Key, Variables};
use dstore::journal::DiskJournal;
use dstore::ledger::Ledger;
use dstore::rt::Rt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::args::{self, Texts};
use crate::error;
use crate::ethereum::EthereumLedger;
use crate::ledger::{LocalLedger, MemoryLedger};
use crate::scheme::SchemeArg;

/// Any ledger, as an argument.
#[derive(FromPyObject)]
pub(crate) enum LedgerArg<'py> {
    Local(Bound<'py, LocalLedger>),
    Memory(Bound<'py, MemoryLedger>),
    Ethereum(Bound<'py, EthereumLedger>),
}

impl LedgerArg<'_> {
    pub(crate) fn shared(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Local(ledger) => Arc::new(ledger.get().inner.clone()),
            Self::Memory(ledger) => Arc::new(ledger.get().inner.clone()),
            Self::Ethereum(ledger) => Arc::new(ledger.get().inner.clone()),
        }
    }
}

args::keywords! {
    /// What both a client of its own and one of a cluster can be told, by keyword.
    struct Tuning of "a client" {
        scheme: SchemeArg,
        tolerate: usize,
        padding: String,
        network: String,
        timeout: f64,
        memory: usize,
        hedge_after: f64,
        journal: PathBuf,
        resume: bool,
        pin: Texts,
        invite: Texts,
    }
}

/// `builder` with the settings in `tuning`.
///
/// # Errors
/// `TypeError` for a keyword that is none, `ValueError` and `ConfigError` for a value that cannot be used.
pub(crate) fn tune(
    py: Python<'_>,
    mut builder: ClientBuilder,
    tuning: Option<&Bound<'_, PyDict>>,
) -> PyResult<ClientBuilder> {
    let tuning = Tuning::new(tuning)?;
    if let Some(scheme) = tuning.scheme {
        builder = builder.scheme(scheme.get(py)?);
    }
    if let Some(nodes) = tuning.tolerate {
        builder = builder.tolerate(nodes);
    }
    if let Some(padding) = tuning.padding {
        builder = builder.padding(args::padding(&padding)?);
    }
    if let Some(label) = tuning.network {
        builder = builder.network(&label);
    }
    if let Some(timeout) = tuning.timeout {
        builder = builder.timeout(args::seconds("timeout", timeout)?);
    }
    if let Some(bytes) = tuning.memory {
        builder = builder.memory(bytes);
    }
    if let Some(wait) = tuning.hedge_after {
        builder = builder.hedge_after(args::seconds("hedge_after", wait)?);
    }
    if let Some(folder) = tuning.journal {
        builder = builder.journal(DiskJournal::new(folder, Rt::default()));
    }
    if let Some(resume) = tuning.resume {
        builder = builder.resume(resume);
    }
    if let Some(nodes) = tuning.pin {
        let nodes = args::texts(Some(&nodes)).iter().map(|node| args::node(py, node)).collect::<PyResult<Vec<_>>>()?;
        builder = builder.pin(nodes);
    }
    for invite in args::parsed(py, tuning.invite.as_ref())? {
        builder = builder.invite(invite);
    }
    Ok(builder)
}

/// What the command line would use here: arguments, environment, `.env`, and the config file in the client's folder.
///
/// # Errors
/// `TypeError` for a setting that is none, those of [`config::gather`] and [`config::client`].
pub(crate) fn from_env(
    py: Python<'_>,
    dir: Option<PathBuf>,
    env_file: Option<PathBuf>,
    env: HashMap<String, String>,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<ClientBuilder> {
    let mut flags = Config::new();
    for (name, value) in settings.into_iter().flatten() {
        let name = name.extract::<String>()?;
        let key = Key::named(&name).filter(|key| key.is_in_file());
        let key = key.ok_or_else(|| PyTypeError::new_err(format!("{name:?} is not a setting that has a flag")))?;
        flags = flags.flag(key, setting(key, &value)?);
    }
    for (key, path) in [(&Key::DIR, dir), (&Key::ENV_FILE, env_file)] {
        if let Some(path) = path {
            flags = flags.flag(key, path.to_string_lossy());
        }
    }
    let variables: Variables = env.into_iter().collect();
    let built = py.detach(|| {
        let (config, dir) = config::gather(flags.env(variables), data_folder().as_deref(), config::CLIENT_HOME)?;
        Ok((config.warnings(), config::client(&config, &dir)?))
    });
    let (warnings, builder) = error::raised(py, built)?;
    for warning in warnings {
        py.import("warnings")?.call_method1("warn", (warning,))?;
    }
    Ok(builder)
}

/// A setting as the text that a flag would have; a length of time may be a number of seconds, as everywhere in Python.
fn setting(key: &Key, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(on) = value.extract::<bool>() {
        return Ok(on.to_string());
    }
    if [&Key::TIMEOUT, &Key::HEDGE_AFTER, &Key::BATCH_WAIT].contains(&key)
        && let Ok(seconds) = value.extract::<f64>()
    {
        return Ok(format!("{}ns", args::seconds(key.name, seconds)?.as_nanos()));
    }
    if let Ok(list) = value.extract::<Vec<String>>() {
        return Ok(list.join(","));
    }
    Ok(value.str()?.to_string())
}

fn data_folder() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    Some(etcetera::choose_base_strategy().ok()?.data_dir())
}
