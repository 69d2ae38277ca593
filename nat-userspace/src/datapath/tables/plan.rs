//! From what the maps hold to what they are to hold: which changes, and in which order.
//!
//! The order is such that the packet path, which goes on meanwhile, sees the old configuration or the new one: what is
//! added comes before what is removed, and what is referred to before what refers to it. Nothing here touches a map.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use bytemuck::Pod;
use nat_common::eip::{MAX_EIPS, MAX_PREFIXES, MAX_RESERVED, MAX_ROUTE_MTUS, Tables};
use nat_common::hop::{Iface, MAX_INTERFACES};
use nat_common::nh::HashKey;
use nat_common::{Addr, Eip, PoolRef};

use super::choices;
use super::contents::{Contents, Edit, Interfaces, Prefix, Trie};
use super::wanted::{Wanted, WantedPool};
use crate::datapath::error::Error;

/// What brings the maps from `current` to `wanted`. Nothing, when they are there.
pub fn plan(current: &Contents, wanted: &Wanted) -> Result<Vec<Edit>, Error> {
    let mut edits = Vec::new();
    if current.settings != wanted.settings {
        edits.push(Edit::SetSettings(Box::new(wanted.settings)));
    }
    let exempt = trie(&current.exempt, &wanted.exempt, MAX_PREFIXES)?;
    edits.extend(exempt.add(|prefix, _| Edit::AddExempt(prefix), Edit::RemoveExempt));
    let reserved = trie(&current.reserved, &wanted.reserved, MAX_RESERVED)?;
    edits.extend(reserved.add(|prefix, _| Edit::AddReserved(prefix), Edit::RemoveReserved));
    let (lists, stale) = eips(&current.eips, &wanted.pools, &mut edits)?;
    let pools = members(current, &wanted.pools, &lists, &wanted.settings.choice, &mut edits);
    let pools = trie(&current.pools, &pools, MAX_PREFIXES)?;
    // No new flow is to find an EIP that goes, nor one that is not exempt any more, before the EIP goes.
    edits.extend(pools.add(Edit::SetPool, Edit::RemovePool));
    edits.extend(pools.remove(Edit::RemovePool));
    edits.extend(exempt.remove(Edit::RemoveExempt));
    edits.extend(reserved.remove(Edit::RemoveReserved));
    edits.extend(stale.into_iter().map(Edit::RemoveEip));
    Ok(edits)
}

/// The same for the MTUs of routes.
pub(crate) fn route_mtus(current: &Trie<Addr, u32>, wanted: &Trie<Addr, u32>) -> Result<Vec<Edit>, Error> {
    let mtus = trie(current, wanted, MAX_ROUTE_MTUS)?;
    let mut edits = mtus.add(Edit::SetRouteMtu, Edit::RemoveRouteMtu);
    edits.extend(mtus.remove(Edit::RemoveRouteMtu));
    Ok(edits)
}

/// What tells of the interface with an index. One that is known keeps its place in the devmap, which flow entries refer to.
pub fn interface(current: &Interfaces, index: u32, described: Iface) -> Result<Option<Edit>, Error> {
    let known = current.iter().find(|(_, (known, _))| *known == index).map(|(place, _)| *place);
    let free = || (0..MAX_INTERFACES).find(|place| !current.contains_key(place));
    let place = known.or_else(free).ok_or(Error::TooMany {
        what: "interfaces",
        count: MAX_INTERFACES as usize + 1,
        limit: MAX_INTERFACES,
    })?;
    let iface = Iface { devmap: place as u16, ..described };
    let is_as_before = current.get(&place) == Some(&(index, Some(iface)));
    Ok((!is_as_before).then_some(Edit::SetInterface { place, index, iface }))
}

/// What makes the interface with an index a target of XDP redirects, or ends that. `targets`: index by place in the devmap.
pub fn target(
    current: &Interfaces,
    targets: &BTreeMap<u32, u32>,
    index: u32,
    is_target: bool,
) -> Option<Edit> {
    let (place, _) = current.iter().find(|(_, (known, _))| *known == index)?;
    match (targets.get(place), is_target) {
        (Some(there), true) if *there == index => None,
        (_, true) => Some(Edit::SetTarget { place: *place, index }),
        (Some(_), false) => Some(Edit::RemoveTarget { place: *place }),
        (None, false) => None,
    }
}

