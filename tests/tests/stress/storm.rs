//! The storm: two CPUs send, two reapers condemn and delete, everything with the shortest timeouts there are.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nat_common::reap::{ReapAction, ReapResult};
use nat_common::stamp::GONE_AFTER_MS;
use nat_common::timeouts::Timeouts;
use nat_tests::fixture::{Arrives, Setup, Verdict, World};
use nat_tests::lab::{client_addr, eip};
use nat_tests::packet::flags;

use super::conversation::{CLIENTS, Conversation};
use super::{alone, assert_table_adds_up, bury_undone, cpus, duration};

/// Conversations in all; many more than the table has room for.
const CONVERSATIONS: u16 = 12_000;
/// Those that are being had at a time.
const WINDOW: u64 = 384;
/// How long before the window moves on by half.
const SLIDE_MS: u64 = 100;
/// How many slides ago those were had that are taken up again now and then: long enough to be past their deadline, not so
/// long that they cannot be revived.
const AGAIN: u64 = 6;
const PORTS: (u16, u16) = (5000, 5699);
const ENTRIES: u32 = 8192;
const TIMEOUT_MS: u32 = 15;
const EIPS: u8 = 2;

/// A flow that was seen alive cannot have been deleted, nor its port taken by another, sooner than this
/// after. The clock of stamps is coarse and ticks every 10 ms at worst.
const CERTAIN_MS: u64 = GONE_AFTER_MS - 50;

/// What was learned from a forwarded question, in one word so that threads can share it without locks.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    conversation: Conversation,
    outside: SocketAddrV4,
    /// When the question was about to be sent, in ms of the storm.
    at: u64,
}

impl Sighting {
    fn pack(self) -> u64 {
        let eip = u64::from(self.outside.ip().octets()[3] - eip(0).octets()[3]) + 1;
        self.at << 36 | eip << 32 | u64::from(self.outside.port()) << 16 | u64::from(self.conversation.number)
    }

    fn unpack(word: u64) -> Option<Self> {
        let nth = u8::try_from(word >> 32 & 0xf).ok()?.checked_sub(1)?;
        let outside = SocketAddrV4::new(eip(nth), (word >> 16) as u16);
        Some(Self { conversation: Conversation { number: word as u16 }, outside, at: word >> 36 })
    }
}

/// What all threads share.
struct Storm {
    start: Instant,
    end: Instant,
    stop: AtomicBool,
    /// By conversation: the outside end that its last question was given.
    outside_of: Vec<AtomicU64>,
    /// By destination and outside end: whose it was last.
    owner_of: Vec<AtomicU64>,
    asked: AtomicU64,
    answered: AtomicU64,
    guessed: AtomicU64,
    dropped: AtomicU64,
    stale: AtomicU64,
    deleted: AtomicU64,
}

