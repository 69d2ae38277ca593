//! Which EIP a client has: a table for each pool, and for the EIPs of each of its links, that says which EIP has which bucket.
//!
//! The tables are filled as Maglev fills its own (Eisenbud et al., NSDI 2016, section 3.4): every EIP goes through all buckets in
//! an order of its own, which a key and its address decide, and they take turns at claiming the next one that is free. So the
//! shares are equal to within one bucket, and when an EIP comes or goes, wherever in the list, little more than its own share
//! changes hands. The same key and the same EIPs make the same table.

use nat_common::Eip;
use nat_common::eip::{CHOICES_PER_WORD, MAX_BUCKETS, MAX_CHOICES};
use nat_common::hash::{Secret, siphash13};
use nat_common::nh::HashKey;

/// Words that the tables of a configuration take at most.
pub const ROOM: u32 = MAX_CHOICES / 2;

/// How many tables a pool has: none for one EIP; one for all its EIPs, and one for those of each link if there are several links.
pub fn count(members: &[Eip]) -> usize {
    match (members.len(), links(members).count()) {
        (0 | 1, _) => 0,
        (_, 1) => 1,
        (_, links) => 1 + links,
    }
}

/// Buckets of each table, when there are `tables` in all.
pub fn buckets(tables: usize) -> u32 {
    let fit = (ROOM * CHOICES_PER_WORD).checked_div(u32::try_from(tables).unwrap_or(u32::MAX)).unwrap_or(0);
    if fit == 0 { 0 } else { (1 << fit.ilog2()).min(MAX_BUCKETS) }
}

/// The tables of a pool, one after the other, as they stand in `CHOICES`.
pub fn tables(key: &HashKey, members: &[Eip], buckets: u32) -> Vec<u64> {
    let mut words = Vec::new();
    match count(members) {
        0 => {}
        1 => words.extend(packed(&table(key, members, buckets))),
        _ => {
            words.extend(packed(&table(key, members, buckets)));
            for group in links(members) {
                words.extend(packed(&table(key, group, buckets)));
            }
        }
    }
    words
}

/// Those of each link, which stand side by side.
pub fn links(members: &[Eip]) -> impl Iterator<Item = &[Eip]> {
    members.chunk_by(|a, b| a.outside == b.outside)
}

/// Which of `members` has each bucket.
fn table(key: &HashKey, members: &[Eip], buckets: u32) -> Vec<u16> {
    let mut orders: Vec<Order> =
        (0..).zip(members).map(|(n, eip)| Order::new(key, n, eip, buckets)).collect();
    // Those that take no new flows have no share, unless there are no others.
    if members.iter().any(Eip::is_active) {
        orders.retain(|o| members[usize::from(o.member)].is_active());
    }
    // Who is first in each turn depends on nothing but the EIPs.
    orders.sort_by_key(|o| members[usize::from(o.member)].addr.host());
    let mut owners: Vec<Option<u16>> = vec![None; buckets as usize];
    let mut left = if orders.is_empty() { 0 } else { buckets };
    while left > 0 {
        for order in &mut orders {
            if left == 0 {
                break;
            }
            // Some bucket is free, and the order comes by all of them.
            while owners[order.at as usize].is_some() {
                order.step(buckets);
            }
            owners[order.at as usize] = Some(order.member);
            left -= 1;
        }
    }
    owners.into_iter().map(Option::unwrap_or_default).collect()
}

/// The order in which an EIP comes by the buckets.
struct Order {
    member: u16,
    at: u32,
    stride: u32,
}

impl Order {
    fn new(key: &HashKey, member: u16, eip: &Eip, buckets: u32) -> Self {
        let [a, b, c, d] = key.words.map(u64::from);
        let secret = Secret { k0: a | b << 32, k1: c | d << 32 };
        let drawn = siphash13(secret, u64::from(eip.addr.host()), key.multiplier);
        // An odd stride comes by all buckets, whose number is a power of two.
        Self { member, at: drawn as u32 & (buckets - 1), stride: (drawn >> 32) as u32 | 1 }
    }

    fn step(&mut self, buckets: u32) {
        self.at = self.at.wrapping_add(self.stride) & (buckets - 1);
    }
}

fn packed(owners: &[u16]) -> impl Iterator<Item = u64> {
    owners
        .chunks(CHOICES_PER_WORD as usize)
        .map(|chunk| chunk.iter().rev().fold(0, |word, owner| word << 16 | u64::from(*owner)))
}

