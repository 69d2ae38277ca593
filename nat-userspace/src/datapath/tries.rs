//! LPM tries, brought to what is wanted by as few edits as there are differences.

use std::collections::HashMap;
use std::hash::Hash;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};

use super::error::Error;

/// Bits that count, and the data that they are bits of.
pub(super) type Prefix<K> = (u32, K);

/// What a trie is to hold.
pub(super) type Wanted<K, V> = HashMap<Prefix<K>, V>;

/// Writes the prefixes that are new or changed; returns those that are no longer wanted, for [`remove`]. When the trie
/// has no room for old and new ones together, the old ones go first, and none is returned.
pub(super) fn add<K, V>(
    trie: &mut LpmTrie<MapData, K, V>,
    name: &'static str,
    limit: u32,
    wanted: &Wanted<K, V>,
) -> Result<Vec<Prefix<K>>, Error>
where
    K: aya::Pod + Eq + Hash,
    V: aya::Pod + PartialEq,
{
    let old = held(trie, name)?;
    add_to(&old, trie, name, limit, wanted)
}

fn add_to<K, V>(
    old: &Wanted<K, V>,
    trie: &mut LpmTrie<MapData, K, V>,
    name: &'static str,
    limit: u32,
    wanted: &Wanted<K, V>,
) -> Result<Vec<Prefix<K>>, Error>
where
    K: aya::Pod + Eq + Hash,
    V: aya::Pod + PartialEq,
{
    if wanted.len() > limit as usize {
        return Err(Error::TooMany { what: "prefixes", count: wanted.len(), limit });
    }
    let mut stale: Vec<Prefix<K>> = old.keys().filter(|p| !wanted.contains_key(p)).copied().collect();
    if stale.len() + wanted.len() > limit as usize {
        remove(trie, name, &stale)?;
        stale.clear();
    }
    for (prefix, value) in wanted.iter().filter(|(p, v)| old.get(p) != Some(v)) {
        trie.insert(&key(*prefix), *value, 0).map_err(Error::map("write", name))?;
    }
    Ok(stale)
}

/// Removes prefixes; one that is not there is no error.
pub(super) fn remove<K: aya::Pod, V: aya::Pod>(
    trie: &mut LpmTrie<MapData, K, V>,
    name: &'static str,
    stale: &[Prefix<K>],
) -> Result<(), Error> {
    stale.iter().try_for_each(|p| ignore_missing(trie.remove(&key(*p)))).map_err(Error::map("write", name))
}

/// [`add`], then [`remove`]. Whether anything was different.
pub(super) fn replace<K, V>(
    trie: &mut LpmTrie<MapData, K, V>,
    name: &'static str,
    limit: u32,
    wanted: &Wanted<K, V>,
) -> Result<bool, Error>
where
    K: aya::Pod + Eq + Hash,
    V: aya::Pod + PartialEq,
{
    let old = held(trie, name)?;
    let stale = add_to(&old, trie, name, limit, wanted)?;
    remove(trie, name, &stale)?;
    Ok(old != *wanted)
}

/// A key that is gone already is no error.
pub(super) fn ignore_missing(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn held<K, V>(trie: &LpmTrie<MapData, K, V>, name: &'static str) -> Result<Wanted<K, V>, Error>
where
    K: aya::Pod + Eq + Hash,
    V: aya::Pod,
{
    trie.iter()
        .map(|r| r.map(|(k, v)| ((k.prefix_len(), k.data()), v)))
        .collect::<Result<_, _>>()
        .map_err(Error::map("read", name))
}

fn key<K: aya::Pod>((bits, data): Prefix<K>) -> Key<K> {
    Key::new(bits, data)
}