impl Storm {
    fn new() -> Self {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        let start = Instant::now();
        let ends = usize::from(EIPS) * usize::from(PORTS.1 - PORTS.0 + 1);
        Self {
            start,
            end: start + duration(),
            stop: AtomicBool::new(false),
            outside_of: zeros(usize::from(CONVERSATIONS)),
            owner_of: zeros(Conversation::DESTINATIONS * ends),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            guessed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        // From 1, so that no sighting is all zeros.
        1 + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() >= self.end
    }

    /// Stops everybody, so that what is wrong is told at once.
    fn fail(&self, what: &str) -> ! {
        self.stop.store(true, Ordering::Relaxed);
        panic!("{what}");
    }

    fn owner(&self, of: Conversation, outside: SocketAddrV4) -> &AtomicU64 {
        let ports = usize::from(PORTS.1 - PORTS.0 + 1);
        let eip = usize::from(outside.ip().octets()[3] - eip(0).octets()[3]);
        let end = eip * ports + usize::from(outside.port() - PORTS.0);
        &self.owner_of[of.destination() * usize::from(EIPS) * ports + end]
    }

    /// Holds a forwarded question against what was seen before.
    fn check(&self, seen: Sighting) {
        let done = self.now_ms();
        let is_certain = |earlier: &Sighting| done - earlier.at.min(done) < CERTAIN_MS;
        let word = seen.pack();
        let mine = &self.outside_of[usize::from(seen.conversation.number)];
        if let Some(before) = Sighting::unpack(mine.swap(word, Ordering::SeqCst)).filter(is_certain)
            && before.outside != seen.outside
        {
            self.fail(&format!(
                "one flow, two outside ends at a time: {before:?}, then {seen:?}, now {done}"
            ));
        }
        let owner = self.owner(seen.conversation, seen.outside).swap(word, Ordering::SeqCst);
        if let Some(before) = Sighting::unpack(owner).filter(is_certain)
            && before.conversation != seen.conversation
        {
            self.fail(&format!(
                "one outside end, two flows at a time: {before:?}, then {seen:?}, now {done}"
            ));
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// `SplitMix64` (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

#[test]
fn no_packet_is_translated_with_another_flows_entry() {
    let _alone = alone();
    let timeouts = Timeouts {
        tcp_new: TIMEOUT_MS,
        tcp_established: TIMEOUT_MS + 5,
        tcp_closing: TIMEOUT_MS,
        tcp_closed: TIMEOUT_MS,
        udp_unreplied: TIMEOUT_MS,
        udp: TIMEOUT_MS + 5,
        icmp: TIMEOUT_MS,
    };
    let eips: Vec<_> = (0..EIPS).map(eip).collect();
    let setup = Setup { eips, ports: PORTS, entries: ENTRIES, timeouts, ..Setup::default() };
    let world = World::new(setup).unwrap();
    for n in 1..CLIENTS {
        let client = client_addr(n);
        world.gw().ip(&format!("neigh add {client} lladdr 02:00:00:00:00:0a dev in0")).unwrap();
    }
    let storm = Storm::new();
    std::thread::scope(|s| {
        for cpu in cpus() {
            let (world, storm) = (&world, &storm);
            s.spawn(move || talk(world, storm, cpu));
            s.spawn(move || reap(world, storm, cpu));
        }
    });
    bury_undone(&world);
    let flows = assert_table_adds_up(&world);
    let stats = world.stats().unwrap();
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} questions, {} answers and {} guesses judged, {} dropped, {} too late to judge\n{} births, {} undone, {} revivals, {} deaths, {flows} flows left",
        of(&storm.asked),
        of(&storm.answered),
        of(&storm.guessed),
        of(&storm.dropped),
        of(&storm.stale),
        stats.births.iter().sum::<u64>(),
        stats.lost_races,
        stats.revivals,
        stats.deaths.iter().sum::<u64>(),
    );
    println!("drops: {:?}", world.counters().unwrap());
    assert_eq!(of(&storm.deleted), stats.deaths.iter().sum::<u64>(), "each flow is buried once");
    // A storm in which nothing happened proves nothing.
    assert!(of(&storm.asked) > 1000 && of(&storm.answered) > 1000);
    assert!(stats.revivals > 100 && of(&storm.deleted) > 100);
}

/// Sends questions and answers of the conversations of the moment.
fn talk(world: &World, storm: &Storm, cpu: usize) {
    let mut lane = world.lane(cpu).unwrap();
    let eips = world.setup().eips.clone();
    let mut dice = Dice(cpu as u64);
    while !storm.is_over() {
        let behind = if dice.roll(4) == 0 { AGAIN } else { 0 };
        let first = (storm.now_ms() / SLIDE_MS + AGAIN - behind) * (WINDOW / 2);
        let number = (first + dice.roll(WINDOW)) % u64::from(CONVERSATIONS);
        let conversation = Conversation { number: number as u16 };
        let at = storm.now_ms();
        match dice.roll(10) {
            0..5 => {
                // Mostly SYNs: nothing else starts or revives a TCP flow.
                let flags = [flags::SYN, flags::SYN, flags::ACK, flags::FIN | flags::ACK, flags::RST]
                    [dice.roll(5) as usize];
                let ran = lane.run(Arrives::Inside, &conversation.question(flags), 1).unwrap();
                match (ran.verdict, conversation.judge_question(ran.frame, &eips)) {
                    (Verdict::Redirect, Ok(outside)) => storm.check(Sighting { conversation, outside, at }),
                    (Verdict::Redirect, Err(what)) => storm.fail(&what),
                    (Verdict::Drop, _) => drop(storm.dropped.fetch_add(1, Ordering::Relaxed)),
                    (verdict, _) => storm.fail(&format!("{conversation:?} met {verdict:?}")),
                }
            }
            5..9 => {
                let known = storm.outside_of[usize::from(conversation.number)].load(Ordering::SeqCst);
                let Some(known) = Sighting::unpack(known) else { continue };
                let flags = [flags::SYN | flags::ACK, flags::ACK, flags::RST][dice.roll(3) as usize];
                let ran = lane.run(Arrives::Outside, &conversation.answer(known.outside, flags), 1).unwrap();
                match (ran.verdict, conversation.judge_answer(ran.frame)) {
                    (Verdict::Redirect, Ok(to)) if to == conversation => {
                        storm.answered.fetch_add(1, Ordering::Relaxed);
                    }
                    (Verdict::Redirect, Ok(to)) if storm.now_ms() - known.at < CERTAIN_MS => {
                        storm.fail(&format!("{known:?}: the answer went to {to:?} at {}", storm.now_ms()));
                    }
                    // The port has a new owner meanwhile, or may have: nobody's mistake.
                    (Verdict::Redirect, Ok(_)) => drop(storm.stale.fetch_add(1, Ordering::Relaxed)),
                    (Verdict::Redirect, Err(what)) => storm.fail(&what),
                    (Verdict::Drop, _) => drop(storm.dropped.fetch_add(1, Ordering::Relaxed)),
                    (verdict, _) => storm.fail(&format!("{conversation:?} met {verdict:?}")),
                }
            }
            _ => {
                // A stranger's guess: whoever has the port may get it, in one piece.
                let port = PORTS.0 + dice.roll(u64::from(PORTS.1 - PORTS.0 + 1)) as u16;
                let outside = SocketAddrV4::new(eip(dice.roll(u64::from(EIPS)) as u8), port);
                let ran = lane.run(Arrives::Outside, &conversation.answer(outside, flags::ACK), 1).unwrap();
                match (ran.verdict, conversation.judge_answer(ran.frame)) {
                    (Verdict::Redirect, Err(what)) => storm.fail(&what),
                    (Verdict::Redirect, Ok(_)) => drop(storm.guessed.fetch_add(1, Ordering::Relaxed)),
                    (Verdict::Drop, _) => drop(storm.dropped.fetch_add(1, Ordering::Relaxed)),
                    (verdict, _) => storm.fail(&format!("a guess met {verdict:?}")),
                }
            }
        }
    }
}

/// Condemns what is past its deadline, and now and then what is not; deletes what is ripe.
fn reap(world: &World, storm: &Storm, cpu: usize) {
    let lane = world.lane(cpu).unwrap();
    let keys: Vec<_> = (0..CONVERSATIONS).map(|number| Conversation { number }.key()).collect();
    let mut dice = Dice(100 + cpu as u64);
    while !storm.is_over() {
        lane.reap(&keys, ReapAction::Condemn).unwrap();
        let some = dice.roll(u64::from(CONVERSATIONS) - 16) as usize;
        lane.reap(&keys[some..some + 16], ReapAction::CondemnForced).unwrap();
        let records = lane.reap(&keys, ReapAction::Delete).unwrap();
        let deleted = records.iter().filter(|r| ReapResult::from_number(r.result) == ReapResult::Deleted);
        storm.deleted.fetch_add(deleted.count() as u64, Ordering::Relaxed);
        // Leaves the CPU to the packets: expiry does not depend on the collector's pace.
        std::thread::sleep(Duration::from_millis(2));
    }
}
