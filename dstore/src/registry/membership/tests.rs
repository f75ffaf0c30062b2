//! The membership at explicit times, and against a model that only remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::id::NetworkId;
use crate::signature::SecretKey;

const NETWORK: NetworkId = NetworkId::new([7; 32]);
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const BEAT: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

type Registration = (Signed<NodeRecord>, NodeRecord);

/// Of the first nodes, so that asking for a state needs no key.
static IDS: LazyLock<Vec<NodeId>> = LazyLock::new(|| (0..5).map(|n| node(n).1.id).collect());

fn rules() -> Rules {
    Rules { heartbeat: BEAT, max_nodes: 3, quarantine: Quarantine::default() }
}

fn record(node: u8, change: impl FnOnce(&mut NodeRecord)) -> Registration {
    let key = SecretKey::new(&[node + 1; 32]).expect("valid");
    let mut record = NodeRecord {
        id: NodeId::new(key.address()),
        noise_key: NoiseKey::new([node; 32]),
        endpoints: vec![format!("127.0.0.1:{}", 1000 + u16::from(node))],
        seq: 1,
        issued: START,
        not_after: START.after(RECORD_LIFE),
        capacity: 100,
        free: 60,
        zone: String::new(),
        draining: false,
    };
    change(&mut record);
    (Signed::new(&record, &key, NETWORK, &[]), record)
}

fn node(node: u8) -> Registration {
    record(node, |_| {})
}

/// A membership and the time it lives in.
struct World {
    members: Membership,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self { members: Membership::new(rules(), START), now: START }
    }

    /// Time passes, in steps that are no gap.
    fn wait(&mut self, mut duration: Duration) {
        while duration > Duration::ZERO {
            let step = duration.min(BEAT);
            self.now = self.now.after(step);
            self.members.tick(self.now);
            duration -= step;
        }
    }

    fn register(&mut self, (signed, record): Registration) -> Result<Verdict, Refusal> {
        let verdict = self.members.judge(&signed, &record, self.now);
        assert_eq!(self.members.register(signed, record, self.now).err(), verdict.err());
        verdict
    }

    fn beat(&mut self, node: u8) -> bool {
        self.members.heartbeat(NoiseKey::new([node; 32]), Heartbeat::default(), self.now)
    }

    fn leave(&mut self, node: u8) {
        self.members.deregister(NoiseKey::new([node; 32]), self.now);
    }

    fn state(&mut self, of: u8) -> Option<NodeState> {
        let id = IDS[usize::from(of)];
        self.members.find(id, self.now).map(|(_, state)| state)
    }

    fn active(&mut self) -> usize {
        self.members.active(self.now).len()
    }
}

#[test]
fn a_node_that_misses_three_heartbeats_is_suspect_and_is_active_when_it_is_heard_again() {
    let mut world = World::new();
    assert_eq!(world.register(node(1)), Ok(Verdict::New));
    world.wait(BEAT * 3 - Duration::from_millis(1));
    assert_eq!(world.state(1), Some(NodeState::Active));
    world.wait(Duration::from_millis(1));
    assert_eq!((world.state(1), world.active()), (Some(NodeState::Suspect), 0));
    assert!(world.beat(1));
    assert_eq!((world.state(1), world.active()), (Some(NodeState::Active), 1));
}

#[test]
fn a_node_that_misses_six_heartbeats_is_no_longer_listed() {
    let mut world = World::new();
    assert_eq!(world.register(node(1)), Ok(Verdict::New));
    world.wait(BEAT * 6 - Duration::from_millis(1));
    assert_eq!(world.state(1), Some(NodeState::Suspect));
    world.wait(Duration::from_millis(1));
    assert_eq!(world.state(1), None);
    assert_eq!(world.members.take_gone(), [node(1).1.id]);
    assert!(!world.beat(1), "it must register again");
    assert_eq!(world.register(node(1)), Ok(Verdict::New));
    assert!(world.members.take_gone().is_empty());
}

#[test]
fn after_a_restart_nodes_are_suspect_until_they_are_heard() {
    let mut world = World::new();
    for (signed, record) in [node(1), node(2)] {
        assert!(world.members.restore(signed, record, START.before(MINUTE), START));
    }
    assert_eq!((world.state(1), world.active()), (Some(NodeState::Suspect), 0));
    world.wait(BEAT * 5);
    assert!(world.beat(1));
    assert_eq!((world.state(1), world.state(2)), (Some(NodeState::Active), Some(NodeState::Suspect)));
    world.wait(BEAT);
    assert_eq!((world.state(1), world.state(2)), (Some(NodeState::Active), None));
}

