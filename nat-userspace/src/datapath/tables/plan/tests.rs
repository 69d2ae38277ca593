//! What the plan must do, edit by edit and step by step.

use nat_common::eip::{CHOICES_PER_WORD, MAX_BUCKETS, ReservedPort};
use nat_common::ports::PortSet;
use nat_common::{EipState, Port};
use proptest::prelude::*;

use super::*;

/// The maps, in memory. [`super::super::apply`] does the same to the real ones.
impl Contents {
    fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::SetSettings(settings) => self.settings = **settings,
            Edit::AddExempt(prefix) => drop(self.exempt.insert(*prefix, 1)),
            Edit::RemoveExempt(prefix) => drop(self.exempt.remove(prefix)),
            Edit::AddReserved(prefix) => drop(self.reserved.insert(*prefix, 1)),
            Edit::RemoveReserved(prefix) => drop(self.reserved.remove(prefix)),
            Edit::SetEip(eip) => drop(self.eips.insert(eip.addr, *eip)),
            Edit::RemoveEip(addr) => drop(self.eips.remove(addr)),
            Edit::SetMember { place, eip } => drop(self.members.insert(*place, *eip)),
            Edit::SetPool(prefix, pool) => drop(self.pools.insert(*prefix, *pool)),
            Edit::RemovePool(prefix) => drop(self.pools.remove(prefix)),
            Edit::ZeroCounters { .. } => {}
            // Those written last are those that pools refer to.
            Edit::SetChoices { words, .. } => self.choices.clone_from(words),
            _ => panic!("{edit:?} is no part of a configuration"),
        }
    }

    /// As [`super::super::apply::Tables::contents`] reads it: members that nobody refers to are not looked at.
    fn read(mut self) -> Self {
        let referred = |place: &u32| {
            self.pools.values().any(|p| (p.first..p.first + u32::from(p.count)).contains(place))
        };
        self.members.retain(|place, _| referred(place));
        self
    }

    /// The EIPs that a source may get, slots aside.
    fn served_by(&self, source: Prefix<Addr>) -> Option<Vec<Eip>> {
        let pool = self.pools.get(&source)?;
        let members = (pool.first..pool.first + u32::from(pool.count)).map(|place| self.members[&place]);
        Some(members.map(|eip| Eip { slot: 0, group_first: 0, group_count: 0, ..eip }).collect())
    }
}

impl Wanted {
    fn served_by(&self, source: Prefix<Addr>) -> Option<Vec<Eip>> {
        let (number, pool) = (0..).zip(&self.pools).find(|(_, p)| p.sources.contains(&source))?;
        let mut eips: Vec<Eip> = pool.eips.iter().map(|eip| Eip { pool: number, ..*eip }).collect();
        eips.sort_by_key(|eip| eip.outside);
        (!eips.is_empty()).then_some(eips)
    }
}

fn addr(n: u8) -> Addr {
    Addr::from_octets([203, 0, 113, n])
}

fn eip(n: u8, first: u16) -> Eip {
    let ports = PortSet::new(first, 65_535, None).unwrap();
    Eip { addr: addr(n), ports, state: EipState::Active as u8, ..Eip::default() }
}

fn net(n: u8) -> Prefix<Addr> {
    (16, Addr::from_octets([10, n, 0, 0]))
}

fn wanted(pools: &[(&[u8], &[u8])]) -> Wanted {
    let Contents { settings, .. } = Contents::default();
    let pool = |(sources, eips): &(&[u8], &[u8])| WantedPool {
        sources: sources.iter().map(|n| net(*n)).collect(),
        eips: eips.iter().map(|n| eip(*n, 1024)).collect(),
    };
    Wanted { settings, exempt: Trie::new(), reserved: Trie::new(), pools: pools.iter().map(pool).collect() }
}

fn after(current: &Contents, wanted: &Wanted) -> Contents {
    let mut maps = current.clone();
    plan(current, wanted).unwrap().iter().for_each(|edit| maps.apply(edit));
    maps.read()
}

