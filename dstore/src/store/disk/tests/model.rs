//! A file system that forgets: files in memory, a log of all that was done to them, and what a crash may leave of it.
//!
//! Invariant: what was synced is there after a crash. Of the rest, any part may be, in any order: bytes by sectors, names
//! one by one. A rename is one change: its two names are never both lost.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rt::Timestamp;
use crate::store::disk::files::{DiskFile, Files};
use crate::testing::conformance::store::bytes;

/// What a disk keeps or loses whole.
const SECTOR: usize = 512;

/// Numbers that look random, the same for the same seed.
pub(super) struct Dice {
    bytes: Vec<u8>,
    at: usize,
}

impl Dice {
    pub(super) fn new(seed: u32) -> Self {
        Self { bytes: bytes(seed, 1 << 16), at: 0 }
    }

    /// Below `bound`, which is at most 256.
    fn roll(&mut self, bound: usize) -> usize {
        self.at = (self.at + 1) % self.bytes.len();
        usize::from(self.bytes[self.at]) % bound
    }
}

type FileNo = usize;

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => content.resize(*len, 0),
            Self::Write(at, bytes) => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// What a crash may leave of it, when it was not synced.
    fn torn(&self, dice: &mut Dice) -> Vec<Self> {
        match (self, dice.roll(4)) {
            (_, 0) => vec![],
            (Self::Write(at, bytes), 1) => {
                let cut = bytes.len() * dice.roll(256) / 256;
                vec![Self::Write(*at, bytes[..cut].to_vec())]
            }
            (Self::Write(at, bytes), 2) => {
                let sectors = bytes.chunks(SECTOR).enumerate().filter(|_| dice.roll(2) == 0);
                sectors.map(|(index, sector)| Self::Write(at + index * SECTOR, sector.to_vec())).collect()
            }
            _ => vec![self.clone()],
        }
    }
}

/// A change of names.
#[derive(Debug, Clone)]
enum Naming {
    Link(PathBuf, FileNo),
    Unlink(PathBuf),
    /// From, to, and what it was.
    Rename(PathBuf, PathBuf, FileNo),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, FileNo>) {
        match self {
            Self::Link(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Unlink(path) => drop(names.remove(path)),
            Self::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
        }
    }

    /// What is still not durable of it after a sync of `folder`, and what is now.
    fn synced(self, folder: &Path) -> (Option<Self>, Option<Self>) {
        let is_in = |path: &Path| path.parent() == Some(folder);
        match &self {
            Self::Link(path, _) | Self::Unlink(path) if is_in(path) => (None, Some(self)),
            Self::Rename(from, _, _) if is_in(from) => (None, Some(self)),
            // The new name is durable; the old one may come back.
            Self::Rename(from, to, file) if is_in(to) => {
                (Some(Self::Unlink(from.clone())), Some(Self::Link(to.clone(), *file)))
            }
            _ => (Some(self), None),
        }
    }
}

/// One thing that was done to the disk.
#[derive(Debug, Clone)]
enum Step {
    Create(PathBuf, FileNo),
    Change(FileNo, Change),
    Sync(FileNo),
    Name(Naming),
    SyncFolder(PathBuf),
    /// A word of the scenario.
    Note,
}

#[derive(Default)]
struct Model {
    names: BTreeMap<PathBuf, FileNo>,
    contents: Vec<Vec<u8>>,
    steps: Vec<(Step, Database)>,
    /// What stood there at the start of the log.
    first: (BTreeMap<PathBuf, FileNo>, Vec<Vec<u8>>),
    database: Option<PathBuf>,
}

/// The files of the database, as they were just before a step.
pub(super) type Database = Arc<Vec<(String, Vec<u8>)>>;

/// The file system, and the log.
#[derive(Clone, Default)]
pub(super) struct ModelFiles(Arc<Mutex<Model>>);

impl ModelFiles {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the log: from now on the database in `folder` is copied before every step.
    pub(super) fn record(&self, folder: &Path) {
        let mut model = self.model();
        model.database = Some(folder.to_owned());
        model.first = (model.names.clone(), model.contents.clone());
    }

    /// Puts a word of the scenario into the log, and answers where it stands.
    pub(super) fn note(&self) -> usize {
        let mut model = self.model();
        model.step(Step::Note);
        model.steps.len() - 1
    }

    /// Steps in the log.
    pub(super) fn steps(&self) -> usize {
        self.model().steps.len()
    }

    /// What a crash just before step `at` may leave; `early`: a commit since the step before had not happened yet.
    pub(super) fn crash(&self, at: usize, early: bool, dice: &mut Dice) -> (Self, Database) {
        let model = self.model();
        let database = Arc::clone(&model.steps[if early { at - 1 } else { at }].1);
        let mut left = Left::new(&model.first);
        model.steps[..at].iter().for_each(|(step, _)| left.step(step));
        let (names, contents) = left.settle(dice);
        let after = Model { names, contents, ..Model::default() };
        (Self(Arc::new(Mutex::new(after))), database)
    }

    /// The same files in another folder.
    pub(super) fn moved(self, from: &Path, to: &Path) -> Self {
        let mut model = self.model();
        let names = std::mem::take(&mut model.names);
        let moved = |path: PathBuf| path.strip_prefix(from).map(|path| to.join(path)).unwrap_or(path.clone());
        model.names = names.into_iter().map(|(path, file)| (moved(path), file)).collect();
        drop(model);
        self
    }