#[test]
fn a_pause_of_the_registry_or_a_jump_of_its_clock_ends_no_listing() {
    for jump in [START.after(MINUTE * 120), START.before(MINUTE * 60)] {
        let mut world = World::new();
        assert_eq!(world.register(node(1)), Ok(Verdict::New));
        world.now = jump;
        assert_eq!(world.state(1), Some(NodeState::Suspect), "{jump}");
        assert!(world.beat(1));
        assert_eq!(world.state(1), Some(NodeState::Active), "{jump}");
        world.wait(BEAT * 6);
        assert_eq!(world.state(1), None, "{jump}");
    }
}

#[test]
fn a_draining_node_is_listed_but_offered_to_no_upload() {
    let mut world = World::new();
    assert_eq!(world.register(record(1, |record| record.draining = true)), Ok(Verdict::New));
    assert_eq!((world.state(1), world.active()), (Some(NodeState::Draining), 0));
    assert!(world.beat(1), "this heartbeat says that it takes shards again");
    assert_eq!((world.state(1), world.active()), (Some(NodeState::Active), 1));
}

#[test]
fn more_than_five_changes_in_ten_minutes_are_a_quarantine_of_ten_minutes() {
    let mut world = World::new();
    for _ in 0..2 {
        assert_eq!(world.register(node(1)), Ok(Verdict::New));
        world.leave(1);
    }
    assert_eq!(world.register(node(1)), Ok(Verdict::New));
    assert_eq!(world.state(1), Some(NodeState::Active), "five changes are fine");
    world.wait(BEAT * 4);
    assert!(world.beat(1), "the sixth change: it comes back");
    assert_eq!((world.state(1), world.active()), (Some(NodeState::Quarantined), 0));
    for _ in 0..59 {
        world.wait(BEAT);
        assert!(world.beat(1));
        assert_eq!(world.state(1), Some(NodeState::Quarantined));
    }
    world.wait(BEAT);
    assert_eq!(world.state(1), Some(NodeState::Active));
}

#[test]
fn changes_that_are_far_apart_are_no_reason_for_a_quarantine() {
    let mut world = World::new();
    for _ in 0..20 {
        assert_eq!(world.register(node(1)), Ok(Verdict::New));
        assert_eq!(world.state(1), Some(NodeState::Active));
        world.wait(MINUTE * 5);
    }
}

#[test]
fn an_older_record_and_another_one_with_the_same_seq_are_refused() {
    let mut world = World::new();
    let with = |seq, zone: &str| {
        record(1, |record| {
            record.seq = seq;
            record.zone = zone.to_owned();
        })
    };
    assert_eq!(world.register(with(5, "a")), Ok(Verdict::New));
    assert_eq!(world.register(with(5, "a")), Ok(Verdict::Same));
    assert_eq!(world.register(with(5, "b")), Err(Refusal::Expired));
    assert_eq!(world.register(with(4, "a")), Err(Refusal::Expired));
    assert_eq!(world.register(with(6, "b")), Ok(Verdict::Renewal));
}

#[test]
fn a_record_with_a_new_address_or_key_or_of_a_silent_node_must_be_seen_again() {
    let mut world = World::new();
    assert_eq!(world.register(node(1)), Ok(Verdict::New));
    let moved = record(1, |record| (record.seq, record.endpoints) = (2, vec!["127.0.0.1:9".into()]));
    assert_eq!(world.register(moved), Ok(Verdict::New));
    let rekeyed = record(1, |record| (record.seq, record.noise_key) = (3, NoiseKey::new([99; 32])));
    assert_eq!(world.register(rekeyed.clone()), Ok(Verdict::New));
    assert!(!world.beat(1), "the old key is nobody's now");
    world.wait(BEAT * 3);
    let renewed = record(1, |record| (record.seq, record.noise_key) = (4, NoiseKey::new([99; 32])));
    assert_eq!(world.register(renewed), Ok(Verdict::New));
}

#[test]
fn a_record_counts_only_within_its_times() {
    let mut world = World::new();
    let dated = |issued: Timestamp, not_after: Timestamp| {
        record(1, |record| (record.issued, record.not_after) = (issued, not_after))
    };
    let ms = Duration::from_millis(1);
    let future = START.after(CLOCK_SKEW);
    for bad in [
        dated(future.after(ms), future.after(MINUTE)),
        dated(START.before(MINUTE), START),
        dated(START, START.after(RECORD_LIFE + CLOCK_SKEW + ms)),
    ] {
        assert_eq!(world.register(bad), Err(Refusal::Expired));
    }
    assert_eq!(world.register(dated(future, future.after(MINUTE))), Ok(Verdict::New));
    for _ in 0..17 {
        world.wait(BEAT);
        assert!(world.beat(1));
    }
    world.wait(BEAT);
    assert_eq!(world.state(1), None, "its record ended");
}

