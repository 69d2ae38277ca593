//! Which neighbours are kept resolved when there are more than natgw keeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
};

/// Neighbours that are kept beside the gateways, where the kernel does not say how large its table may get (in a network
/// namespace other than the first): half of its default `gc_thresh3` of 1,024.
const USUAL: usize = 512;

/// The fewest and the most, whatever `gc_thresh3` is: the kernel probes each every few seconds (`interval_probe_time_ms`),
/// and the packet path notes 4,096.
const LIMITS: (usize, usize) = (16, 2048);

/// How much younger the note of a neighbour that is kept counts, so that it is not dropped for one that was noted a
/// little later, and that one for the next.
const HOLD_MS: u32 = 60_000;

/// A next hop or an inside host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// Interface index.
    pub ifindex: u32,
    /// Address.
    pub addr: Ipv4Addr,
}

/// A neighbour that the packet path noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Which.
    pub neighbour: Neighbour,
    /// How long ago it did so last.
    pub age_ms: u32,
}

/// What to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Gateways of routes: all of them.
    pub gateways: Vec<Neighbour>,
    /// Others, the most useful first.
    pub others: Vec<Neighbour>,
    /// Noted, and not kept.
    pub refused: usize,
}

/// How many neighbours are kept beside the gateways: half of what the kernel lets its table grow to
/// (`net.ipv4.neigh.default.gc_thresh3`). Entries that natgw keeps do not count there, and the kernel never removes
/// them by itself: without a limit of natgw's own, whoever makes many neighbours would fill its memory.
pub fn cap() -> usize {
    let thresh = fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3");
    of_threshold(thresh.ok().and_then(|text| text.trim().parse().ok()))
}

fn of_threshold(gc_thresh3: Option<usize>) -> usize {
    gc_thresh3.map_or(USUAL, |thresh| thresh / 2).clamp(LIMITS.0, LIMITS.1)
}

/// Chooses what to keep. The gateways count, and are never refused; the room that they leave is shared fairly between
/// interfaces, so that a host on one cannot crowd out the neighbours on the others, and on each goes to those noted last.
pub fn choose(
    kept: &BTreeSet<Neighbour>,
    gateways: &BTreeSet<Neighbour>,
    noted: &[Noted],
    cap: usize,
) -> Roster {
    let room = cap.saturating_sub(gateways.len());
    let mut by_interface: BTreeMap<u32, Vec<(u32, bool, Neighbour)>> = BTreeMap::new();
    for Noted { neighbour, age_ms } in noted.iter().filter(|n| !gateways.contains(&n.neighbour)) {
        let is_kept = kept.contains(neighbour);
        let age = if is_kept { age_ms.saturating_sub(HOLD_MS) } else { *age_ms };
        by_interface.entry(neighbour.ifindex).or_default().push((age, !is_kept, *neighbour));
    }
    // The n-th of each interface come before the next of any.
    let mut ranked = Vec::with_capacity(noted.len());
    for candidates in by_interface.values_mut() {
        candidates.sort_unstable();
        ranked.extend(candidates.iter().enumerate().map(|(rank, candidate)| (rank, *candidate)));
    }
    ranked.sort_unstable();
    let refused = ranked.len().saturating_sub(room);
    let others = ranked.into_iter().take(room).map(|(_, (_, _, neighbour))| neighbour).collect();
    Roster { gateways: gateways.iter().copied().collect(), others, refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ifindex: u32, number: u16) -> Neighbour {
        let [a, b] = number.to_be_bytes();
        Neighbour { ifindex, addr: [10, 0, a, b].into() }
    }

    fn noted(ifindex: u32, numbers: std::ops::Range<u16>, age_ms: u32) -> Vec<Noted> {
        numbers.map(|n| Noted { neighbour: at(ifindex, n), age_ms }).collect()
    }

    fn set(roster: &Roster) -> BTreeSet<Neighbour> {
        roster.gateways.iter().chain(&roster.others).copied().collect()
    }

    #[test]
    fn the_cap_follows_the_kernels_table() {
        assert_eq!(of_threshold(None), 512);
        assert_eq!(of_threshold(Some(1024)), 512);
        assert_eq!(of_threshold(Some(0)), 16);
        assert_eq!(of_threshold(Some(usize::MAX)), 2048);
    }

    #[test]
    fn gateways_always_then_the_most_recently_noted() {
        let gateways = BTreeSet::from([at(1, 1), at(1, 2)]);
        let all = [noted(1, 2..12, 5_000), noted(1, 12..15, 1_000)].concat();
        let roster = choose(&BTreeSet::new(), &gateways, &all, 6);
        assert_eq!(roster.others, [at(1, 12), at(1, 13), at(1, 14), at(1, 3)]);
        assert_eq!((roster.gateways.len(), roster.refused), (2, 8));
        assert_eq!(choose(&BTreeSet::new(), &gateways, &all, 1).gateways.len(), 2);
    }

    #[test]
    fn who_is_kept_stays_while_others_are_only_a_little_more_recent() {
        let nobody = BTreeSet::new();
        let first = set(&choose(&nobody, &nobody, &noted(1, 0..100, 1_000), 50));
        assert_eq!(first.len(), 50);
        // Ever new ones come.
        let mut now = first.clone();
        for round in 1..20u16 {
            let mut all: Vec<_> =
                first.iter().map(|n| Noted { neighbour: *n, age_ms: 3_000 * u32::from(round) }).collect();
            all.extend(noted(1, round * 1000..round * 1000 + 500, 0));
            now = set(&choose(&now, &nobody, &all, 50));
            assert_eq!(now, first, "round {round}");
        }
        let old: Vec<_> = first.iter().map(|n| Noted { neighbour: *n, age_ms: HOLD_MS + 1 }).collect();
        let newer = choose(&now, &nobody, &[old, noted(1, 900..910, 0)].concat(), 50);
        assert_eq!(set(&newer).difference(&first).count(), 10, "but not for ever");
    }

    #[test]
    fn a_crowd_on_one_interface_leaves_room_for_the_others() {
        let nobody = BTreeSet::new();
        let all = [noted(1, 0..3000, 0), noted(2, 0..20, 600_000)].concat();
        let roster = choose(&nobody, &nobody, &all, 100);
        assert_eq!(roster.others.iter().filter(|n| n.ifindex == 2).count(), 20);
        assert_eq!(roster.others.len(), 100);
    }
}
