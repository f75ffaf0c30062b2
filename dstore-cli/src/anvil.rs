//! A development chain on this machine: the program anvil, on a port of its own, ended when this is dropped.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How a shell says that there is no such program.
const ABSENT: i32 = 127;

/// A running chain.
#[derive(Debug)]
pub(crate) struct Anvil {
    child: Child,
    url: String,
}

impl Anvil {
    /// Starts it with these arguments; ready when it takes requests. It takes some 100 ms.
    ///
    /// # Errors
    /// `NotFound` when anvil is neither in `PATH` nor in the checkout below which this program is.
    pub(crate) fn start(arguments: &[&OsStr]) -> io::Result<Self> {
        let program = program().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", "0"]).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        // From here on it ends with this value, whatever comes.
        let mut anvil = Self { child, url: String::new() };
        let mut lines = anvil.child.stdout.take().map(|stdout| BufReader::new(stdout).lines()).into_iter().flatten();
        let address = lines.find_map(|line| Some(line.ok()?.strip_prefix("Listening on ")?.to_owned()));
        let Some(address) = address else {
            drop(anvil.child.kill());
            return Err(match anvil.child.wait()?.code() {
                Some(ABSENT) => io::ErrorKind::NotFound.into(),
                _ => io::Error::other("anvil ended before it listened"),
            });
        };
        // It must never wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        anvil.url = format!("http://{address}");
        Ok(anvil)
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where the program is: in `PATH`, else where the tests have theirs. Never in the current folder, which may be anybody's.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed =
        std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join("anvil"));
    // Below the checkout is where cargo puts programs.
    let own = std::env::current_exe().unwrap_or_default();
    let of_checkout: Vec<_> = own.ancestors().map(|folder| folder.join("contracts/bin/anvil")).collect();
    // Tests may be built elsewhere.
    #[cfg(test)]
    let installed = installed.chain([PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contracts/bin/anvil")]);
    installed.chain(of_checkout).find(|program| program.is_file())
}
