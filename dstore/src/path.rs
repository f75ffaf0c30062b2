//! The name a user gives a file (docs/format.md section 1).
//!
//! Invariant: a path, joined to any folder, stays below that folder.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The longest path, bytes of UTF-8.
pub const MAX_PATH_LEN: usize = 1024;

/// A relative path with `/` between its parts: no empty, `.` or `..` part, no NUL, at most [`MAX_PATH_LEN`] bytes.
///
/// Two paths are the same file only if their bytes are the same: nothing is normalised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

impl FilePath {
    /// Checks a path.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] with the rule that it breaks.
    pub fn new(path: impl Into<String>) -> Result<Self, Error> {
        let path = path.into();
        match broken_rule(&path) {
            Some(reason) => Err(Error::InvalidPath { reason }),
            None => Ok(Self(path)),
        }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn broken_rule(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > MAX_PATH_LEN {
        return Some("it is longer than 1,024 bytes");
    }
    if path.contains('\0') {
        return Some("it contains a NUL character");
    }
    if path.starts_with('/') {
        return Some("it starts with '/'");
    }
    if path.ends_with('/') {
        return Some("it ends with '/'");
    }
    path.split('/').find_map(|part| match part {
        "" => Some("it contains '//'"),
        "." | ".." => Some("it contains a '.' or '..' part"),
        _ => None,
    })
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for FilePath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self, Error> {
        Self::new(path)
    }
}

impl TryFrom<String> for FilePath {
    type Error = Error;

    fn try_from(path: String) -> Result<Self, Error> {
        Self::new(path)
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_a_folder_or_mislead_are_refused() {
        let long = "x".repeat(MAX_PATH_LEN + 1);
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "../../etc/passwd", "a/../b", "a/./b", "a\0b", &long] {
            assert!(matches!(FilePath::new(bad), Err(Error::InvalidPath { .. })), "{bad:?}");
        }
    }

    #[test]
    fn every_other_name_is_a_path() {
        let longest = "x".repeat(MAX_PATH_LEN);
        for good in ["a", "a/b", "...", "a b/ c", "我的 文件.txt", "-rf", "C:\\x", "a/..b/c..", "\n", &longest] {
            assert_eq!(FilePath::new(good).expect(good).as_str(), good);
        }
    }
}
