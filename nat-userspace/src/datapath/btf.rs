//! Where the running kernel keeps a field of a structure, from its BTF (Documentation/bpf/btf.rst).
//!
//! aya reads BTF and keeps offsets to itself, so this reads the few records that it takes.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// Bytes of `struct btf_type`.
const TYPE: usize = 12;
/// Bytes of `struct btf_member`.
const MEMBER: usize = 12;

/// A kernel's structures by name.
pub(super) struct Btf<'a> {
    strings: &'a [u8],
    /// Start of each type in `types`, by its number less one.
    starts: Vec<usize>,
    types: &'a [u8],
    named: HashMap<&'a [u8], usize>,
}

impl<'a> Btf<'a> {
    /// `None` when it is not BTF of this machine's byte order, or has a kind of type that is not known here.
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(data.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let head = word(data, 4)? as usize;
        let section = |at: usize| {
            let (offset, length) = (word(data, at)? as usize, word(data, at + 4)? as usize);
            data.get(head + offset..)?.get(..length)
        };
        let mut this =
            Self { strings: section(16)?, starts: Vec::new(), types: section(8)?, named: HashMap::new() };
        let mut at = 0;
        while at < this.types.len() {
            let info = word(this.types, at + 4)?;
            if matches!(kind(info), STRUCT | UNION) {
                let name = this.name(word(this.types, at)?)?;
                this.named.entry(name).or_insert(at);
            }
            this.starts.push(at);
            at += TYPE + tail(info)?;
        }
        Some(this)
    }

    /// Byte offset of a field in a structure; fields of unnamed members are looked for too.
    pub(super) fn offset(&self, structure: &str, field: &str) -> Option<u32> {
        self.within(*self.named.get(structure.as_bytes())?, field.as_bytes(), 0)
    }

    fn within(&self, structure: usize, field: &[u8], depth: u32) -> Option<u32> {
        /// Deeper than the kernel's structures nest.
        const DEPTH: u32 = 8;
        let info = word(self.types, structure + 4)?;
        if depth == DEPTH || !matches!(kind(info), STRUCT | UNION) {
            return None;
        }
        let bits_only = info >> 31 == 0;
        (0..(info & 0xffff) as usize).find_map(|n| {
            let at = structure + TYPE + n * MEMBER;
            let (name, of, offset) = (
                self.name(word(self.types, at)?)?,
                word(self.types, at + 4)? as usize,
                word(self.types, at + 8)?,
            );
            // With bit fields in the structure, the upper byte is their size.
            let bytes = if bits_only { offset } else { offset & 0x00ff_ffff } / 8;
            if name == field {
                return Some(bytes);
            }
            let inner = *self.starts.get(of.checked_sub(1)?)?;
            if name.is_empty() { Some(bytes + self.within(inner, field, depth + 1)?) } else { None }
        })
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        self.strings.get(offset as usize..)?.split(|b| *b == 0).next()
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

const fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Bytes that follow a type's head. `None`: a kind that came after this was written, so nothing behind it can be found.
const fn tail(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    Some(match kind(info) {
        // Pointers, forward declarations, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Enumerations and prototypes.
        6 | 13 => 8 * count,
        // Structures, unions, sections, 64-bit enumerations.
        STRUCT | UNION | 15 | 19 => 12 * count,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct dev { int a; union { int b; struct { int c; int d; }; }; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0dev\0a\0b\0c\0d\0";
        let at = |name: &[u8]| strings.windows(name.len()).position(|w| w == name).unwrap() as u32 + 1;
        let [int, dev, a, b, c, d] =
            [&b"\0int\0"[..], b"\0dev\0", b"\0a\0", b"\0b\0", b"\0c\0", b"\0d\0"].map(at);
        let types: &[u32] = &[
            // 1: int; 2: the inner structure; 3: the union; 4: dev.
            int,
            1 << 24,
            4,
            32, //
            0,
            STRUCT << 24 | 2,
            8,
            c,
            1,
            0,
            d,
            1,
            32, //
            0,
            UNION << 24 | 2,
            8,
            b,
            1,
            0,
            0,
            2,
            0, //
            dev,
            STRUCT << 24 | 2,
            12,
            a,
            1,
            0,
            0,
            3,
            32,
        ];
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        let length = types.len() as u32 * 4;
        for word in [24, 0, length, length, strings.len() as u32] {
            data.extend(u32::to_ne_bytes(word));
        }
        data.extend(types.iter().flat_map(|w| w.to_ne_bytes()));
        data.extend(strings);
        data
    }

    #[test]
    fn a_field_is_found_also_within_unnamed_members() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        let offsets = ["a", "b", "c", "d", "e"].map(|field| btf.offset("dev", field));
        assert_eq!(offsets, [Some(0), Some(4), Some(4), Some(8), None]);
        assert_eq!(btf.offset("other", "a"), None);
    }

    #[test]
    fn whatever_is_cut_short_is_no_btf_and_nothing_worse() {
        let data = sample();
        for length in 0..data.len() {
            if let Some(btf) = Btf::parse(&data[..length]) {
                let _ = btf.offset("dev", "d");
            }
        }
        assert!(Btf::parse(b"\x7fELF").is_none());
    }
}
