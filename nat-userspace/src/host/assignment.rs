//! The key by which clients are given their EIPs. It outlives a gateway and a boot, so that a client keeps its EIP; and nobody
//! outside knows it, so that nobody can compute whose EIP is which.
//!
//! It is in a file of its own, because the state directory goes when a gateway stops, and `/run` at boot. Gateways in several
//! network namespaces share it: each has its own EIPs, and the key says nothing by itself. Where no file can be kept it is made of
//! the machine's id, which lasts as long but is known to every local user; and where there is none of that either, it is drawn.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use nat_common::hash::{Secret, siphash13};
use nat_common::nh::HashKey;

use super::{
    error::Error,
    private::{self, Directory},
};

/// Where the file is when systemd does not say (`StateDirectory=`).
const DIRECTORY: &str = "/var/lib/natgw";
const NAME: &str = "assignment.key";
const MACHINE_ID: &str = "/etc/machine-id";

/// Keeps what is made of the machine's id here apart from what others make of it.
const DOMAIN: u64 = u64::from_le_bytes(*b"natgwEIP");

const BYTES: usize = size_of::<HashKey>();

/// The key of this host; `drawn` becomes it when there is none yet.
pub fn key(drawn: HashKey) -> HashKey {
    let directory = std::env::var_os("STATE_DIRECTORY").map_or_else(|| DIRECTORY.into(), PathBuf::from);
    match kept(&directory, &drawn) {
        Ok(key) => key,
        Err(error) => {
            if let Some(key) = of_machine(Path::new(MACHINE_ID)) {
                tracing::info!(%error, "which client has which EIP is derived from {MACHINE_ID}, which local users can read");
                return key;
            }
            tracing::warn!(%error, "clients get other EIPs when natgw starts again");
            drawn
        }
    }
}

/// The key in the file, which is made when there is none.
fn kept(directory: &Path, drawn: &HashKey) -> Result<HashKey, Error> {
    private::make(directory)?;
    let opened = Directory::open(directory)?;
    if let Some(key) = read(&opened, directory)? {
        return Ok(key);
    }
    // Of two gateways that start at once, one names its file first, and both use that. A file has its contents before its name.
    let temporary = format!("{NAME}.{}", std::process::id());
    let path = directory.join(&temporary);
    let mut file = opened.replace(&temporary)?;
    file.write_all(bytemuck::bytes_of(drawn)).and_then(|()| file.sync_all()).map_err(Error::write(&path))?;
    let linked = opened.link(&temporary, NAME);
    opened.remove(&temporary)?;
    linked?;
    read(&opened, directory)?.ok_or_else(|| wrong(directory, "it vanished"))
}

fn read(opened: &Directory, directory: &Path) -> Result<Option<HashKey>, Error> {
    let Some(file) = opened.read(NAME)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(BYTES as u64 + 1).read_to_end(&mut bytes).map_err(Error::read(directory.join(NAME)))?;
    let key: HashKey = bytemuck::try_pod_read_unaligned(&bytes)
        .map_err(|_| wrong(directory, "it is no key; remove it, and another is made"))?;
    Ok(Some(odd(key)))
}

fn wrong(directory: &Path, content: &str) -> Error {
    Error::Parse { path: directory.join(NAME), content: content.to_owned() }
}

/// A key made of the machine's id (machine-id(5): 32 hexadecimal digits, not to be shown to others as it is).
fn of_machine(path: &Path) -> Option<HashKey> {
    let id = u128::from_str_radix(fs::read_to_string(path).ok()?.trim(), 16).ok().filter(|id| *id != 0)?;
    let secret = Secret { k0: id as u64, k1: (id >> 64) as u64 };
    let words: [u64; BYTES / 8] = std::array::from_fn(|n| siphash13(secret, n as u64, DOMAIN));
    Some(odd(bytemuck::cast(words)))
}

/// What is wanted of a multiplier.
fn odd(key: HashKey) -> HashKey {
    HashKey { multiplier: key.multiplier | 1, ..key }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn drawn(n: u32) -> HashKey {
        HashKey { words: [n; 4], multiplier: 7 }
    }

    #[test]
    fn the_first_key_stays_and_only_its_owner_can_read_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("natgw");
        assert_eq!(kept(&directory, &drawn(1)).unwrap(), drawn(1));
        assert_eq!(kept(&directory, &drawn(2)).unwrap(), drawn(1));
        let files: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(files, [NAME]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&directory), mode(&directory.join(NAME))), (0o700, 0o600));
    }

    #[test]
    fn what_is_no_key_is_not_taken_for_one() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("natgw");
        private::make(&directory).unwrap();
        for content in [&[][..], &[1; BYTES - 1], &[1; BYTES + 1]] {
            fs::write(directory.join(NAME), content).unwrap();
            fs::set_permissions(directory.join(NAME), fs::Permissions::from_mode(0o600)).unwrap();
            assert!(kept(&directory, &drawn(1)).is_err(), "{content:?}");
        }
    }

    #[test]
    fn a_machine_has_one_key_and_another_machine_another() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("machine-id");
        let of = |id: &str| {
            fs::write(&path, id).unwrap();
            of_machine(&path)
        };
        let key = of("0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(of("0123456789abcdef0123456789abcdef"), Some(key));
        assert_ne!(of("0123456789abcdef0123456789abcdee"), Some(key));
        assert_eq!(key.multiplier & 1, 1);
        for none in ["", "uninitialized\n", "00000000000000000000000000000000"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
