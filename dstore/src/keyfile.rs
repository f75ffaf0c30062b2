//! Files that hold secrets: written whole and for their owner alone, and not read when others can.

#[cfg(feature = "ethereum")]
mod keystore;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::identity::ServerIdentity;
use crate::keys::Owner;
use crate::rt::Rt;

const IDENTITY_HEADER: &str = "dstore-identity-1";
/// No key file is longer.
const MAX_LEN: u64 = 4096;

impl Owner {
    /// Reads the owner's key from a file: 64 hex digits, with or without `0x`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Config`] when others can read it, or it holds no key.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = read_secret(path)?;
        Self::parse(&text).ok_or_else(|| {
            Error::config(format!("{}: not an owner key (64 hex digits, with or without 0x)", path.display()))
        })
    }

    /// A new owner from the environment's entropy, whose key is nowhere else yet.
    #[must_use]
    pub fn generate(rt: &Rt) -> Self {
        std::iter::repeat_with(|| Self::from_secret(&rt.random()))
            .flatten()
            .next()
            .expect("all but one in 2^127 candidates are valid")
    }

    /// Makes a new owner with this machine's entropy, and writes its key to a file that does not exist yet, mode 0600.
    ///
    /// # Errors
    /// [`Error::Io`], also when the file exists.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::create_in(path, &Rt::default())
    }

    /// [`Owner::create`] with the entropy of `rt`.
    ///
    /// # Errors
    /// Those of [`Owner::create`].
    pub fn create_in(path: impl AsRef<Path>, rt: &Rt) -> Result<Self> {
        let owner = Self::generate(rt);
        owner.save(path)?;
        Ok(owner)
    }

    /// Writes the key to a file that does not exist yet, mode 0600.
    ///
    /// # Errors
    /// [`Error::Io`], also when the file exists.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let text = Zeroizing::new(format!("{}\n", *self.secret_hex()));
        write_secret(path.as_ref(), &text)
    }
}

impl ServerIdentity {
    /// Reads the identity in a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Config`] when others can read it, or it holds no identity.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        parse_identity(&read_secret(path)?)
            .ok_or_else(|| Error::config(format!("{}: not a dstore identity file", path.display())))
    }

    /// Reads the identity in a file, or makes one and writes it there, mode 0600.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] when others can read the file, or it holds no identity.
    pub fn open_or_create(path: impl AsRef<Path>, rt: &Rt) -> Result<Self> {
        let path = path.as_ref();
        match Self::open(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let identity = Self::generate(rt);
                let signing = Zeroizing::new(hex::encode(*identity.signing().to_bytes()));
                let transport = Zeroizing::new(hex::encode(identity.transport().as_bytes()));
                let text = Zeroizing::new(format!("{IDENTITY_HEADER}\n{}\n{}\n", *signing, *transport));
                write_secret(path, &text)?;
                Ok(identity)
            }
            read => read,
        }
    }
}

fn parse_identity(text: &str) -> Option<ServerIdentity> {
    let mut lines = text.lines();
    if lines.next()? != IDENTITY_HEADER {
        return None;
    }
    let mut key = || -> Option<Zeroizing<[u8; 32]>> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(lines.next()?, &mut *bytes).ok()?;
        Some(bytes)
    };
    let (signing, transport) = (key()?, key()?);
    ServerIdentity::from_secrets(&signing, *transport)
}

/// Reads a small secret file of this user's own.
///
/// # Errors
/// [`Error::Io`]; [`Error::Config`] when the group or others can read it, or it is too long to be a key.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>> {
    read_bounded(path, MAX_LEN)
}

/// [`read_secret`] of at most so many bytes.
fn read_bounded(path: &Path, limit: u64) -> Result<Zeroizing<String>> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let metadata = fs::metadata(path).map_err(failed)?;
    if is_open_to_others(&metadata) {
        return Err(Error::config(format!(
            "{0}: other users can read this secret file; run: chmod 600 {0}",
            path.display()
        )));
    }
    if metadata.len() > limit {
        return Err(Error::config(format!("{}: too long to be a key file", path.display())));
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}

/// Writes a secret file that does not exist yet: whole, durable, mode 0600.
///
/// # Errors
/// [`Error::Io`], also when the file exists.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| failed(error.error))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(unix)]
pub(crate) fn is_open_to_others(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
pub(crate) fn is_open_to_others(_: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("new/identity.key");
        let rt = Rt::default();
        let made = ServerIdentity::open_or_create(&path, &rt).expect("made");
        let read = ServerIdentity::open_or_create(&path, &rt).expect("read");
        assert_eq!((made.id(), made.noise_key()), (read.id(), read.noise_key()));
    }

    #[test]
    fn an_owner_key_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("owner.key");
        let owner = Owner::create(&path).expect("made");
        assert!(Owner::create(&path).is_err());
        assert_eq!(Owner::open(&path).expect("read").id(), owner.id());
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("owner.key");
        Owner::create(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
        let error = Owner::open(&path).expect_err("refused");
        assert_eq!(error.code(), "config");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn files_that_hold_no_key_are_refused_without_showing_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("owner.key");
        write_secret(&path, "hunter2").expect("written");
        for error in [
            Owner::open(&path).expect_err("no key"),
            ServerIdentity::open_or_create(&path, &Rt::default()).expect_err("no key"),
        ] {
            assert_eq!(error.code(), "config");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
