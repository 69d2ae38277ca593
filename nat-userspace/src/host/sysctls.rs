//! The per-interface sysctls without which the kernel drops or leaks what natgw hands to it.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use nix::net::if_::if_nametoindex;

use super::error::Error;
use super::state::{ContestedSysctl, SavedSysctl, StateDir};

/// A translated packet that natgw hands over has the EIP, a local address, as its source. The kernel's own check of sources
/// would drop it; natgw's ([`Before::rp_filter`]) takes its place.
const INSIDE: &[(&str, &str)] =
    &[("accept_local", "1"), ("rp_filter", "2"), ("forwarding", "1"), ("accept_redirects", "0")];
/// An EIP is answered for on its own interface only, and never used to ask for somebody else's. `rp_filter` stays as it is:
/// what natgw hands over there has a source that is outside.
const OUTSIDE: &[(&str, &str)] =
    &[("forwarding", "1"), ("arp_ignore", "1"), ("arp_announce", "2"), ("accept_redirects", "0")];

/// What an interface's sysctls were before natgw changed them, in this run or in an earlier one that it goes on with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// The kernel's check of sources there: 0 none, 1 strict, 2 loose; of `all` and the interface, the larger number.
    pub rp_filter: u8,
    /// Whether what comes in there was forwarded.
    pub forwarded: bool,
}

impl Before {
    /// Reads them; `state` has what natgw changed.
    pub fn of(interface: &str, state: &StateDir) -> Result<Self, Error> {
        let saved = saved(state)?;
        let ifindex = index(interface);
        let before = |key: &str| {
            let current = read(interface, key)?;
            let record = saved.iter().find(|s| {
                s.interface == interface
                    && s.key == key
                    && Some(s.ifindex) == ifindex
                    // Else somebody else owns it by now.
                    && s.applied == current
            });
            let all = read("all", key)?;
            Ok::<_, Error>(record.map_or(current, |s| original(s, &all).to_owned()))
        };
        // The kernel uses the larger number, IN_DEV_RPFILTER in include/linux/inetdevice.h.
        let rp_filter = strictness(&read("all", "rp_filter")?).max(strictness(&before("rp_filter")?));
        let forwarded = before("forwarding")?.parse::<u32>().is_ok_and(|n| n > 0);
        Ok(Self { rp_filter, forwarded })
    }
}

/// What is no number is taken for strict, so that a damaged record weakens nothing.
fn strictness(rp_filter: &str) -> u8 {
    rp_filter.parse().unwrap_or(1)
}

/// The sysctls as natgw needs them. Dropping it changes nothing: see [`Sysctls::restore`].
#[derive(Debug)]
pub struct Sysctls {
    state: StateDir,
}

impl Sysctls {
    /// Sets what is not right yet, after saving it in the state directory. What an earlier run saved and never
    /// restored keeps its first value, and is restored when its interface is not managed any more.
    pub fn apply(inside: &[&str], outside: &[&str], state: &StateDir) -> Result<Self, Error> {
        let wanted = wanted(inside, outside);
        let earlier = saved(state)?;
        let (kept, stale): (Vec<_>, Vec<_>) =
            earlier.into_iter().partition(|s| wanted.contains_key(&(s.interface.as_str(), s.key.as_str())));
        for sysctl in &stale {
            restore_one(sysctl);
        }

        let mut records = Vec::new();
        let mut changes = Vec::new();
        for (&(interface, key), &value) in &wanted {
            let ifindex = index(interface).ok_or_else(|| Error::NoInterface(interface.to_owned()))?;
            let current = read(interface, key)?;
            let earlier = kept.iter().find(|s| {
                s.interface == interface && s.key == key && s.ifindex == ifindex && s.applied == current
            });
            if current != value {
                changes.push((interface, key, value));
            }
            if current != value || earlier.is_some() {
                records.push(SavedSysctl {
                    interface: interface.to_owned(),
                    ifindex,
                    key: key.to_owned(),
                    original: earlier.map_or(current, |s| s.original.clone()),
                    applied: value.to_owned(),
                    all: earlier.map_or_else(|| read("all", key), |s| Ok(s.all.clone()))?,
                });
            }
        }
        state.update(|s| s.sysctls = records)?;
        let applied = Self { state: state.clone() };
        for (interface, key, value) in changes {
            if let Err(error) = write(interface, key, value) {
                applied.restore()?;
                return Err(error);
            }
        }
        Ok(applied)
    }

    /// Sets again what somebody else changed since [`Sysctls::apply`]; returns that. The other's value is what is restored in
    /// the end: it is newer than the one that natgw found.
    pub fn repair(inside: &[&str], outside: &[&str], state: &StateDir) -> Result<Vec<Reset>, Error> {
        let mut resets = Vec::new();
        let mut records = Vec::new();
        for (&(interface, key), &value) in &wanted(inside, outside) {
            // An interface that went is told of elsewhere.
            let (Some(ifindex), Ok(found)) = (index(interface), read(interface, key)) else { continue };
            if found == value {
                continue;
            }
            records.push(SavedSysctl {
                interface: interface.to_owned(),
                ifindex,
                key: key.to_owned(),
                original: found.clone(),
                applied: value.to_owned(),
                all: read("all", key)?,
            });
            let (interface, key, wanted) = (interface.to_owned(), key.to_owned(), value.to_owned());
            resets.push(Reset { sysctl: ContestedSysctl { interface, key, wanted, found }, failed: None });
        }
        if resets.is_empty() {
            return Ok(resets);
        }
        state.update(|s| {
            s.sysctls.retain(|old| !records.iter().any(|r| r.interface == old.interface && r.key == old.key));
            s.sysctls.append(&mut records);
        })?;
        for Reset { sysctl, failed } in &mut resets {
            *failed = write(&sysctl.interface, &sysctl.key, &sysctl.wanted).err();
        }
        Ok(resets)
    }

