//! What puts have in common: their options, and where their bytes come from.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use dstore::{Client, CopyFile, Padding, Put, PutMode, Scheme, Source};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::report::Report;
use crate::scheme::SchemeArg;
use crate::{args, buffer};

/// The options of a put.
pub(crate) struct PutOptions {
    mode: PutMode,
    scheme: Option<Scheme>,
    padding: Option<Padding>,
    attributes: Vec<(String, String)>,
    pub(crate) report: Arc<Report>,
}

args::keywords! {
    /// The same, as Python's keywords.
    struct Keywords of "a put" {
        mode: String,
        if_version: u32,
        scheme: SchemeArg,
        padding: String,
        attributes: HashMap<String, String>,
        progress: Py<PyAny>,
        on_warning: Py<PyAny>,
    }
}

impl PutOptions {
    /// # Errors
    /// `TypeError` for a keyword that is none, `ValueError` and `ConfigError` for a value that cannot be used.
    pub(crate) fn new(py: Python<'_>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let keywords: Keywords = Keywords::new(keywords)?;
        let mut attributes: Vec<_> = keywords.attributes.unwrap_or_default().into_iter().collect();
        attributes.sort_unstable();
        Ok(Self {
            mode: args::mode(keywords.mode.as_deref(), keywords.if_version)?,
            scheme: keywords.scheme.map(|scheme| scheme.get(py)).transpose()?,
            padding: keywords.padding.as_deref().map(args::padding).transpose()?,
            attributes,
            report: Report::new(keywords.progress, keywords.on_warning),
        })
    }

    pub(crate) fn apply(self, put: Put) -> Put {
        let mut put = put.mode(self.mode);
        if let Some(scheme) = self.scheme {
            put = put.scheme(scheme);
        }
        if let Some(padding) = self.padding {
            put = put.padding(padding);
        }
        for (name, value) in self.attributes {
            put = put.attribute(name, value);
        }
        if let Some(listen) = self.report.progress() {
            put = put.progress(listen);
        }
        if let Some(listen) = self.report.warnings() {
            put = put.warnings(listen);
        }
        put
    }
}

/// A copy of `from` at `to`.
pub(crate) fn copy(client: &Client, (from, to): (&str, &str), mode: PutMode, report: &Arc<Report>) -> CopyFile {
    let mut copy = client.copy(from, to).mode(mode);
    if let Some(listen) = report.progress() {
        copy = copy.progress(listen);
    }
    if let Some(listen) = report.warnings() {
        copy = copy.warnings(listen);
    }
    copy
}

/// What Python gave to be stored.
pub(crate) enum Data {
    /// All of it, here or in a file.
    Whole(Source),
    /// Piece by piece: a file object or an iterator.
    Pieces,
}

/// What `data` is.
///
/// # Errors
/// `TypeError` for what has no bytes.
pub(crate) fn data(data: &Bound<'_, PyAny>) -> PyResult<Data> {
    if data.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(
            "a str is not bytes: encode it; or name a local file with pathlib.Path or Client.upload",
        ));
    }
    if let Some(bytes) = buffer::borrow(data)? {
        return Ok(Data::Whole(bytes.into()));
    }
    if data.hasattr("__fspath__")? {
        return Ok(Data::Whole(Source::file(&data.extract::<PathBuf>()?)));
    }
    if data.hasattr("read")? || data.hasattr("__iter__")? || data.hasattr("__aiter__")? {
        return Ok(Data::Pieces);
    }
    let name = buffer::type_name(data);
    Err(PyTypeError::new_err(format!(
        "{name} cannot be stored: pass a bytes-like object, a pathlib.Path, a binary file, or an iterator of bytes"
    )))
}
