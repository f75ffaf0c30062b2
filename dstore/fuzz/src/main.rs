//! libFuzzer around one of the targets: the environment variable `TARGET` says which.
//!
//! `TARGET=` lists them; with `SEEDS` it writes the target's seeds to that folder. Both end the program: `make fuzz`.

#![no_main]

mod target;

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use target::Target;

static TARGET: OnceLock<&Target> = OnceLock::new();

fn choose() {
    let name = std::env::var("TARGET").unwrap_or_default();
    let Some(target) = target::all().find(|target| target.name == name) else {
        target::all().for_each(|target| println!("{}", target.name));
        std::process::exit(i32::from(!name.is_empty()));
    };
    if let Some(folder) = std::env::var_os("SEEDS") {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).expect("a folder");
        }
        std::process::exit(0);
    }
    TARGET.get_or_init(|| target);
}

fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        target.check(data);
    }
});
