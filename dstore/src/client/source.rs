//! Where the bytes of a put come from.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::io::AsyncRead;

/// Where the bytes of a put come from.
pub struct Source(Kind);

enum Kind {
    Bytes(Bytes),
    File(PathBuf),
    Reader(Box<dyn AsyncRead + Send + Unpin>),
}

impl Source {
    /// A local file.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self(Kind::File(path.to_owned()))
    }

    /// A reader, whose length is not known.
    #[must_use]
    pub fn reader(reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self(Kind::Reader(Box::new(reader)))
    }
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }
}

impl From<&[u8]> for Source {
    fn from(bytes: &[u8]) -> Self {
        Self(Kind::Bytes(Bytes::copy_from_slice(bytes)))
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::file(path)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Bytes(bytes) => write!(f, "Source({} bytes)", bytes.len()),
            Kind::File(_) => f.write_str("Source(a file)"),
            Kind::Reader(_) => f.write_str("Source(a reader)"),
        }
    }
}