/// What forgets the interfaces whose index `is_kept` does not want.
pub fn forget(current: &Interfaces, is_kept: impl Fn(u32) -> bool) -> Vec<Edit> {
    let gone = current.iter().filter(|(_, (index, _))| !is_kept(*index));
    gone.map(|(place, (index, _))| Edit::RemoveInterface { place: *place, index: *index }).collect()
}

/// The difference between two states of a trie.
struct Difference<K, V> {
    added: Vec<(Prefix<K>, V)>,
    stale: Vec<Prefix<K>>,
    /// The trie has no room for old and new prefixes together: the old ones go first.
    is_tight: bool,
}

fn trie<K, V>(current: &Trie<K, V>, wanted: &Trie<K, V>, limit: u32) -> Result<Difference<K, V>, Error>
where
    K: Pod + Eq + Hash,
    V: Copy + PartialEq,
{
    within(wanted.len(), limit, "prefixes")?;
    let mut stale: Vec<_> = current.keys().filter(|p| !wanted.contains_key(p)).copied().collect();
    let mut added: Vec<_> =
        wanted.iter().filter(|(p, v)| current.get(p) != Some(v)).map(|(p, v)| (*p, *v)).collect();
    // The same difference is the same plan.
    stale.sort_by_cached_key(order);
    added.sort_by_cached_key(|(prefix, _)| order(prefix));
    let is_tight = stale.len() + wanted.len() > limit as usize;
    Ok(Difference { added, stale, is_tight })
}

fn order<K: Pod>((bits, data): &Prefix<K>) -> (Vec<u8>, u32) {
    (bytemuck::bytes_of(data).to_vec(), *bits)
}

impl<K: Copy, V: Copy> Difference<K, V> {
    fn add(&self, set: impl Fn(Prefix<K>, V) -> Edit, remove: impl Fn(Prefix<K>) -> Edit) -> Vec<Edit> {
        let first = if self.is_tight { self.stale.as_slice() } else { &[] };
        let first = first.iter().map(|prefix| remove(*prefix));
        first.chain(self.added.iter().map(|(prefix, value)| set(*prefix, *value))).collect()
    }

    /// What [`Self::add`] has not removed.
    fn remove(&self, remove: impl Fn(Prefix<K>) -> Edit) -> Vec<Edit> {
        if self.is_tight { Vec::new() } else { self.stale.iter().map(|prefix| remove(*prefix)).collect() }
    }
}

/// Adds EIPs that are new or changed; returns those of each pool, and which are no longer wanted. An EIP that stays keeps
/// its counter slot.
fn eips(
    current: &HashMap<Addr, Eip>,
    pools: &[WantedPool],
    edits: &mut Vec<Edit>,
) -> Result<(Vec<Vec<Eip>>, Vec<Addr>), Error> {
    within(pools.iter().map(|p| p.eips.len()).sum(), MAX_EIPS, "EIPs")?;
    let taken: BTreeSet<u32> = current.values().map(|e| e.slot).collect();
    let mut free = (0..MAX_EIPS).filter(|slot| !taken.contains(slot));
    let mut wanted = HashSet::new();
    let mut lists = Vec::new();
    for (number, pool) in (0u32..).zip(pools) {
        let mut list = Vec::new();
        for desired in &pool.eips {
            wanted.insert(desired.addr);
            let before = current.get(&desired.addr);
            let slot = match before {
                Some(eip) => eip.slot,
                None => free_slot(&mut free, edits)?,
            };
            list.push(Eip { slot, pool: number, ..*desired });
        }
        group(&mut list);
        edits.extend(
            list.iter().filter(|eip| current.get(&eip.addr) != Some(eip)).map(|eip| Edit::SetEip(*eip)),
        );
        lists.push(list);
    }
    let mut stale: Vec<Addr> = current.keys().filter(|a| !wanted.contains(a)).copied().collect();
    stale.sort_by_key(|a| a.host());
    Ok((lists, stale))
}

/// Puts those that belong to one link side by side, those that belong to any link first, and notes where each link's are.
fn group(list: &mut [Eip]) {
    list.sort_by_key(|eip| eip.outside);
    let sizes: Vec<usize> = choices::links(list).map(<[Eip]>::len).collect();
    let mut rest = list;
    let mut first = 0;
    for size in sizes {
        let (mine, others) = rest.split_at_mut(size);
        for eip in mine {
            // No more than MAX_EIPS.
            (eip.group_first, eip.group_count) = (first, size as u16);
        }
        first += size as u16;
        rest = others;
    }
}