#[test]
fn a_first_start_writes_everything_and_a_second_one_nothing() {
    let mut wanted = wanted(&[(&[1], &[10, 11])]);
    wanted.settings.capacity = 7;
    let edits = plan(&Contents::default(), &wanted).unwrap();
    let with = |n, slot| Eip { slot, group_count: 2, ..eip(n, 1024) };
    let words = choices::tables(&wanted.settings.choice, &[with(10, 0), with(11, 1)], MAX_BUCKETS);
    assert_eq!(
        edits,
        [
            Edit::SetSettings(Box::new(wanted.settings)),
            Edit::ZeroCounters { slot: 0 },
            Edit::ZeroCounters { slot: 1 },
            Edit::SetEip(with(10, 0)),
            Edit::SetEip(with(11, 1)),
            Edit::SetMember { place: 0, eip: with(10, 0) },
            Edit::SetMember { place: 1, eip: with(11, 1) },
            Edit::SetChoices { first: 0, words },
            Edit::SetPool(
                net(1),
                PoolRef { count: 2, tables: Tables::new(0, MAX_BUCKETS), ..PoolRef::default() }
            ),
        ]
    );
    assert_eq!(plan(&after(&Contents::default(), &wanted), &wanted).unwrap(), []);
}

#[test]
fn an_eip_goes_after_the_pools_that_could_give_it_to_a_new_flow() {
    let before = after(&Contents::default(), &wanted(&[(&[1], &[10, 11])]));
    let edits = plan(&before, &wanted(&[(&[1], &[11])])).unwrap();
    let kept = Eip { slot: 1, group_count: 1, ..eip(11, 1024) };
    assert_eq!(
        edits,
        [
            Edit::SetEip(kept),
            Edit::SetMember { place: 2, eip: kept },
            Edit::SetPool(net(1), PoolRef { first: 2, count: 1, ..PoolRef::default() }),
            Edit::RemoveEip(addr(10)),
        ]
    );
}

#[test]
fn an_eip_keeps_its_counters_and_a_new_one_starts_at_zero_in_the_slot_of_one_that_is_gone() {
    let first = after(&Contents::default(), &wanted(&[(&[1], &[10, 11])]));
    let second = after(&first, &wanted(&[(&[1], &[11])]));
    let edits = plan(&second, &wanted(&[(&[1], &[11, 12])])).unwrap();
    assert!(edits.contains(&Edit::ZeroCounters { slot: 0 }), "{edits:?}");
    assert!(
        edits.contains(&Edit::SetEip(Eip { slot: 0, group_first: 0, group_count: 2, ..eip(12, 1024) })),
        "{edits:?}"
    );
    assert!(!edits.contains(&Edit::ZeroCounters { slot: 1 }), "{edits:?}");
}

#[test]
fn what_is_exempt_or_reserved_is_added_first_and_removed_last() {
    let port = |n| (64, ReservedPort { addr: addr(10), proto: 6, spare: 0, port: Port::new(n) });
    let state = |exempt: u8, reserved: u16, sources: &[u8]| Wanted {
        exempt: Trie::from([(net(exempt), 1)]),
        reserved: Trie::from([(port(reserved), 1)]),
        ..wanted(&[(sources, &[10])])
    };
    let before = after(&Contents::default(), &state(101, 5000, &[1]));
    assert_eq!(
        plan(&before, &state(102, 5001, &[2])).unwrap(),
        [
            Edit::AddExempt(net(102)),
            Edit::AddReserved(port(5001)),
            Edit::SetPool(net(2), PoolRef { count: 1, ..PoolRef::default() }),
            Edit::RemovePool(net(1)),
            Edit::RemoveExempt(net(101)),
            Edit::RemoveReserved(port(5000)),
        ]
    );
}

#[test]
fn a_trie_without_room_for_both_loses_the_old_prefixes_first() {
    let nets = |range: std::ops::Range<u32>| range.map(|n| ((32, Addr { be: n.to_be() }), 1400)).collect();
    let (old, new): (Trie<Addr, u32>, Trie<Addr, u32>) =
        (nets(0..MAX_ROUTE_MTUS), nets(1..MAX_ROUTE_MTUS + 1));
    assert_eq!(
        route_mtus(&old, &new).unwrap(),
        [
            Edit::RemoveRouteMtu((32, Addr { be: 0 })),
            Edit::SetRouteMtu((32, Addr { be: MAX_ROUTE_MTUS.to_be() }), 1400)
        ]
    );
    assert_eq!(route_mtus(&new, &new).unwrap(), []);
    let changed: Trie<Addr, u32> = Trie::from([((32, Addr { be: 1 }), 1300)]);
    let edits = route_mtus(&Trie::from([((32, Addr { be: 1 }), 1400), ((32, Addr { be: 2 }), 1)]), &changed);
    assert_eq!(
        edits.unwrap(),
        [Edit::SetRouteMtu((32, Addr { be: 1 }), 1300), Edit::RemoveRouteMtu((32, Addr { be: 2 }))]
    );
    assert!(matches!(route_mtus(&Trie::new(), &nets(0..MAX_ROUTE_MTUS + 1)), Err(Error::TooMany { .. })));
}

