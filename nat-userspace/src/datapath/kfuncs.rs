//! Calls of kernel functions that have no fixed number (`nat_common::conntrack`): found in the kernel's type information, and put
//! into the object before it is loaded. aya does not do that.

use std::borrow::Cow;
use std::path::Path;

use aya_obj::btf::{Btf, BtfKind};
use nat_common::conntrack::{self, Conntrack, call, placeholder};

/// There while connection tracking is in the kernel, built in or as a module.
const TRACKS: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// The object `bytes` as this kernel, whose type information is `btf`, can run it; and what its programs may ask.
pub fn resolve<'a>(bytes: &'a [u8], btf: Option<&Btf>) -> (Cow<'a, [u8]>, Conntrack) {
    let ids: Option<Vec<i32>> = btf.and_then(|btf| {
        let id = |name| btf.id_by_type_name_kind(name, BtfKind::Func).ok()?.try_into().ok();
        conntrack::ALL.iter().map(|&(_, function)| id(function)).collect()
    });
    match ids {
        Some(ids) => (Cow::Owned(with_calls(bytes, &ids)), Conntrack::Known),
        None if Path::new(TRACKS).exists() => (Cow::Borrowed(bytes), Conntrack::Silent),
        None => (Cow::Borrowed(bytes), Conntrack::Absent),
    }
}

/// Replaces each placeholder by the call of the function with the id that stands in its place.
fn with_calls(bytes: &[u8], ids: &[i32]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // Sections with instructions are aligned to eight bytes, so instructions stand at multiples of eight.
    let (instructions, _) = bytes.as_chunks_mut::<8>();
    for instruction in instructions {
        let stands_for = conntrack::ALL.iter().position(|&(number, _)| *instruction == placeholder(number));
        if let Some(&id) = stands_for.and_then(|nth| ids.get(nth)) {
            *instruction = call(id);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_calls_and_nothing_else_changes() {
        let other = [0xb7, 0, 0, 0, 1, 2, 3, 4];
        let before =
            [other, placeholder(conntrack::RELEASE), other, placeholder(conntrack::XDP_LOOKUP)].concat();
        let after = with_calls(&before, &[7, 8, 9]);
        assert_eq!(after, [other, call(9), other, call(7)].concat());
    }

    #[test]
    fn a_kernel_without_type_information_gets_the_object_as_it_is() {
        let object = placeholder(conntrack::RELEASE);
        let (bytes, known) = resolve(&object, None);
        assert_eq!(*bytes, object);
        assert_ne!(known, Conntrack::Known);
    }
}
