//! The BPF object that is part of this binary, and what its maps are like.

use aya_obj::Object;
use aya_obj::generated::BPF_F_MMAPABLE;
use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_RINGBUF};
use nat_common::abi;

use super::error::Error;

#[cfg(bpf_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NATGW_BPF_OBJECT"));

/// The embedded object.
#[cfg_attr(bpf_object, expect(clippy::unnecessary_wraps, reason = "a build without the object has none"))]
pub fn bytes() -> Result<&'static [u8], Error> {
    #[cfg(bpf_object)]
    return Ok(OBJECT);
    #[cfg(not(bpf_object))]
    Err(Error::NoObject)
}

/// What decides whether a pinned map can be used by the object's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Name.
    pub name: &'static str,
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes.
    pub value_size: u32,
    /// Entries; bytes of a ring buffer.
    pub max_entries: u32,
    /// Can be mapped into memory.
    pub mappable: bool,
}

/// The shapes of every pinned map, as loading the object for `max_flows` creates them.
pub fn shapes(max_flows: u32) -> Result<Vec<MapShape>, Error> {
    let object = Object::parse(bytes()?).map_err(|e| Error::BadObject { what: e.to_string() })?;
    abi::map::ALL
        .iter()
        .map(|&name| {
            let map = object
                .maps
                .get(name)
                .ok_or_else(|| Error::BadObject { what: format!("it has no map {name}") })?;
            let mut shape = MapShape {
                name,
                kind: map.map_type(),
                key_size: map.key_size(),
                value_size: map.value_size(),
                max_entries: map.max_entries(),
                mappable: map.map_flags() & BPF_F_MMAPABLE != 0,
            };
            if name == abi::map::FLOWS {
                shape.max_entries = nat_common::table::slots(max_flows);
            }
            // The kernel fixes these two whatever the object says (include/uapi/linux/bpf.h: struct
            // bpf_devmap_val; ringbuf_map_alloc refuses sizes).
            if shape.kind == BPF_MAP_TYPE_DEVMAP as u32 {
                shape.value_size = 8;
            }
            if shape.kind == BPF_MAP_TYPE_RINGBUF as u32 {
                (shape.key_size, shape.value_size) = (0, 0);
            }
            Ok(shape)
        })
        .collect()
}