#[test]
fn an_interface_keeps_its_place_in_the_devmap() {
    let told = |mtu: u8| Iface { rpf: mtu, ..Iface::default() };
    let at = |place: u16, iface: Iface| Iface { devmap: place, ..iface };
    let mut known = Interfaces::from([(0, (7, Some(at(0, told(1))))), (2, (9, Some(at(2, told(1)))))]);
    assert_eq!(interface(&known, 9, told(1)).unwrap(), None, "as before");
    let set = |place, index, iface| Some(Edit::SetInterface { place, index, iface });
    assert_eq!(interface(&known, 9, told(2)).unwrap(), set(2, 9, at(2, told(2))));
    assert_eq!(interface(&known, 11, told(1)).unwrap(), set(1, 11, at(1, told(1))));
    known.insert(2, (9, None));
    assert_eq!(
        interface(&known, 9, told(1)).unwrap(),
        set(2, 9, at(2, told(1))),
        "half a change is made anew"
    );
    assert_eq!(forget(&known, |index| index == 7), [Edit::RemoveInterface { place: 2, index: 9 }]);
    let full = (0..MAX_INTERFACES).map(|n| (n, (n + 1, None))).collect();
    assert!(matches!(interface(&full, 1000, told(1)), Err(Error::TooMany { .. })));
}

/// What the packet path reads: the pool's EIPs, which one a client of bucket `bucket` gets, and which of those on `link`.
fn owners(maps: &Contents, source: Prefix<Addr>, bucket: u32, nth: u32) -> usize {
    let pool = maps.pools[&source];
    let (first, _) = extent(&maps.pools);
    let at = pool.tables.nth(nth) - first + bucket / CHOICES_PER_WORD;
    (maps.choices[at as usize] >> (bucket % CHOICES_PER_WORD * 16) & 0xffff) as usize
}

#[test]
fn eips_of_one_link_stand_side_by_side_and_have_a_table_of_their_own() {
    let mut wanted = wanted(&[(&[1], &[10, 11, 12, 13]), (&[2], &[20, 21])]);
    for (eip, link) in wanted.pools[0].eips.iter_mut().zip([7, 0, 9, 7]) {
        eip.outside = link;
    }
    let maps = after(&Contents::default(), &wanted);
    let members: Vec<Eip> = maps.members.values().copied().collect();
    let seen: Vec<_> = members.iter().map(|e| (e.addr, e.outside, e.group_first, e.group_count)).collect();
    let (any, seven, nine) = (addr(11), [addr(10), addr(13)], addr(12));
    assert_eq!(
        seen,
        [
            (any, 0, 0, 1),
            (seven[0], 7, 1, 2),
            (seven[1], 7, 1, 2),
            (nine, 9, 3, 1),
            (addr(20), 0, 0, 2),
            (addr(21), 0, 0, 2)
        ]
    );
    assert!(members.iter().all(|e| maps.eips[&e.addr] == *e), "EIPS says the same");
    // Four tables of the first pool (all, any, 7, 9), one of the second.
    let buckets = maps.pools[&net(1)].tables.buckets();
    assert_eq!(buckets, MAX_BUCKETS);
    for (source, nth, count) in [(1, 0, 4), (1, 1, 1), (1, 2, 2), (1, 3, 1), (2, 0, 2)] {
        let mut have = vec![0; count];
        (0..buckets).for_each(|bucket| have[owners(&maps, net(source), bucket, nth)] += 1);
        let fair = buckets / count as u32;
        assert!(have.iter().all(|n| (fair..=fair + 1).contains(n)), "{source} {nth}: {have:?}");
    }
    // Another list goes to the other half of the map, and back.
    let mut other = wanted.clone();
    other.pools[0].eips.pop();
    let edits = plan(&maps, &other).unwrap();
    let place = |edits: &[Edit]| {
        edits.iter().find_map(|e| if let Edit::SetChoices { first, .. } = e { Some(*first) } else { None })
    };
    assert_eq!(place(&edits), Some(choices::ROOM));
    let maps = after(&maps, &other);
    assert_eq!(place(&plan(&maps, &wanted).unwrap()), Some(0));
}

#[test]
fn only_what_is_ready_is_a_target_of_redirects() {
    let known = Interfaces::from([(0, (7, None)), (2, (9, None))]);
    let none = BTreeMap::new();
    assert_eq!(target(&known, &none, 9, true), Some(Edit::SetTarget { place: 2, index: 9 }));
    assert_eq!(target(&known, &none, 9, false), None);
    assert_eq!(target(&known, &none, 11, true), None, "not managed");
    let there = BTreeMap::from([(2, 9)]);
    assert_eq!(target(&known, &there, 9, true), None, "as before");
    assert_eq!(target(&known, &there, 9, false), Some(Edit::RemoveTarget { place: 2 }));
    // Of an interface that had the number before.
    let other = BTreeMap::from([(2, 8)]);
    assert_eq!(target(&known, &other, 9, true), Some(Edit::SetTarget { place: 2, index: 9 }));
    assert_eq!(target(&known, &other, 9, false), Some(Edit::RemoveTarget { place: 2 }));
}