#[test]
fn when_it_is_full_a_newcomer_waits_for_a_place_and_listed_nodes_stay() {
    let mut world = World::new();
    for n in 1..=3 {
        assert_eq!(world.register(node(n)), Ok(Verdict::New));
    }
    assert_eq!(world.register(node(4)), Err(Refusal::Busy));
    assert_eq!(world.register(record(2, |record| record.seq = 2)), Ok(Verdict::Renewal));
    world.wait(BEAT * 5);
    assert!(world.beat(1) && world.beat(2));
    world.wait(BEAT);
    assert_eq!(world.register(node(4)), Ok(Verdict::New), "the third one died");
}

#[test]
fn one_transport_key_is_not_listed_under_two_ids() {
    let mut world = World::new();
    assert_eq!(world.register(node(1)), Ok(Verdict::New));
    let second = record(2, |record| record.noise_key = NoiseKey::new([1; 32]));
    assert_eq!(world.register(second.clone()), Err(Refusal::Denied));
    world.leave(1);
    assert_eq!(world.register(second), Ok(Verdict::New));
}

#[test]
fn what_is_remembered_of_nodes_that_left_is_bounded() {
    let mut world = World::new();
    for n in 0..100 {
        assert_eq!(world.register(node(n)), Ok(Verdict::New));
        world.leave(n);
    }
    assert_eq!(world.members.histories.len(), 12);
    world.wait(MINUTE * 10);
    assert_eq!(world.members.histories.len(), 0);
}

const NODES: u8 = 4;
/// Small, so that a few operations reach it.
const MODEL_RULES: Rules = Rules {
    heartbeat: BEAT,
    max_nodes: 3,
    quarantine: Quarantine { changes: 3, window: Duration::from_secs(120), duration: Duration::from_secs(70) },
};

#[derive(Debug, Clone)]
enum Op {
    Register { node: u8, seq: u64, zone: u8 },
    Beat { node: u8, draining: bool },
    Leave { node: u8 },
    Wait { millis: u64 },
    Sleep { seconds: u64 },
    Restart,
    TakeGone,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..NODES, 0..4_u64, 0..2_u8).prop_map(|(node, seq, zone)| Op::Register { node, seq, zone }),
        6 => (0..NODES, prop::bool::weighted(0.2)).prop_map(|(node, draining)| Op::Beat { node, draining }),
        2 => (0..NODES).prop_map(|node| Op::Leave { node }),
        6 => (0..30_000_u64).prop_map(|millis| Op::Wait { millis }),
        1 => (31..500_u64).prop_map(|seconds| Op::Sleep { seconds }),
        1 => Just(Op::Restart),
        1 => Just(Op::TakeGone),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Listed {
    version: (u64, u8),
    silent_since: u64,
    unheard: bool,
    draining: bool,
}

/// Remembers every change for ever, and finds each answer by looking at all of them.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    listed: BTreeMap<u8, Listed>,
    changes: Vec<(u8, u64)>,
    /// Died since they were last asked for.
    gone: BTreeSet<u8>,
}

impl Model {
    fn pass(&mut self, millis: u64) {
        self.now += millis;
        let dead: Vec<_> = self.listed.iter().map(|(node, l)| (*node, l.silent_since + 60_000)).collect();
        for (node, _) in dead.into_iter().filter(|(_, at)| *at <= self.now) {
            let Some(listed) = self.listed.remove(&node) else { continue };
            self.changes.push((node, listed.silent_since + 60_000));
            self.gone.insert(node);
        }
    }

    fn take_gone(&mut self) -> BTreeSet<NodeId> {
        let gone = std::mem::take(&mut self.gone).into_iter();
        gone.filter(|node| !self.listed.contains_key(node)).map(|node| IDS[usize::from(node)]).collect()
    }

    fn doubt(&mut self) {
        let now = self.now;
        self.listed.values_mut().for_each(|listed| (listed.silent_since, listed.unheard) = (now, true));
    }

    fn hear(&mut self, node: u8) {
        let Some(listed) = self.listed.get_mut(&node) else { return };
        if !listed.unheard && self.now - listed.silent_since >= 30_000 {
            self.changes.push((node, self.now));
        }
        (listed.silent_since, listed.unheard) = (self.now, false);
    }