    /// Everything that is there, to tell states apart.
    pub(super) fn fingerprint(&self) -> blake3::Hash {
        let model = self.model();
        let mut hasher = blake3::Hasher::new();
        for (path, file) in &model.names {
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update(blake3::hash(&model.contents[*file]).as_bytes());
        }
        hasher.finalize()
    }
}

impl Model {
    fn step(&mut self, step: Step) {
        let Some(folder) = &self.database else { return };
        let read = |name: &str| std::fs::read(folder.join(name)).ok().map(|bytes| (name.to_owned(), bytes));
        let now: Vec<_> = ["index.db", "index.db-wal"].into_iter().filter_map(read).collect();
        let database = match self.steps.last() {
            Some((_, before)) if **before == now => Arc::clone(before),
            _ => Arc::new(now),
        };
        self.steps.push((step, database));
    }

    fn find(&self, path: &Path) -> io::Result<FileNo> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.step(Step::Name(naming));
    }

    fn change(&mut self, file: FileNo, change: Change) {
        change.apply(&mut self.contents[file]);
        self.step(Step::Change(file, change));
    }
}

/// What is durable, and what waits to be.
struct Left {
    names: BTreeMap<PathBuf, FileNo>,
    namings: Vec<Naming>,
    contents: Vec<(Vec<u8>, Vec<Change>)>,
}

impl Left {
    fn new((names, contents): &(BTreeMap<PathBuf, FileNo>, Vec<Vec<u8>>)) -> Self {
        let contents = contents.iter().map(|content| (content.clone(), vec![])).collect();
        Self { names: names.clone(), namings: vec![], contents }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Create(path, file) => {
                self.contents.resize_with(self.contents.len().max(file + 1), Default::default);
                self.namings.push(Naming::Link(path.clone(), *file));
            }
            Step::Change(file, change) => self.contents[*file].1.push(change.clone()),
            Step::Sync(file) => {
                let (content, changes) = &mut self.contents[*file];
                changes.drain(..).for_each(|change| change.apply(content));
            }
            Step::Name(naming) => self.namings.push(naming.clone()),
            Step::SyncFolder(folder) => {
                let namings = std::mem::take(&mut self.namings);
                for naming in namings {
                    let (waits, durable) = naming.synced(folder);
                    self.namings.extend(waits);
                    durable.iter().for_each(|naming| naming.apply(&mut self.names));
                }
            }
            Step::Note => {}
        }
    }

    fn settle(mut self, dice: &mut Dice) -> (BTreeMap<PathBuf, FileNo>, Vec<Vec<u8>>) {
        // Some crashes lose nothing, some lose all that they may.
        let mood = dice.roll(4);
        let happens = |dice: &mut Dice| mood == 0 || (mood != 1 && dice.roll(2) == 0);
        for naming in &self.namings {
            if happens(dice) {
                naming.apply(&mut self.names);
            }
        }
        let mut settled = Vec::new();
        for (mut content, mut changes) in self.contents {
            match mood {
                0 => changes.iter().for_each(|change| change.apply(&mut content)),
                1 => {}
                _ => {
                    while !changes.is_empty() {
                        let next = if mood == 2 { 0 } else { dice.roll(changes.len().min(256)) };
                        changes.remove(next).torn(dice).iter().for_each(|change| change.apply(&mut content));
                    }
                }
            }
            settled.push(content);
        }
        (self.names, settled)
    }
}

impl std::fmt::Debug for ModelFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModelFiles({} steps)", self.steps())
    }
}

impl Files for ModelFiles {
    fn make_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let model = self.model();
        let inside = model.names.range(folder.to_owned()..).map(|(path, _)| path);
        let inside = inside.take_while(|path| path.starts_with(folder)).filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.model().step(Step::SyncFolder(folder.to_owned()));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut model = self.model();
        let file = match model.find(path) {
            Ok(file) => {
                model.change(file, Change::SetLen(0));
                file
            }
            Err(_) => {
                let file = model.contents.len();
                model.contents.push(vec![]);
                model.names.insert(path.to_owned(), file);
                model.step(Step::Create(path.to_owned(), file));
                file
            }
        };
        Ok(Box::new(ModelFile { files: self.clone(), file }))
    }

    fn open(&self, path: &Path, _: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.model().find(path)?;
        Ok(Box::new(ModelFile { files: self.clone(), file }))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let model = self.model();
        model.find(path).map(|file| model.contents[file].len() as u64)
    }

    fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        self.model().find(path).map(|_| crate::testing::conformance::store::NOW)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut model = self.model();
        let file = model.find(from)?;
        model.name(Naming::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut model = self.model();
        model.find(path)?;
        model.name(Naming::Unlink(path.to_owned()));
        Ok(())
    }
}

struct ModelFile {
    files: ModelFiles,
    file: FileNo,
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("small")
}

impl DiskFile for ModelFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.files.model().contents[self.file].len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let model = self.files.model();
        let content = model.contents[self.file].get(at(offset)..at(offset) + bytes.len());
        bytes.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.files.model().change(self.file, Change::Write(at(offset), bytes.to_vec()));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.files.model().change(self.file, Change::SetLen(at(len)));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.files.model().step(Step::Sync(self.file));
        Ok(())
    }
}
