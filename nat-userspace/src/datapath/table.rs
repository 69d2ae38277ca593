//! The flow table, read from its memory. `nat_common::table` tells how entries stand in it.

use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use nat_common::abi::map;
use nat_common::settings::Settings;
use nat_common::table::{self, REACH, SlotState};
use nat_common::tuple::state_of;
use nat_common::{FlowEntry, Tuple};

use super::error::Error;
use super::maps;
use super::memory::{self, Access, Mapping};
use super::pins::Pins;

/// Places that [`Table::windows`] maps at once: 4 MiB.
const WINDOW: u32 = 1 << 16;

const ENTRY_WORDS: usize = size_of::<FlowEntry>() / size_of::<u64>();

/// A gateway's flow table.
pub struct Table {
    map: MapData,
    settings: Settings,
    slots: u32,
}

/// A part of the table, or all of it, in memory.
pub struct View {
    mapping: Mapping,
}

impl Table {
    /// Opens the pinned map.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let map = maps::flows(pins)?;
        let info = map.info().map_err(Error::map("inspect", map::FLOWS))?;
        if info.value_size() as usize != size_of::<FlowEntry>() {
            return Err(Error::bpf(format!("map {} has another layout than this binary knows", map::FLOWS))(
                std::io::ErrorKind::InvalidData.into(),
            ));
        }
        let settings = maps::settings(pins)?.get(&0, 0).map_err(Error::map("read", map::SETTINGS))?;
        Ok(Self { slots: info.max_entries(), map, settings })
    }

    /// Flows that the table holds.
    pub fn capacity(&self) -> u32 {
        table::max_flows(self.slots).unwrap_or(self.slots / table::SLOTS_PER_FLOW)
    }

    /// The whole table. It counts as this process's resident memory while it is mapped.
    pub fn view(&self) -> Result<View, Error> {
        self.part(0, self.slots)
    }

    /// The table in parts, each mapped when its turn comes.
    pub fn windows(&self) -> impl Iterator<Item = Result<View, Error>> {
        let starts = (0..self.slots).step_by(WINDOW as usize);
        starts.map(|start| self.part(start, self.slots.min(start.saturating_add(WINDOW))))
    }

    fn part(&self, start: u32, end: u32) -> Result<View, Error> {
        let mapping = Mapping::new(&self.map, map::FLOWS, size_of::<FlowEntry>(), start..end, Access::Read)?;
        Ok(View { mapping })
    }

    /// The entry of one tuple as it arrives on the wire.
    pub fn entry(&self, key: &Tuple) -> Result<Option<FlowEntry>, Error> {
        let home = self.home(key);
        let view = self.part(home, self.slots.min(home.saturating_add(REACH)))?;
        Ok(view.search(0, key))
    }

    /// The same in a view of the whole table, without a system call.
    pub fn entry_in(&self, whole: &View, key: &Tuple) -> Option<FlowEntry> {
        whole.search(self.home(key), key)
    }

    fn home(&self, key: &Tuple) -> u32 {
        self.settings.hash.home(key, self.settings.homes)
    }
}

impl View {
    /// Every entry that is live when it is looked at.
    pub fn entries(&self) -> impl Iterator<Item = FlowEntry> {
        (0..self.mapping.count()).filter_map(|index| live(self.mapping.words(index)?))
    }

    fn search(&self, home: u32, key: &Tuple) -> Option<FlowEntry> {
        let rest = key.rest_at(SlotState::LIVE);
        (home..home.saturating_add(REACH)).map_while(|index| self.mapping.words(index)).find_map(|words| {
            let here = words.get(1)?.load(Ordering::Acquire) == rest
                && words.first()?.load(Ordering::Acquire) == key.addresses();
            if here { live(words).filter(|entry| entry.tuple() == *key) } else { None }
        })
    }
}

/// The entry in a slot, in one piece: the packet path changes the key before and after the rest.
fn live(words: &[AtomicU64]) -> Option<FlowEntry> {
    let is_live = |rest: u64| state_of(rest) == SlotState::LIVE;
    if !is_live(words.get(1)?.load(Ordering::Acquire)) {
        return None;
    }
    let copied: [u64; ENTRY_WORDS] = memory::copy(words);
    let again: [u64; 2] = memory::copy(words);
    (is_live(copied[1]) && copied[..2] == again).then(|| bytemuck::cast(copied))
}
