//! Keystores (Web3 Secret Storage, version 3): a key under a password.
//!
//! Invariant: what a file asks for in memory and time is looked at before any of it is spent.

use std::io::Write;
use std::path::Path;

use eth_keystore::{EthKeystore, KdfparamsType, KeystoreError};
use zeroize::Zeroizing;

use super::read_bounded;
use crate::error::{Error, Result};
use crate::keys::Owner;

/// Those that programs write have about 500 bytes.
const MAX_LEN: u64 = 16 << 10;
/// Of scrypt, N times r; 128 bytes each: 256 MiB, which is what the costliest programs ask for.
const MAX_MEMORY: u64 = 1 << 21;
/// Of scrypt, N times r times p: some seconds.
const MAX_WORK: u64 = 1 << 22;
/// Of scrypt, r and p each: what they take does not show in N.
const MAX_FACTOR: u32 = 64;
/// Of PBKDF2, rounds: some seconds.
const MAX_ROUNDS: u32 = 10_000_000;

const KEY_LEN: usize = 32;
const IV_LEN: usize = 16;

impl Owner {
    /// Reads the owner's key from a JSON keystore, version 3, such as Ethereum wallets write. It may take seconds and
    /// 256 MiB of memory, by what the file asks for.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Config`] when others can read it, the password is wrong, or it is
    /// no such keystore, or one that asks for more memory or time than any wallet does.
    pub fn open_keystore(path: impl AsRef<Path>, password: &str) -> Result<Self> {
        let path = path.as_ref();
        let shown = path.display();
        let text = read_bounded(path, MAX_LEN)?;
        let keystore: EthKeystore = serde_json::from_str(&text)
            .map_err(|error| Error::config(format!("{shown}: not a JSON keystore: {error}")))?;
        check(&keystore).map_err(|what| Error::config(format!("{shown}: {what}")))?;
        let key = decrypt(&text, password).map_err(|error| match error {
            KeystoreError::MacMismatch => Error::config(format!("{shown}: the password is wrong, or the file damaged")),
            error => Error::config(format!("{shown}: {error}")),
        })?;
        let secret = <&[u8; KEY_LEN]>::try_from(&key[..]).ok().and_then(Self::from_secret);
        secret.ok_or_else(|| Error::config(format!("{shown}: it holds no private key")))
    }
}

/// Decrypts what was checked, and not what is at the file's name by now. What is copied is as sealed as the original.
fn decrypt(text: &str, password: &str) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let mut copy = tempfile::NamedTempFile::new()?;
    copy.write_all(text.as_bytes())?;
    eth_keystore::decrypt_key(copy.path(), password).map(Zeroizing::new)
}

