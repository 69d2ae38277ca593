//! Whether a `state.json` can be natgw's: the one place that looks before anything is undone from it.
//!
//! The file is root's own, so this is the second line of defence, and a guard against natgw's own mistakes: it is asked
//! on writing, too.

use std::path::{Component, Path};

use super::record::RunState;

/// Keys below `net.ipv4.conf.<interface>` that natgw ever sets. `host/sysctls.rs` can set no other: recording it fails.
const SYSCTLS: &[&str] =
    &["accept_local", "accept_redirects", "arp_announce", "arp_ignore", "forwarding", "rp_filter"];

/// The kernel's limit for names, without the final zero (include/uapi/linux/if.h, `IFNAMSIZ`).
const MAX_NAME: usize = 15;

/// What is wrong with the state of the directory `dir`, if anything.
pub(super) fn flaw(state: &RunState, dir: &Path) -> Option<String> {
    let managed = state.managed.iter().find_map(|name| interface(name));
    let interfaces = state.interfaces.iter().find_map(|i| interface(&i.name));
    let sysctls = state.sysctls.iter().find_map(|s| {
        interface(&s.interface)
            .or_else(|| unmanaged(state, &s.interface))
            .or_else(|| (!SYSCTLS.contains(&&*s.key)).then(|| format!("{:?} is no sysctl of natgw's", s.key)))
            .or_else(|| value(&s.key, &s.original))
            .or_else(|| value(&s.key, &s.applied))
            // An earlier natgw did not note it.
            .or_else(|| (!s.all.is_empty()).then(|| value(&s.key, &s.all)).flatten())
    });
    let told =
        state.contested.iter().map(|c| &c.interface).chain(state.followed.iter().map(|f| &f.interface));
    let told = told.into_iter().find_map(|name| interface(name));
    let offloads = state
        .offloads
        .iter()
        .find_map(|o| interface(&o.interface).or_else(|| unmanaged(state, &o.interface)));
    let addresses = state.addresses.iter().find_map(|a| {
        interface(&a.interface).or_else(|| unmanaged(state, &a.interface)).or_else(|| {
            let never = a.addr.is_unspecified() || a.addr.is_loopback() || a.addr.is_multicast();
            (never || a.addr.is_broadcast()).then(|| format!("{} cannot be an EIP", a.addr))
        })
    });
    let directories = state.directories.iter().find_map(|d| directory(d, dir));
    let pid = (i32::try_from(state.pid).is_err()).then(|| format!("{} is no process", state.pid));
    let pins = (!state.bpffs.as_os_str().is_empty() && !is_plain(&state.bpffs))
        .then(|| format!("{} is no place for pins", state.bpffs.display()));
    managed.or(interfaces).or(sysctls).or(told).or(offloads).or(addresses).or(directories).or(pid).or(pins)
}

/// As the kernel checks names (net/core/dev.c, `dev_valid_name`). `all` and `default` are no interfaces to sysctls.
fn interface(name: &str) -> Option<String> {
    let valid = !name.is_empty()
        && name.len() <= MAX_NAME
        && !matches!(name, "." | ".." | "all" | "default")
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace());
    (!valid).then(|| format!("{name:?} is no interface"))
}

/// An earlier natgw did not note what it managed before it changed it; then the interfaces it had attached to count, and
/// where it had none yet, nothing is known.
fn unmanaged(state: &RunState, name: &str) -> Option<String> {
    let mut known = state.managed.iter().map(String::as_str).chain(state.interfaces.iter().map(|i| &*i.name));
    let nothing_known = state.managed.is_empty() && state.interfaces.is_empty();
    (!nothing_known && !known.any(|k| k == name)).then(|| format!("{name} was never managed"))
}

/// All of them are integers.
fn value(key: &str, value: &str) -> Option<String> {
    value.parse::<i32>().is_err().then(|| format!("{value:?} is no value of {key}"))
}

/// natgw makes its state directory and what it needs above it, nothing else.
fn directory(recorded: &Path, dir: &Path) -> Option<String> {
    let real = |p: &Path| p.canonicalize().or_else(|_| std::path::absolute(p));
    let is_above = match (real(recorded), real(dir)) {
        (Ok(recorded), Ok(dir)) => dir.starts_with(&recorded) && recorded.parent().is_some(),
        _ => false,
    };
    (!is_plain(recorded) || !is_above).then(|| format!("natgw did not make {}", recorded.display()))
}

/// From the root down, without detours.
fn is_plain(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)))
}
