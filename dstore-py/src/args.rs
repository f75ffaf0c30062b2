//! Arguments that more than one call takes.

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use dstore::id::NodeId;
use dstore::{Error, Padding, PutMode};
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::error;

/// A struct of the keywords that a call takes, each of which may be missing.
macro_rules! keywords {
    ($(#[$doc:meta])* $vis:vis struct $name:ident of $whose:literal { $($keyword:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        $vis struct $name {
            $($keyword: Option<$type>,)*
        }

        impl $name {
            /// # Errors
            /// `TypeError` for a keyword that is none, and for a value of another type.
            fn new(given: Option<&pyo3::Bound<'_, pyo3::types::PyDict>>) -> pyo3::PyResult<Self> {
                let mut keywords = Self::default();
                for (name, value) in given.into_iter().flatten() {
                    let name: String = pyo3::prelude::PyAnyMethods::extract(&name)?;
                    match name.as_str() {
                        $(stringify!($keyword) => keywords.$keyword = $crate::args::keyword(&name, &value)?,)*
                        _ => return Err($crate::args::unknown(&name, $whose, &[$(stringify!($keyword)),*])),
                    }
                }
                Ok(keywords)
            }
        }
    };
}
pub(crate) use keywords;

/// The value of a keyword; `None` is as good as none.
pub(crate) fn keyword<'py, T>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Option<T>>
where
    T: FromPyObjectOwned<'py>,
{
    if value.is_none() {
        return Ok(None);
    }
    value.extract().map(Some).map_err(|error: <T as FromPyObject<'_, 'py>>::Error| {
        let error: PyErr = error.into();
        PyTypeError::new_err(format!("{name}: {}", error.value(value.py())))
    })
}

/// A keyword that is none of `whose`.
pub(crate) fn unknown(name: &str, whose: &str, known: &[&str]) -> PyErr {
    PyTypeError::new_err(format!("{name} is no option of {whose}: {}", known.join(", ")))
}

/// One text, or several.
#[derive(FromPyObject)]
pub(crate) enum Texts {
    One(PyBackedStr),
    Several(Vec<PyBackedStr>),
}

/// The texts of an argument that may be missing.
pub(crate) fn texts(given: Option<&Texts>) -> Vec<String> {
    match given {
        None => Vec::new(),
        Some(Texts::One(text)) => vec![text.to_string()],
        Some(Texts::Several(texts)) => texts.iter().map(ToString::to_string).collect(),
    }
}

/// Each of them as a `T`.
///
/// # Errors
/// `ConfigError` for one that is none.
pub(crate) fn parsed<T: FromStr<Err = dstore::Error>>(py: Python<'_>, given: Option<&Texts>) -> PyResult<Vec<T>> {
    texts(given).iter().map(|text| error::raised(py, text.parse())).collect()
}

/// An id in hex digits.
///
/// # Errors
/// `ConfigError` when it is none, naming `what` it should be.
pub(crate) fn id<T: FromStr<Err: std::fmt::Display>>(py: Python<'_>, text: &str, what: &str) -> PyResult<T> {
    let parsed = text.parse().map_err(|error| Error::Config { what: format!("{text:?} is not {what}: {error}") });
    error::raised(py, parsed)
}

/// The id of a node.
///
/// # Errors
/// `ConfigError` when it is none.
pub(crate) fn node(py: Python<'_>, text: &str) -> PyResult<NodeId> {
    id(py, text, "the id of a node")
}

/// Seconds, more than none.
pub(crate) fn seconds(name: &str, seconds: f64) -> PyResult<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(PyValueError::new_err(format!("{name} must be a number of seconds above 0, not {seconds}"))),
    }
}

pub(crate) fn padding(text: &str) -> PyResult<Padding> {
    match text {
        "padme" => Ok(Padding::Padme),
        "none" => Ok(Padding::None),
        _ => Err(PyValueError::new_err(format!("padding must be 'padme' or 'none', not {text:?}"))),
    }
}

pub(crate) fn mode(mode: Option<&str>, if_version: Option<u32>) -> PyResult<PutMode> {
    match (mode, if_version) {
        (None | Some("overwrite"), None) => Ok(PutMode::Overwrite),
        (Some("create"), None) => Ok(PutMode::Create),
        (None | Some("update"), Some(version)) => Ok(PutMode::Update(version)),
        (Some("update"), None) => Err(PyValueError::new_err("mode 'update' needs if_version, the version to replace")),
        (Some(mode @ ("overwrite" | "create")), Some(_)) => {
            Err(PyValueError::new_err(format!("if_version goes with mode 'update', not with {mode:?}")))
        }
        (Some(mode), _) => {
            Err(PyValueError::new_err(format!("mode must be 'overwrite', 'create' or 'update', not {mode:?}")))
        }
    }
}

/// The bytes from `start`, so many or up to `end`; `None` for all of them.
pub(crate) fn range(start: u64, length: Option<u64>, end: Option<u64>) -> PyResult<Option<Range<u64>>> {
    let end = match (length, end) {
        (Some(_), Some(_)) => return Err(PyValueError::new_err("give length or end, not both")),
        (Some(length), None) => start.saturating_add(length),
        (None, Some(end)) if end < start => {
            return Err(PyValueError::new_err(format!("the range ends at {end}, before it starts at {start}")));
        }
        (None, Some(end)) => end,
        (None, None) => u64::MAX,
    };
    Ok((start > 0 || end < u64::MAX).then_some(start..end))
}