    /// Puts back what natgw changed, where the interface still exists and nobody else changed it since.
    pub fn restore(&self) -> Result<(), Error> {
        Self::restore_saved(&self.state)
    }

    /// [`Sysctls::restore`] for what another process changed: `detach`, or the start after a crash.
    pub fn restore_saved(state: &StateDir) -> Result<(), Error> {
        let saved = saved(state)?;
        for sysctl in &saved {
            restore_one(sysctl);
        }
        if saved.is_empty() { Ok(()) } else { state.update(|s| s.sysctls.clear()) }
    }
}

/// A sysctl that somebody else had changed.
#[derive(Debug)]
pub struct Reset {
    /// Which, and what it was.
    pub sysctl: ContestedSysctl,
    /// Why it could not be set again.
    pub failed: Option<Error>,
}

/// What is to be restored when `all` is what it is now. Whoever switched forwarding on for the whole host since natgw found it
/// off (`net.ipv4.ip_forward`) wants it on, here as well, though the value here was 1 by then.
fn original<'a>(saved: &'a SavedSysctl, all: &'a str) -> &'a str {
    let switched_on = saved.key == "forwarding" && saved.all == "0" && all == "1";
    if switched_on { all } else { &saved.original }
}

fn wanted<'a>(inside: &[&'a str], outside: &[&'a str]) -> BTreeMap<(&'a str, &'static str), &'static str> {
    let sides = [(inside, INSIDE), (outside, OUTSIDE)];
    sides
        .into_iter()
        .flat_map(|(names, keys)| names.iter().map(move |name| (*name, keys)))
        .flat_map(|(name, keys)| keys.iter().map(move |(key, value)| ((name, *key), *value)))
        .collect()
}

/// None of them when they are another namespace's: interfaces there have nothing to do with the ones here.
fn saved(state: &StateDir) -> Result<Vec<SavedSysctl>, Error> {
    match state.read()? {
        Some(s) if s.is_of_this_namespace()? => Ok(s.sysctls),
        _ => Ok(Vec::new()),
    }
}

fn restore_one(sysctl: &SavedSysctl) {
    let SavedSysctl { interface, ifindex, key, applied, .. } = sysctl;
    if index(interface) != Some(*ifindex) {
        return;
    }
    let all = read("all", key).unwrap_or_default();
    let original = original(sysctl, &all);
    match read(interface, key) {
        Ok(current) if current == original => {}
        Ok(current) if current == *applied => {
            if let Err(error) = write(interface, key, original) {
                tracing::warn!(interface, key, original, ?error, "cannot restore a sysctl");
            }
        }
        Ok(current) => {
            tracing::info!(interface, key, current, "left alone a sysctl that somebody else changed");
        }
        Err(error) => tracing::warn!(interface, key, ?error, "cannot restore a sysctl"),
    }
}

fn index(interface: &str) -> Option<u32> {
    if_nametoindex(interface).ok()
}

fn path(interface: &str, key: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{interface}/{key}"))
}

fn read(interface: &str, key: &str) -> Result<String, Error> {
    let path = path(interface, key);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NoInterface(interface.to_owned())),
        Err(source) => Err(Error::Read { path, source }),
    }
}

fn write(interface: &str, key: &str, value: &str) -> Result<(), Error> {
    let path = path(interface, key);
    fs::write(&path, value).map_err(Error::write(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_that_was_switched_on_for_the_whole_host_since_stays_on() {
        let saved = |key: &str, all: &str| SavedSysctl {
            interface: "e".into(),
            ifindex: 7,
            key: key.into(),
            original: "0".into(),
            applied: "1".into(),
            all: all.into(),
        };
        assert_eq!(original(&saved("forwarding", "0"), "1"), "1");
        assert_eq!(original(&saved("forwarding", "0"), "0"), "0");
        assert_eq!(
            original(&saved("forwarding", "1"), "1"),
            "0",
            "it was off here although it was on everywhere else"
        );
        assert_eq!(original(&saved("forwarding", ""), "1"), "0", "an earlier natgw did not note it");
        assert_eq!(original(&saved("arp_ignore", "0"), "1"), "0", "of others, `all` sets no interface's");
    }

    #[test]
    fn a_one_armed_interface_gets_both_sets() {
        let keys: Vec<_> = wanted(&["e"], &["e"]).into_iter().map(|((_, k), v)| format!("{k}={v}")).collect();
        assert_eq!(
            keys,
            [
                "accept_local=1",
                "accept_redirects=0",
                "arp_announce=2",
                "arp_ignore=1",
                "forwarding=1",
                "rp_filter=2"
            ]
        );
    }
}