    fn register(&mut self, node: u8, version: (u64, u8)) -> Result<Verdict, Refusal> {
        let verdict = match self.listed.get(&node) {
            None if self.listed.len() == MODEL_RULES.max_nodes => return Err(Refusal::Busy),
            None => Verdict::New,
            Some(known) if known.version == version => Verdict::Same,
            Some(known) if known.version.0 >= version.0 => return Err(Refusal::Expired),
            Some(_) if self.state(node) == Some(NodeState::Suspect) => Verdict::New,
            Some(_) => Verdict::Renewal,
        };
        if self.listed.contains_key(&node) {
            self.hear(node);
        } else {
            self.changes.push((node, self.now));
        }
        if verdict != Verdict::Same {
            let listed = Listed { version, silent_since: self.now, unheard: false, draining: false };
            self.listed.insert(node, listed);
        }
        Ok(verdict)
    }

    fn state(&self, node: u8) -> Option<NodeState> {
        let listed = self.listed.get(&node)?;
        let own: Vec<u64> = self.changes.iter().filter(|(of, _)| *of == node).map(|(_, at)| *at).collect();
        let quarantined = own.iter().enumerate().any(|(last, at)| {
            own[..=last].iter().filter(|earlier| at - **earlier < 120_000).count() > 3 && self.now < at + 70_000
        });
        Some(if listed.unheard || self.now - listed.silent_since >= 30_000 {
            NodeState::Suspect
        } else if quarantined {
            NodeState::Quarantined
        } else if listed.draining {
            NodeState::Draining
        } else {
            NodeState::Active
        })
    }
}

type Versions = BTreeMap<(u8, u64, u8), Registration>;

static VERSIONS: LazyLock<Versions> = LazyLock::new(|| {
    let versions = (0..NODES).flat_map(|node| (0..4).flat_map(move |seq| (0..2).map(move |zone| (node, seq, zone))));
    let of =
        |(node, seq, zone): (u8, u64, u8)| record(node, |record| (record.seq, record.zone) = (seq, zone.to_string()));
    versions.map(|version| (version, of(version))).collect()
});

fn versioned(node: u8, (seq, zone): (u64, u8)) -> Registration {
    VERSIONS[&(node, seq, zone)].clone()
}

proptest! {
    #[test]
    fn the_membership_agrees_with_a_model_that_only_remembers(ops in prop::collection::vec(op(), 1..80)) {
        let (mut world, mut model) = (World::new(), Model::default());
        world.members = Membership::new(MODEL_RULES, START);
        for op in ops {
            match op {
                Op::Register { node, seq, zone } => {
                    let verdict = world.register(versioned(node, (seq, zone)));
                    prop_assert_eq!(verdict, model.register(node, (seq, zone)));
                }
                Op::Beat { node, draining } => {
                    let heartbeat = Heartbeat { draining, ..Heartbeat::default() };
                    let known = world.members.heartbeat(NoiseKey::new([node; 32]), heartbeat, world.now);
                    model.hear(node);
                    if let Some(listed) = model.listed.get_mut(&node) {
                        listed.draining = draining;
                    }
                    prop_assert_eq!(known, model.listed.contains_key(&node));
                }
                Op::Leave { node } => {
                    world.leave(node);
                    if model.listed.remove(&node).is_some() {
                        model.changes.push((node, model.now));
                    }
                }
                Op::Wait { millis } => {
                    // The membership learns of it only with whatever comes next, or now and then of itself.
                    world.now = world.now.after(Duration::from_millis(millis));
                    world.members.tick(world.now);
                    model.pass(millis);
                }
                Op::Sleep { seconds } => {
                    world.now = world.now.after(Duration::from_secs(seconds));
                    model.now += seconds * 1000;
                    model.doubt();
                }
                Op::Restart => {
                    let mut restarted = Membership::new(MODEL_RULES, world.now);
                    for (node, listed) in &mut model.listed {
                        let (signed, record) = versioned(*node, listed.version);
                        prop_assert!(restarted.restore(signed, record, world.now, world.now));
                        listed.draining = false;
                    }
                    world.members = restarted;
                    model.doubt();
                    model.changes.clear();
                    model.gone.clear();
                }
                Op::TakeGone => {
                    let gone: BTreeSet<_> = world.members.take_gone().into_iter().collect();
                    prop_assert_eq!(gone, model.take_gone());
                }
            }
            let states: Vec<_> = (0..NODES).map(|node| world.state(node)).collect();
            let expected: Vec<_> = (0..NODES).map(|node| model.state(node)).collect();
            prop_assert_eq!(&states, &expected);
            let active: BTreeSet<_> = world.members.active(world.now).into_iter().collect();
            let of = |state: &Option<NodeState>| *state == Some(NodeState::Active);
            let expected = IDS.iter().zip(&expected).filter(|(_, state)| of(state)).map(|(id, _)| *id).collect();
            prop_assert_eq!(active, expected);
            prop_assert!(world.members.keys.len() == world.members.members.len());
        }
    }
}
