//! What others undo on the host, and what the host gives anew: addresses that are followed, EIPs and sysctls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::bring_up::Running;
use super::error::{Error, causes};
use super::services::episode::Episode;
use crate::host::addresses;
use crate::host::facts::HostFacts;
use crate::host::state::ContestedSysctl;
use crate::host::sysctls::{Reset, Sysctls};
use crate::model::gateway::Announce;

/// A sysctl that is set back so many times within [`A_WHILE`] is a fault.
const CONTESTED: usize = 3;

/// See [`CONTESTED`].
const A_WHILE: Duration = Duration::from_mins(1);

/// What was undone lately.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Why the last change of an address could not be followed.
    refused: Option<String>,
    /// Interfaces that are followed, and have no address.
    unaddressed: BTreeSet<String>,
    removals: Episode,
    contest: Contest,
}

impl Upkeep {
    /// Addresses of the host changed. Whether all is as it is to be; else it is tried again.
    pub(super) async fn readdressed(&mut self, running: &mut Running) -> bool {
        if let Err(e) = self.follow(running).await {
            let why = causes(&e);
            if self.refused.as_ref() != Some(&why) {
                tracing::error!("cannot follow the addresses of the host: {why}");
                self.refused = Some(why);
            }
        }
        match self.put_back(running).await {
            Ok(()) => true,
            Err(e) => {
                tracing::warn!("cannot put an EIP back: {}", causes(&e));
                false
            }
        }
    }

    /// EIPs that are the address of an interface.
    async fn follow(&mut self, running: &mut Running) -> Result<(), Error> {
        if !running.config.follows() {
            return Ok(());
        }
        let facts = HostFacts::read_addresses().await?;
        self.note_unaddressed(running, &facts);
        let wanted = running.config.resolve_again(facts, &running.gateway)?;
        let (before, now) = (owned(running.gateway.followed()), owned(wanted.followed()));
        self.refused = None;
        if before == now {
            return Ok(());
        }
        running.reconfigure(wanted).await?;
        for ((name, now), (_, before)) in now.iter().zip(&before).filter(|(now, before)| now != before) {
            match (before, now) {
                (Some(before), Some(now)) => {
                    tracing::info!("{name} has {now} now: new flows leave by it, those of {before} end");
                }
                (None, Some(now)) => tracing::info!("{name} has {now} now: flows leave by it"),
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn note_unaddressed(&mut self, running: &Running, facts: &HostFacts) {
        for (name, had) in running.gateway.followed() {
            let has_one = facts.link(name).is_some_and(|l| {
                facts.addresses.iter().any(|a| a.index == l.index && !a.net.addr().is_link_local())
            });
            if has_one {
                self.unaddressed.remove(name);
            } else if self.unaddressed.insert(name.to_owned())
                && let Some(had) = had
            {
                tracing::warn!(
                    "{name} has no IPv4 address any more: until it has one, no answers come back to {had}, and its flows wait"
                );
            }
        }
    }

    /// EIPs that natgw added and somebody else removed.
    async fn put_back(&mut self, running: &Running) -> Result<(), Error> {
        if running.gateway.announce == Announce::None {
            return Ok(());
        }
        let back = addresses::put_back(&running.state).await?;
        let Some(first) = back.first() else { return Ok(()) };
        let (addr, interface) = (first.addr, &first.interface);
        // Whoever removes it does so again, perhaps.
        if self.removals.begins(Instant::now()) {
            let more = back.len() - 1;
            tracing::warn!(
                more,
                "somebody removed the EIP {addr} from {interface}; it is back, and announced"
            );
        } else {
            tracing::debug!("somebody removed the EIP {addr} from {interface} again; it is back");
        }
        Ok(())
    }

    /// Sysctls that somebody else has changed.
    pub(super) fn sysctls(&mut self, running: &Running) -> Result<Vec<Reset>, Error> {
        let attached: BTreeSet<&str> = running.interfaces().map(|i| i.name.as_str()).collect();
        let (inside, outside) =
            (among(&attached, &running.gateway.inside), among(&attached, &running.gateway.outside));
        let resets = Sysctls::repair(&inside, &outside, &running.state)?;
        let now = Instant::now();
        for Reset { sysctl, failed } in &resets {
            let ContestedSysctl { interface, key, wanted, found } = sysctl;
            match failed {
                Some(e) => {
                    tracing::error!("somebody set net.ipv4.conf.{interface}.{key} to {found}: {}", causes(e));
                }
                None if self.contest.begins(sysctl, now) => tracing::warn!(
                    "somebody set net.ipv4.conf.{interface}.{key} to {found}; natgw needs {wanted} and has set it again"
                ),
                None => {}
            }
        }
        self.contest.note(&resets, now);
        if let Some(contested) = self.contest.changed(now) {
            running.state.update(|s| s.contested = contested)?;
        }
        Ok(resets)
    }
}

fn among<'a>(attached: &BTreeSet<&str>, names: &'a [String]) -> Vec<&'a str> {
    names.iter().map(String::as_str).filter(|n| attached.contains(n)).collect()
}

fn owned<T>(followed: Vec<(&str, T)>) -> Vec<(String, T)> {
    followed.into_iter().map(|(name, addr)| (name.to_owned(), addr)).collect()
}

/// Who wins over sysctls.
#[derive(Debug, Default)]
struct Contest {
    /// When each was set back lately, and to what it was last.
    resets: BTreeMap<(String, String), (VecDeque<Instant>, ContestedSysctl)>,
    told: Vec<ContestedSysctl>,
}

impl Contest {
    /// Whether a sysctl that is set back now has not been for a while.
    fn begins(&self, sysctl: &ContestedSysctl, now: Instant) -> bool {
        let key = (sysctl.interface.clone(), sysctl.key.clone());
        let last = self.resets.get(&key).and_then(|(times, _)| times.back());
        last.is_none_or(|last| now >= *last + A_WHILE)
    }