#[cfg(test)]
mod tests {
    use nat_common::{Addr, EipState};

    use super::*;

    const KEY: HashKey = HashKey { words: [3, 1, 4, 1], multiplier: 0x9e37_79b9_7f4a_7c15 };

    fn eip(n: u32) -> Eip {
        Eip { addr: Addr { be: (0xcb00_7100 + n).to_be() }, ..Eip::default() }
    }

    /// The address that each of 20,000 clients gets.
    fn assigned(key: &HashKey, members: &[Eip]) -> Vec<Addr> {
        let buckets = buckets(1);
        let table = table(key, members, buckets);
        (0..20_000u32)
            .map(|n| key.choose(Addr { be: (0x0a00_0000 + n).to_be() }, buckets))
            .map(|bucket| members[usize::from(table[bucket as usize])].addr)
            .collect()
    }

    fn moved(a: &[Addr], b: &[Addr]) -> f64 {
        a.iter().zip(b).filter(|(a, b)| a != b).count() as f64 / a.len() as f64
    }

    #[test]
    fn an_eip_that_comes_or_goes_moves_little_more_than_its_share() {
        for count in [1u32, 2, 3, 8, 31, 100] {
            let before: Vec<Eip> = (0..count).map(|n| eip(2 * n + 1)).collect();
            let old = assigned(&KEY, &before);
            for place in [0, count / 2, count] {
                let mut after = before.clone();
                after.insert(place as usize, eip(2 * place));
                let share = moved(&old, &assigned(&KEY, &after));
                let fair = 1.0 / f64::from(count + 1);
                println!(
                    "{count} EIPs and one at {place}: {share:.3} of the clients move, {fair:.3} is fair"
                );
                assert!(share <= fair + 0.03, "{count} EIPs and one at {place}: {share:.3}");
            }
        }
    }

    #[test]
    fn the_order_in_which_eips_are_written_does_not_matter() {
        let mut members: Vec<Eip> = (0..9).map(eip).collect();
        let before = assigned(&KEY, &members);
        members.reverse();
        assert_eq!(assigned(&KEY, &members), before);
    }

    #[test]
    fn shares_are_equal() {
        for count in [2, 3, 7, 64, 4096] {
            let members: Vec<Eip> = (0..count).map(eip).collect();
            let table = table(&KEY, &members, MAX_BUCKETS);
            let mut have = vec![0; count as usize];
            table.iter().for_each(|owner| have[usize::from(*owner)] += 1);
            let fair = MAX_BUCKETS / count;
            assert!(have.iter().all(|n| (fair..=fair + 1).contains(n)), "{count}: {have:?}");
        }
    }

    #[test]
    fn clients_of_one_that_drains_go_to_the_others_and_nobody_else_moves() {
        let mut members: Vec<Eip> = (0..5).map(eip).collect();
        let before = assigned(&KEY, &members);
        members[2].state = EipState::Draining as u8;
        let after = assigned(&KEY, &members);
        assert!(!after.contains(&eip(2).addr));
        let others = before.iter().zip(&after).filter(|(b, a)| **b != eip(2).addr && a != b).count();
        assert!(others * 100 < 3 * before.len(), "{others} moved without need");
        members.iter_mut().for_each(|eip| eip.state = EipState::Draining as u8);
        assert_eq!(assigned(&KEY, &members), before, "all drain: none is better than another");
    }

    #[test]
    fn another_key_assigns_otherwise() {
        let members: Vec<Eip> = (0..4).map(eip).collect();
        let other = HashKey { words: [2, 7, 1, 8], ..KEY };
        assert!(moved(&assigned(&KEY, &members), &assigned(&other, &members)) > 0.6);
    }

    #[test]
    fn all_tables_of_any_configuration_fit() {
        for tables in [1usize, 2, 16, 17, 1000, 6144] {
            let buckets = buckets(tables);
            assert!(buckets.is_power_of_two() && buckets >= CHOICES_PER_WORD, "{tables}: {buckets}");
            assert!(tables as u32 * buckets / CHOICES_PER_WORD <= ROOM, "{tables}: {buckets}");
        }
        assert_eq!((buckets(0), buckets(16)), (0, MAX_BUCKETS));
    }
}