#[test]
fn more_than_the_maps_hold_is_refused() {
    let many = (0..=MAX_EIPS).map(|n| Eip { addr: Addr { be: n }, ..eip(0, 1024) }).collect();
    let mut wanted = wanted(&[]);
    wanted.pools.push(WantedPool { sources: vec![net(1)], eips: many });
    assert!(matches!(plan(&Contents::default(), &wanted), Err(Error::TooMany { what: "EIPs", .. })));
}

/// A few pools that share no EIP and no source, and whatever else.
fn any_wanted() -> impl Strategy<Value = Wanted> {
    let owner = || proptest::collection::vec(0..4usize, 12);
    let nets = || proptest::collection::hash_set(0..6u8, 0..4);
    (owner(), owner(), proptest::bool::ANY, nets(), nets(), 0..3u32).prop_map(
        |(of_eip, of_source, low, exempt, reserved, settings)| {
            let mut wanted = wanted(&[]);
            wanted.settings.capacity = settings;
            for pool in 0..3 {
                let mine = |owners: &[usize]| (0..).zip(owners.to_vec()).filter(move |(_, o)| *o == pool);
                wanted.pools.push(WantedPool {
                    sources: mine(&of_source).map(|(n, _)| net(n)).collect(),
                    eips: mine(&of_eip).map(|(n, _)| eip(n, if low { 1024 } else { 2048 })).collect(),
                });
            }
            wanted.exempt = exempt.into_iter().map(|n| (net(n + 100), 1)).collect();
            let port = |n: u8| ReservedPort { addr: addr(n), proto: 17, spare: 0, port: Port::new(53) };
            wanted.reserved = reserved.into_iter().map(|n| ((64, port(n)), 1)).collect();
            wanted
        },
    )
}

proptest! {
    /// Whatever the maps held, the plan makes them hold what is wanted, by steps each of which leaves the old pools or
    /// the new ones, and then there is nothing left to do.
    #[test]
    fn a_plan_leads_to_what_is_wanted(states in proptest::collection::vec(any_wanted(), 1..5)) {
        let mut maps = Contents::default();
        let mut before = wanted(&[]);
        for wanted in states {
            let slots = maps.eips.clone();
            let edits = plan(&maps.clone().read(), &wanted).unwrap();
            for edit in &edits {
                maps.apply(edit);
                for source in (0..12).map(net) {
                    let served = maps.served_by(source);
                    prop_assert!(
                        served == before.served_by(source) || served == wanted.served_by(source),
                        "{source:?} is served by {served:?} after {edit:?}"
                    );
                    // Who may get an EIP finds it in EIPS, with the same counters.
                    for member in maps.pools.get(&source).into_iter().flat_map(|p| p.first..p.first + u32::from(p.count)) {
                        let member = maps.members[&member];
                        prop_assert_eq!(maps.eips.get(&member.addr).map(|e| e.slot), Some(member.slot));
                    }
                }
            }
            prop_assert_eq!(&maps.settings, &wanted.settings);
            prop_assert_eq!(&maps.exempt, &wanted.exempt);
            prop_assert_eq!(&maps.reserved, &wanted.reserved);
            for source in (0..12).map(net) {
                prop_assert_eq!(maps.served_by(source), wanted.served_by(source));
            }
            let addresses: HashSet<Addr> = wanted.pools.iter().flat_map(|p| &p.eips).map(|e| e.addr).collect();
            prop_assert_eq!(maps.eips.keys().copied().collect::<HashSet<_>>(), addresses);
            let used: HashSet<u32> = maps.eips.values().map(|e| e.slot).collect();
            prop_assert_eq!(used.len(), maps.eips.len(), "a counter slot each");
            for (addr, eip) in &maps.eips {
                let kept = slots.get(addr).is_none_or(|before| before.slot == eip.slot);
                let zeroed = edits.contains(&Edit::ZeroCounters { slot: eip.slot });
                prop_assert!(kept && zeroed != slots.contains_key(addr));
            }
            prop_assert_eq!(plan(&maps.clone().read(), &wanted).unwrap(), []);
            before = wanted;
        }
    }
}
