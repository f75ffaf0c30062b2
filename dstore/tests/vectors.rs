//! Replays the vectors of docs/format.md and docs/wire.md (`tests/vectors/<format>/<case>.json`), found by reading the
//! directory, and changes every byte of the good ones.
//!
//! `DSTORE_WRITE_VECTORS=1 cargo test -p dstore --test vectors` writes them anew: only for a change of format.

mod vectors_test;

use std::collections::BTreeSet;

use vectors_test::{FORMATS, Vector, folder, sweep};

#[test]
fn every_vector_gives_what_it_says() {
    if std::env::var_os("DSTORE_WRITE_VECTORS").is_some() {
        vectors_test::write_all();
    }
    for format in FORMATS {
        let vectors = Vector::read_all(format.name);
        assert!(!vectors.is_empty(), "no vectors in {}", format.name);
        for vector in vectors {
            vector.check((format.run)(&vector.input));
        }
    }
}

#[test]
fn every_folder_of_vectors_belongs_to_a_known_format() {
    let known: BTreeSet<_> = FORMATS.iter().map(|format| format.name.to_owned()).collect();
    let there: BTreeSet<_> = std::fs::read_dir(folder())
        .expect("the folder of vectors")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("a plain name"))
        .filter(|name| name != "README.md")
        .collect();
    assert_eq!(there, known);
}

#[test]
fn every_format_has_good_and_defective_vectors() {
    let without_defects = ["codes", "placement", "stripes"];
    for format in FORMATS {
        let (defective, good): (Vec<_>, Vec<_>) =
            Vector::read_all(format.name).into_iter().partition(Vector::is_defective);
        assert!(!good.is_empty(), "{}", format.name);
        assert!(without_defects.contains(&format.name) || !defective.is_empty(), "{}", format.name);
    }
}

#[test]
fn the_vectors_are_those_that_this_version_would_write() {
    for format in FORMATS {
        for vector in vectors_test::made_by(format) {
            assert_eq!(Vector::read(format.name, &vector.name), vector, "{}/{}", format.name, vector.name);
        }
    }
}

#[test]
fn a_changed_or_cut_message_is_refused_or_is_another_message() {
    for format in ["messages", "manifests"] {
        for vector in Vector::read_all(format).iter().filter(|vector| !vector.is_defective()) {
            sweep::encoded(format, vector);
        }
    }
}

#[test]
fn a_changed_or_cut_statement_is_refused() {
    Vector::read_all("statements").iter().filter(|vector| !vector.is_defective()).for_each(sweep::statement);
}

#[test]
fn a_changed_or_cut_record_is_refused() {
    Vector::read_all("records").iter().filter(|vector| !vector.is_defective()).for_each(sweep::record);
}

#[test]
fn a_changed_or_cut_copy_is_refused() {
    Vector::read_all("copies").iter().filter(|vector| !vector.is_defective()).for_each(sweep::copy);
}

#[test]
fn a_changed_or_cut_proof_is_refused() {
    Vector::read_all("trees").iter().filter(|vector| !vector.is_defective()).for_each(sweep::proof);
}

#[test]
fn a_changed_or_cut_handshake_message_is_refused() {
    Vector::read_all("handshakes").iter().filter(|vector| !vector.is_defective()).for_each(sweep::handshake);
}

#[test]
fn a_changed_or_cut_registry_address_is_refused_or_is_another_address() {
    let vectors = Vector::read_all("registry-addresses");
    vectors.iter().filter(|vector| !vector.is_defective()).for_each(sweep::address);
}