/// Whether it is of a kind that can be opened, within bounds.
fn check(keystore: &EthKeystore) -> Result<(), String> {
    let crypto = &keystore.crypto;
    if keystore.version != 3 || crypto.cipher != "aes-128-ctr" {
        return Err(format!(
            "a keystore of version {} with {:?}: only 3 with aes-128-ctr can be opened",
            keystore.version, crypto.cipher
        ));
    }
    if crypto.ciphertext.len() != KEY_LEN || crypto.mac.len() != KEY_LEN || crypto.cipherparams.iv.len() != IV_LEN {
        return Err("a keystore whose parts have other lengths than those of a key".to_owned());
    }
    let (key_len, is_bounded) = match &crypto.kdfparams {
        KdfparamsType::Scrypt { dklen, n, p, r, .. } => {
            let (cost, width, lanes) = (u64::from(*n), u64::from(*r), u64::from(*p));
            let is_small = (1..=MAX_FACTOR).contains(r) && (1..=MAX_FACTOR).contains(p);
            let is_bounded = is_small && cost * width <= MAX_MEMORY && cost * width * lanes <= MAX_WORK;
            (*dklen, is_bounded && *n > 1 && n.is_power_of_two())
        }
        KdfparamsType::Pbkdf2 { c, dklen, prf, .. } => (*dklen, prf == "hmac-sha256" && (1..=MAX_ROUNDS).contains(c)),
    };
    if let KdfparamsType::Scrypt { n, r, .. } = &crypto.kdfparams
        && is_bounded
        && n.ilog2() >= 16 * r
    {
        return Err(format!(
            "its scrypt has n = {n} with r = {r}, which RFC 7914 excludes and some programs wrote once: \
             let a wallet that opens it write it again"
        ));
    }
    if usize::from(key_len) != KEY_LEN || !is_bounded {
        return Err(
            "a keystore that asks for more memory or time than any wallet does, or for what none does".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::write_secret;
    use super::*;

    const PASSWORD: &str = "testpassword";
    const ADDRESS: &str = "008aeeda4d805471df9b2a5b0f38a0c3bcba786b";
    /// From the definition of the format.
    const PBKDF2: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{
        "c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    /// The same key and password with the numbers that wallets use, from the scrypt and AES of OpenSSL.
    const SCRYPT: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext":"b160ff7e6d855b53a3f8d65e4b2850584cfaa01751807f19d07c298de16f802d","kdf":"scrypt","kdfparams":{
        "dklen":32,"n":262144,"p":1,"r":8,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
        "mac":"daeeba49ffae86381ae33f74c05dc0038888a7806267a04a1ae2183a7f2b7b17"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("keystore.json");
        write_secret(&path, text).expect("written");
        (dir, path)
    }

    #[test]
    fn what_other_programs_wrote_opens_with_its_password_and_no_other() {
        for text in [PBKDF2, SCRYPT] {
            let (_dir, path) = file(text);
            assert_eq!(Owner::open_keystore(&path, PASSWORD).expect("opens").id().to_string(), ADDRESS);
            let error = Owner::open_keystore(&path, "hunter2").expect_err("another password");
            assert_eq!(error.code(), "config");
            assert!(error.to_string().contains("the password is wrong") && !format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_hostile_keystore_is_refused_before_it_costs_anything() {
        let changes = [
            (SCRYPT, r#""n":262144"#, r#""n":4294967295"#),
            (SCRYPT, r#""n":262144"#, r#""n":2147483648"#),
            (SCRYPT, r#""n":262144"#, r#""n":262143"#),
            (SCRYPT, r#""n":262144"#, r#""n":0"#),
            (SCRYPT, r#""n":262144"#, r#""n":1048576"#),
            (SCRYPT, r#""r":8"#, r#""r":1073741823"#),
            (SCRYPT, r#""r":8"#, r#""r":1"#),
            (SCRYPT, r#""p":1"#, r#""p":1073741823"#),
            (SCRYPT, r#""p":1"#, r#""p":4"#),
            (SCRYPT, r#""p":1"#, r#""p":0"#),
            (SCRYPT, r#""dklen":32"#, r#""dklen":16"#),
            (PBKDF2, r#""c":262144"#, r#""c":4294967295"#),
            (PBKDF2, r#""c":262144"#, r#""c":0"#),
            (PBKDF2, r#""dklen":32"#, r#""dklen":0"#),
            (PBKDF2, "hmac-sha256", "hmac-md5"),
            (SCRYPT, r#""iv":"83db"#, r#""iv":""#),
            (SCRYPT, r#""ciphertext":"b160"#, r#""ciphertext":""#),
            (SCRYPT, "aes-128-ctr", "aes-128-cbc"),
            (SCRYPT, r#""version":3"#, r#""version":1"#),
            (SCRYPT, r#""crypto""#, r#""cryptic""#),
        ];
        for (text, from, to) in changes {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let (_dir, path) = file(&changed);
            let allocated = allocation_counter::measure(|| {
                let error = Owner::open_keystore(&path, PASSWORD).expect_err(to);
                assert_eq!(error.code(), "config", "{to}");
            });
            assert!(allocated.bytes_max < 1 << 20, "{to}: {} bytes", allocated.bytes_max);
        }
        let (_dir, path) = file(&" ".repeat(20_000));
        assert!(Owner::open_keystore(&path, "").expect_err("too long").to_string().contains("too long"));
    }

    #[test]
    fn a_keystore_that_the_rules_of_scrypt_exclude_says_what_to_do() {
        let (_dir, path) = file(&SCRYPT.replace(r#""p":1,"r":8"#, r#""p":8,"r":1"#));
        let error = Owner::open_keystore(&path, PASSWORD).expect_err("refused").to_string();
        assert!(error.contains("RFC 7914") && error.contains("write it again"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_keystore_that_others_can_read_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, path) = file(SCRYPT);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("ours");
        let error = Owner::open_keystore(&path, PASSWORD).expect_err("refused");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}
