//! Which outside interface an EIP belongs to, where there are several.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use nat_common::eip::MAX_LINKS;

use super::error::Error;
use super::sources;
use super::written::PoolConfig;
use crate::host::facts::HostFacts;
use crate::model::gateway::{DesiredEip, Pool};

/// The outside interfaces, and the host that has them.
pub(super) struct Uplinks<'a> {
    outside: &'a [String],
    facts: &'a HostFacts,
}

impl<'a> Uplinks<'a> {
    pub(super) fn new(outside: &'a [String], facts: &'a HostFacts) -> Self {
        Self { outside, facts }
    }

    /// The one that a pool names.
    pub(super) fn of_pool(&self, pool: &PoolConfig) -> Result<Option<String>, Error> {
        let Some(named) = &pool.outside else { return Ok(None) };
        if named.value == Pool::ANY || self.outside.contains(&named.value) {
            return Ok(Some(named.value.clone()));
        }
        Err(Error::PoolOutside {
            at: named.at.clone(),
            pool: pool.name.clone(),
            name: named.value.clone(),
            outside: self.outside.join(", "),
        })
    }

    /// That of an EIP: the one that its pool names, or that has it for an address, or else the only one whose network it is in.
    /// `None` where there is no choice, or it is to leave by any, or nothing says which.
    pub(super) fn of_eip(&self, of_pool: Option<&str>, eip: Ipv4Addr) -> Option<String> {
        if self.outside.len() < 2 || of_pool == Some(Pool::ANY) {
            return None;
        }
        let index = |name: &str| self.facts.link(name).map(|l| l.index);
        let has = |name: &str| {
            self.facts.addresses.iter().any(|a| Some(a.index) == index(name) && a.net.addr() == eip)
        };
        let is_in = |name: &str| sources::connected(self.facts, name).iter().any(|net| net.contains(&eip));
        of_pool.map(str::to_owned).or_else(|| self.only(has)).or_else(|| self.only(is_in))
    }

    /// The one interface that `is_it` is true of, if there is one.
    fn only(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let mut found = self.outside.iter().filter(|name| is_it(name));
        match (found.next(), found.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }

    /// The packet path looks through the links of a pool one after the other.
    pub(super) fn refuse_too_many(pool: &PoolConfig, eips: &[DesiredEip]) -> Result<(), Error> {
        let links: BTreeSet<Option<&str>> = eips.iter().map(|e| e.outside.as_deref()).collect();
        let count = links.len();
        if count <= MAX_LINKS as usize {
            return Ok(());
        }
        Err(Error::TooManyLinks { at: pool.at.clone(), pool: pool.name.clone(), count })
    }
}
