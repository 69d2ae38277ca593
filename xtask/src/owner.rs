//! The user on whose behalf xtask works when sudo has made it root.

use std::env;

/// Set for the copy of ourselves that runs under sudo: `uid:gid` of the user who started it.
pub(crate) const OWNER: &str = "NATGW_XTASK_OWNER";

/// The user on whose behalf a privileged xtask works.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The user who started xtask, when it has become root through [`crate::privilege::require`].
pub(crate) fn owner() -> Option<Owner> {
    let ids = env::var(OWNER).ok()?;
    let (uid, gid) = ids.split_once(':')?;
    Some(Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}
