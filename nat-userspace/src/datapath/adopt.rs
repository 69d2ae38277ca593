//! Whether the pins of an earlier daemon can be taken over, and clearing them away when not.

use std::path::PathBuf;

use aya::maps::MapInfo;
use aya_obj::generated::BPF_F_MMAPABLE;
use nat_common::abi::map;
use nat_common::table;

use super::error::Error;
use super::links;
use super::object::{self, MapShape};
use super::pins::{self, Keep, Pins};
use crate::host::namespace;
use crate::model::gateway::{Gateway, SizedBy};

/// What became of an earlier daemon's data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// There was none.
    Fresh,
    /// Its maps, and with them every flow, are in use again.
    Adopted,
    /// It did not fit and was taken down; its guards stay until new ones are attached.
    Replaced {
        /// Why, for the log.
        reason: String,
    },
}

/// How many flows the table is to hold: the size that nobody asked for yields to that of the table which is there.
pub(super) fn table_size(pins: &Pins, gateway: &Gateway) -> Result<u32, Error> {
    let is_map = pins::found(&pins.map(map::FLOWS))? == Some(pins::MAP);
    if gateway.max_flows_by == SizedBy::Operator || !is_map {
        return Ok(gateway.max_flows);
    }
    let info = MapInfo::from_pin(pins.map(map::FLOWS)).map_err(Error::map("inspect", map::FLOWS))?;
    Ok(table::max_flows(info.max_entries()).unwrap_or(gateway.max_flows))
}

/// Looks at the pins and clears away what cannot be adopted. Also returns directories whose guards are to be
/// removed once new ones are in place.
pub(super) fn prepare(pins: &Pins, max_flows: u32) -> Result<(Adoption, Vec<PathBuf>), Error> {
    if let Some(path) = pins.foreign()? {
        return Err(Error::ForeignPin { path });
    }
    let others = pins.other_versions()?;
    for dir in &others {
        pins::clear(dir, Keep::Guards)?;
    }
    let adoption = match obstacle(pins, max_flows)? {
        Some(reason) => {
            pins::clear(pins.dir(), Keep::Guards)?;
            Adoption::Replaced { reason }
        }
        None if pins.exist() => Adoption::Adopted,
        None => match others.first() {
            Some(dir) => Adoption::Replaced {
                reason: format!("{} was pinned by another version of natgw", dir.display()),
            },
            None => Adoption::Fresh,
        },
    };
    Ok((adoption, others))
}

fn obstacle(pins: &Pins, max_flows: u32) -> Result<Option<String>, Error> {
    if !pins.exist() {
        return Ok(None);
    }
    if pins.namespace()?.is_some_and(|n| namespace::current().ok() != Some(n)) {
        if !links::attached(pins)?.is_empty() {
            return Err(Error::OtherNamespace { dir: pins.dir().to_owned() });
        }
        // Its interfaces are gone, so its guards guard nothing.
        pins::clear(pins.dir(), Keep::Nothing)?;
        return Ok(Some("the network namespace it was in is gone".into()));
    }
    for want in object::shapes(max_flows)? {
        match pins::found(&pins.map(want.name))? {
            Some(pins::MAP) => {}
            Some(other) => {
                let at = pins.map(want.name);
                return Ok(Some(format!(
                    "its tables are not natgw's: {} is {other}, not a map",
                    at.display()
                )));
            }
            None => {
                return Ok(Some(format!("its tables are another version's: map {} is missing", want.name)));
            }
        }
        let info = MapInfo::from_pin(pins.map(want.name)).map_err(Error::map("inspect", want.name))?;
        let have = MapShape {
            name: want.name,
            kind: info.map_type().map_err(Error::map("inspect", want.name))? as u32,
            key_size: info.key_size(),
            value_size: info.value_size(),
            max_entries: info.max_entries(),
            mappable: info.map_flags() & BPF_F_MMAPABLE != 0,
        };
        if have != want {
            return Ok(Some(difference(&have, &want)));
        }
    }
    Ok(None)
}

/// Why a map of the earlier run cannot be used, in words of the configuration where that decides.
fn difference(have: &MapShape, want: &MapShape) -> String {
    let resized = MapShape { max_entries: want.max_entries, ..*have };
    let flows = |shape: &MapShape| table::max_flows(shape.max_entries);
    if let (map::FLOWS, true, Some(was), Some(is)) = (have.name, resized == *want, flows(have), flows(want)) {
        return format!(
            "max_flows was {was} and is {is} now, and a flow table keeps the size that it was made with"
        );
    }
    let describe = |s: &MapShape| {
        let MapShape { kind, key_size, value_size, max_entries, .. } = s;
        let mappable = if s.mappable { ", mappable" } else { "" };
        format!("type {kind}, key {key_size} B, value {value_size} B, {max_entries} entries{mappable}")
    };
    format!(
        "its tables are another version's: map {} is of {}; wanted: {}",
        want.name,
        describe(have),
        describe(want)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_in_words_of_the_configuration() {
        let want = MapShape {
            name: map::FLOWS,
            kind: 2,
            key_size: 4,
            value_size: 64,
            max_entries: table::slots(1000),
            mappable: true,
        };
        let text = difference(&MapShape { max_entries: table::slots(500), ..want }, &want);
        assert!(text.contains("max_flows was 500 and is 1000 now") && !text.contains("entries"), "{text}");
        let text = difference(&MapShape { value_size: 32, ..want }, &want);
        assert!(text.contains("another version") && text.contains("value 32 B"), "{text}");
    }

    #[test]
    fn nothing_pinned_is_fresh() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins::new(root.path().join("gw"));
        assert_eq!(prepare(&pins, 1000).unwrap(), (Adoption::Fresh, vec![]));
    }
}
