//! Offloads that hide from XDP what it must see: a NIC that takes the 802.1Q tag out of a frame (`rxvlan`) makes
//! a tagged frame look like an untagged one, and natgw would translate it into another network.

use nix::net::if_::if_nametoindex;

use super::error::Error;
use super::{
    ethtool::{self, TagStripping},
    state::{SavedOffload, StateDir},
};

/// Drivers that hand a tag over beside the frame, whatever their own setting is: the sender decides.
const SENDER_DECIDES: &[&str] = &["veth"];

/// Drivers that lose what an XDP program sends back by `XDP_TX`, unless the other end runs one too (drivers/net/veth.c,
/// `veth_xdp_flush`).
const LOSES_WHAT_IS_SENT_BACK: &[&str] = &["veth"];

/// Whether a program on `interface` can send a frame back that came by it (`XDP_TX`).
pub fn sends_back(interface: &str) -> bool {
    ethtool::driver(interface).is_ok_and(|driver| !LOSES_WHAT_IS_SENT_BACK.contains(&driver.as_str()))
}

/// The offloads as natgw needs them. Dropping it changes nothing: see [`Offloads::restore_saved`].
#[derive(Debug)]
pub struct Offloads;

/// What became of an interface's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// XDP sees them.
    Seen,
    /// XDP does not see all of them.
    Hidden {
        /// Why, and what the operator can do.
        warning: String,
    },
}

/// The name of an interface's driver, for people.
pub fn driver_of(interface: &str) -> String {
    ethtool::driver(interface).unwrap_or_else(|_| "driver unknown".to_owned())
}

/// Whether an interface takes 802.1Q tags out of the frames that it receives.
pub fn hides_tags(interface: &str) -> bool {
    matches!(ethtool::tag_stripping(interface), Ok(TagStripping::On))
}

impl Offloads {
    /// Turns `rxvlan` off where it is on, after saving that in the state directory, and puts it back on where an
    /// earlier run turned it off and the interface is not among `interfaces` any more.
    ///
    /// An interface on which that fails or does not help is no error: natgw translates what is not tagged as ever.
    /// Returns what became of each.
    pub fn apply(interfaces: &[&str], state: &StateDir) -> Result<Vec<Tags>, Error> {
        let (mut records, stale): (Vec<_>, Vec<_>) = saved(state)?.into_iter().partition(|s| {
            interfaces.contains(&s.interface.as_str()) && index(&s.interface) == Some(s.ifindex)
        });
        for offload in &stale {
            restore_one(offload);
        }
        let on: Vec<&str> = interfaces
            .iter()
            .copied()
            .filter(|i| matches!(ethtool::tag_stripping(i), Ok(TagStripping::On)))
            .collect();
        for interface in &on {
            let ifindex = index(interface).ok_or_else(|| Error::NoInterface((*interface).to_owned()))?;
            if !records.iter().any(|r| r.ifindex == ifindex) {
                records.push(SavedOffload { interface: (*interface).to_owned(), ifindex });
            }
        }
        if !records.is_empty() || !stale.is_empty() {
            state.update(|s| s.offloads = records)?;
        }
        Ok(interfaces.iter().map(|interface| turn_off(interface, on.contains(interface))).collect())
    }

    /// Puts back what natgw changed, where the interface still exists and nobody else did so since.
    pub fn restore_saved(state: &StateDir) -> Result<(), Error> {
        let saved = saved(state)?;
        for offload in &saved {
            restore_one(offload);
        }
        if saved.is_empty() { Ok(()) } else { state.update(|s| s.offloads.clear()) }
    }
}

fn turn_off(interface: &str, is_on: bool) -> Tags {
    if is_on && let Err(error) = ethtool::set_tag_stripping(interface, TagStripping::Off) {
        return Tags::Hidden {
            warning: format!(
                "{interface} takes 802.1Q tags off before XDP sees them, and that cannot be turned off ({error}): \
                 tagged frames are translated like untagged ones; keep tagged traffic off this interface"
            ),
        };
    }
    match ethtool::driver(interface) {
        Ok(driver) if SENDER_DECIDES.contains(&driver.as_str()) => Tags::Hidden {
            warning: format!(
                "{interface} is a {driver}: XDP does not see 802.1Q tags that the other end leaves to its offload, \
                 and such frames are translated like untagged ones; where there may be any, \
                 run `ethtool -K PEER txvlan off` on the other end"
            ),
        },
        _ => Tags::Seen,
    }
}

/// None of them when they are another namespace's: interfaces there have nothing to do with the ones here.
fn saved(state: &StateDir) -> Result<Vec<SavedOffload>, Error> {
    match state.read()? {
        Some(s) if s.is_of_this_namespace()? => Ok(s.offloads),
        _ => Ok(Vec::new()),
    }
}

fn restore_one(SavedOffload { interface, ifindex }: &SavedOffload) {
    if index(interface) != Some(*ifindex) {
        return;
    }
    if let Err(error) = ethtool::set_tag_stripping(interface, TagStripping::On) {
        tracing::warn!(interface, %error, "cannot turn rxvlan on again; `ethtool -K {interface} rxvlan on` does");
    }
}

fn index(interface: &str) -> Option<u32> {
    if_nametoindex(interface).ok()
}