    fn note(&mut self, resets: &[Reset], now: Instant) {
        for Reset { sysctl, failed } in resets {
            let key = (sysctl.interface.clone(), sysctl.key.clone());
            let (times, last) = self.resets.entry(key).or_insert_with(|| (VecDeque::new(), sysctl.clone()));
            last.clone_from(sysctl);
            // What cannot be set is contested at once.
            let count = if failed.is_some() { CONTESTED } else { 1 };
            times.extend(std::iter::repeat_n(now, count));
            times.drain(..times.len().saturating_sub(CONTESTED));
        }
        self.resets.retain(|_, (times, _)| times.back().is_some_and(|last| now < *last + A_WHILE));
    }

    /// The contested ones, when they are others than the last time.
    fn changed(&mut self, now: Instant) -> Option<Vec<ContestedSysctl>> {
        let is_contested = |times: &VecDeque<Instant>| {
            times.len() >= CONTESTED && times.front().is_some_and(|first| now < *first + A_WHILE)
        };
        let contested: Vec<ContestedSysctl> = self
            .resets
            .values()
            .filter(|(times, _)| is_contested(times))
            .map(|(_, sysctl)| sysctl.clone())
            .collect();
        (contested != self.told).then(|| {
            self.told.clone_from(&contested);
            contested
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset() -> Reset {
        let sysctl = ContestedSysctl {
            interface: "eth0".into(),
            key: "forwarding".into(),
            wanted: "1".into(),
            found: "0".into(),
        };
        Reset { sysctl, failed: None }
    }

    #[test]
    fn once_or_twice_is_no_fault_and_a_minute_later_it_is_over() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut contest = Contest::default();
        for (second, told) in [(0, None), (3, None), (6, Some(1)), (9, None)] {
            assert_eq!(contest.begins(&reset().sysctl, at(second)), second == 0);
            contest.note(&[reset()], at(second));
            assert_eq!(contest.changed(at(second)).map(|c| c.len()), told, "after {second} s");
        }
        assert_eq!(contest.changed(at(40)), None, "it goes on until it has been quiet");
        contest.note(&[], at(70));
        assert_eq!(contest.changed(at(70)), Some(vec![]));
        assert!(contest.begins(&reset().sysctl, at(71)));
    }

    #[test]
    fn what_is_set_back_now_and_then_is_no_fault() {
        let start = Instant::now();
        let mut contest = Contest::default();
        for n in 0..10 {
            let now = start + A_WHILE / 2 * n;
            contest.note(&[reset()], now);
            assert_eq!(contest.changed(now), None, "{n}");
        }
    }
}
