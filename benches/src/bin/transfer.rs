//! One put or get of so many bytes by a client of its own, for `benches/python.py` to compare Python with.
//!
//! Usage: `transfer put|get|upload|download MIB [FILE]`, with the client's folder in `DSTORE_DIR`.

use std::io;
use std::path::PathBuf;

use dstore::config::{self, Config, Key};
use futures_lite::future::block_on;

const PATH: &str = "transfer";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [operation, mib, file @ ..] = &arguments[..] else { return Err("transfer OPERATION MIB [FILE]".into()) };
    let len = mib.parse::<usize>()? << 20;
    let file: Option<PathBuf> = file.first().map(PathBuf::from);
    let dir = std::env::var("DSTORE_DIR")?;
    let (config, dir) = config::gather(Config::new().flag(&Key::DIR, dir), None, config::CLIENT_HOME)?;
    block_on(async {
        let client = config::client(&config, &dir)?.connect().await?;
        match (operation.as_str(), file) {
            ("put", None) => drop(client.put(PATH, vec![7; len]).await?),
            ("get", None) => assert_eq!(client.get(PATH).bytes().await?.len(), len),
            ("upload", Some(file)) => drop(client.upload(file, PATH).await?),
            ("download", Some(file)) => drop(client.get(PATH).save(file).await?),
            _ => return Err(io::Error::other("put, get, upload FILE or download FILE").into()),
        }
        client.close().await;
        Ok(())
    })
}
