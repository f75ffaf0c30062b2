//! Workspace placeholder while the dependencies build.
