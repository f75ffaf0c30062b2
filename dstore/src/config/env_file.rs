//! A `.env` file as a map with line numbers. Nothing of it is ever set into the environment.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::keyfile::is_open_to_others;

/// No `.env` is longer.
const MAX_LEN: u64 = 1 << 20;

/// The variables of a `.env` file. Its `Debug` shows none of them.
#[derive(Clone, Default)]
pub struct EnvFile {
    path: PathBuf,
    open_to_others: bool,
    variables: BTreeMap<String, (Zeroizing<String>, usize)>,
}

impl EnvFile {
    /// Reads the file at `path`; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] with the line that cannot be understood.
    pub fn open(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(failed)?,
        };
        if metadata.len() > MAX_LEN {
            return Err(Error::config(format!("{}: too long to be an environment file", path.display())));
        }
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Error::config(format!("{}: not UTF-8", path.display())));
            }
            text => Zeroizing::new(text.map_err(failed)?),
        };
        let mut file = Self::parse(path, &text)?;
        file.open_to_others = is_open_to_others(&metadata);
        Ok(Some(file))
    }

    /// Understands `text`, which was read from `path`. Of a variable that is there twice, the last one counts.
    ///
    /// `${NAME}` in double quotes or outside of quotes stands for an earlier variable of the file, or one of the process.
    ///
    /// # Errors
    /// [`Error::Config`] with the line that cannot be understood.
    pub fn parse(path: impl Into<PathBuf>, text: &str) -> Result<Self> {
        let path = path.into();
        let line = Rc::new(Cell::new(0));
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut variables = BTreeMap::new();
        for variable in dotenvy::from_read_iter(LineByLine { rest: text.as_bytes(), line: line.clone() }) {
            // The cause would show the line, and with it the secret.
            let (name, value) = variable.map_err(|_| {
                Error::config(format!("{}:{}: this line is not NAME=value", path.display(), line.get()))
            })?;
            let first_line = line.get() - value.matches('\n').count().min(line.get() - 1);
            variables.insert(name, (Zeroizing::new(value), first_line));
        }
        Ok(Self { path, open_to_others: false, variables })
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a variable, and its line.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<(&str, usize)> {
        self.variables.get(name).map(|(value, line)| (value.as_str(), *line))
    }

    /// The names of all variables, with their lines.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.variables.iter().map(|(name, (_, line))| (name.as_str(), *line))
    }

    /// Whether other users of this machine can read the file.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        self.open_to_others
    }
}

impl std::fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Hands out one line a call, so that the parser, which buffers, never takes more lines than it needs.
struct LineByLine<'a> {
    rest: &'a [u8],
    line: Rc<Cell<usize>>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |newline| newline + 1);
        let len = end.min(buffer.len());
        let (given, rest) = self.rest.split_at(len);
        buffer[..len].copy_from_slice(given);
        self.rest = rest;
        if len == end && len > 0 {
            self.line.set(self.line.get() + 1);
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_their_lines() {
        let text = "# keys\n\nexport A=1\nB='two words' # why\nC=\"first\nsecond\"\nD=4\nA=5\n";
        let file = EnvFile::parse(".env", text).expect("parses");
        assert_eq!(file.variable("B"), Some(("two words", 4)));
        assert_eq!(file.variable("C"), Some(("first\nsecond", 5)));
        assert_eq!(file.variable("D"), Some(("4", 7)));
        assert_eq!(file.variable("A"), Some(("5", 8)));
        assert_eq!(file.variable("E"), None);
    }

    #[test]
    fn a_line_that_is_no_variable_is_named_and_not_shown() {
        let error = EnvFile::parse(".env", "A=1\nhunter2 hunter2\n").expect_err("no variable");
        assert!(error.to_string().starts_with(".env:2:"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
        let file = EnvFile::parse(".env", "\u{feff}A=1\r\nB=2\r\n").expect("parses");
        assert_eq!((file.variable("A"), file.variable("B")), (Some(("1", 1)), Some(("2", 2))));
    }

    #[test]
    fn nothing_is_set_into_the_environment_and_debug_is_silent() {
        let file = EnvFile::parse(".env", "DSTORE_TEST_NEVER_SET=hunter2\n").expect("parses");
        assert_eq!(std::env::var_os("DSTORE_TEST_NEVER_SET"), None);
        assert!(!format!("{file:?}").contains("hunter2"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_says_so() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(".env");
        assert!(EnvFile::open(&path).expect("no file is fine").is_none());
        fs::write(&path, "A=1\n").expect("written");
        for (mode, open) in [(0o600, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
            let file = EnvFile::open(&path).expect("readable").expect("there");
            assert_eq!(file.is_open_to_others(), open);
        }
    }
}
