//! The outside interfaces that EIPs belong to.

use nat_common::Eip;

use crate::model::interface::Interface;

/// Name of the outside interface that an EIP belongs to; `None`: to any. One that is gone is called `missing`.
pub fn name(eip: &Eip, interfaces: &[Interface]) -> Option<String> {
    let named = || interfaces.iter().find(|i| i.ifindex == eip.outside).map(|i| i.name.clone());
    (eip.outside != 0).then(|| named().unwrap_or_else(|| "missing".to_owned()))
}