/// The next counter slot that nobody has. Its counters start at zero.
fn free_slot(free: &mut impl Iterator<Item = u32>, edits: &mut Vec<Edit>) -> Result<u32, Error> {
    let slot = free.next().ok_or(Error::TooMany {
        what: "EIPs, old and new ones,",
        count: MAX_EIPS as usize + 1,
        limit: MAX_EIPS,
    })?;
    edits.push(Edit::ZeroCounters { slot });
    Ok(slot)
}

/// Writes the pools' members; returns the prefixes that are to refer to them.
///
/// Changed members go where no current prefix refers to, so that a packet in between sees the old pools or the new ones.
/// Only when both do not fit are they written over each other.
fn members(
    current: &Contents,
    pools: &[WantedPool],
    lists: &[Vec<Eip>],
    key: &HashKey,
    edits: &mut Vec<Edit>,
) -> Trie<Addr, PoolRef> {
    // A pool that serves nobody needs no members.
    let serving = |(pool, list): (&WantedPool, &Vec<Eip>)| {
        if pool.sources.is_empty() { Vec::new() } else { list.clone() }
    };
    let lists: Vec<Vec<Eip>> = pools.iter().zip(lists).map(serving).collect();
    let flat: Vec<Eip> = lists.concat();
    // No more than MAX_EIPS: `eips` refuses.
    let total = flat.len() as u32;
    let lowest = current.pools.values().map(|p| p.first).min().unwrap_or(0);
    let highest = current.pools.values().map(|p| p.first + u32::from(p.count)).max().unwrap_or(0);
    let is_there = (lowest..).zip(&flat).all(|(place, eip)| current.members.get(&place) == Some(eip));
    let start = if is_there {
        lowest
    } else if total <= lowest || highest + total > MAX_EIPS {
        0
    } else {
        highest
    };
    if !is_there {
        edits.extend((start..).zip(&flat).map(|(place, eip)| Edit::SetMember { place, eip: *eip }));
    }
    let buckets = choices::buckets(lists.iter().map(|list| choices::count(list)).sum());
    let tables: Vec<Vec<u64>> = lists.iter().map(|list| choices::tables(key, list, buckets)).collect();
    let mut table = place_choices(current, tables.concat(), edits);
    let mut first = start;
    let mut refs = Trie::new();
    for (((number, pool), list), words) in (0u16..).zip(pools).zip(&lists).zip(&tables) {
        let count = list.len() as u16;
        let tables = if words.is_empty() { Tables::default() } else { Tables::new(table, buckets) };
        let pool_ref = PoolRef { first, count, pool: number, tables };
        refs.extend(pool.sources.iter().filter(|_| count > 0).map(|prefix| (*prefix, pool_ref)));
        first += u32::from(count);
        table += words.len() as u32;
    }
    refs
}

/// The elements of `CHOICES` that pools refer to: from the first to behind the last.
pub(super) fn extent(pools: &Trie<Addr, PoolRef>) -> (u32, u32) {
    let with_table = || pools.values().map(|p| p.tables).filter(|t| t.exist());
    let first = with_table().map(Tables::first).min().unwrap_or(0);
    // How many tables the last pool has only its members tell: all that there may be are taken for its own.
    let last = with_table().map(Tables::first).max().unwrap_or(0);
    let end = if with_table().next().is_some() { (last / choices::ROOM + 1) * choices::ROOM } else { first };
    (first, end)
}

/// Writes the tables of choices where no current pool refers to, unless they are there; where they begin.
fn place_choices(current: &Contents, words: Vec<u64>, edits: &mut Vec<Edit>) -> u32 {
    let (first, end) = extent(&current.pools);
    if first < end && current.choices.starts_with(&words) {
        return first;
    }
    // One half of the map is the current configuration's at most.
    let place = if first < end && first < choices::ROOM { choices::ROOM } else { 0 };
    if !words.is_empty() {
        edits.push(Edit::SetChoices { first: place, words });
    }
    place
}

fn within(count: usize, limit: u32, what: &'static str) -> Result<(), Error> {
    if count > limit as usize { Err(Error::TooMany { what, count, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
