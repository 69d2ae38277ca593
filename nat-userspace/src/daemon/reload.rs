//! Reading the configuration again while a gateway runs: what it would mean now, and whether a running gateway can become
//! that.

use super::bring_up::Running;
use super::error::Error;
use crate::config::flags::GatewayFlags;
use crate::config::{Config, followed};
use crate::host::facts::HostFacts;
use crate::model::gateway::{Gateway, SizedBy};
use crate::model::patterns::NamePattern;

/// What `flags`, and the file that they name, mean now. Refused where that needs a restart.
pub(super) async fn read(flags: &GatewayFlags, running: &Running) -> Result<(Config, Gateway), Error> {
    let config = Config::load(flags.config.as_deref(), flags)?;
    let mut facts = HostFacts::read().await?;
    // What the flow table has locked would be there for it again.
    facts.memory_available = facts.memory_available.saturating_add(running.plane.table_bytes());
    followed::keep(&mut facts, &running.gateway);
    let mut wanted = config.resolve(&facts)?;
    if wanted.max_flows_by == SizedBy::Memory {
        // The memory available is another one each time, and the table keeps its size.
        wanted.max_flows = running.gateway.max_flows;
    }
    let keys = needs_restart(&running.gateway, &wanted, running.plane.max_flows());
    if keys.is_empty() { Ok((config, wanted)) } else { Err(Error::NeedsRestart { keys }) }
}

/// The keys that a running gateway with a table for `max_flows` would have to restart for.
fn needs_restart(current: &Gateway, wanted: &Gateway, max_flows: u32) -> Vec<&'static str> {
    // Every field is named, so that a new one cannot be forgotten: it is compared below, or can change at any time.
    let Gateway {
        inside,
        outside,
        patterns,
        pools: _,
        exempt: _,
        timeouts: _,
        max_flows: wanted_flows,
        max_flows_by,
        xdp,
        rpf: _,
        answers_per_second: _,
        announce: _,
        duplicate_check: _,
        shared_echo: _,
        metrics,
    } = wanted;
    let differs = [
        (
            "interfaces.inside",
            written(inside, &patterns.inside) != written(&current.inside, &current.patterns.inside),
        ),
        (
            "interfaces.outside",
            written(outside, &patterns.outside) != written(&current.outside, &current.patterns.outside),
        ),
        // A size that nobody asked for yields to that of the table which is there.
        ("max_flows", *max_flows_by == SizedBy::Operator && *wanted_flows != max_flows),
        ("xdp", *xdp != current.xdp),
        ("metrics.listen", *metrics != current.metrics),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// Interfaces that a pattern matches come and go without a reload.
fn written<'a>(names: &'a [String], patterns: &'a [NamePattern]) -> (Vec<&'a String>, &'a [NamePattern]) {
    (names.iter().filter(|name| !patterns.iter().any(|p| p.matches(name))).collect(), patterns)
}

/// Tells systemd that a reload begins (`Type=notify-reload` waits for the end).
pub(super) fn announce_start() {
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        // An error only says that there is no systemd.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Reloading, now]);
    }
}

/// Tells systemd that it is over.
pub(super) fn announce_end() {
    // As above.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

#[cfg(test)]
mod tests {
    use nat_common::hop::Rpf;
    use nat_common::timeouts::Timeouts;

    use super::*;
    use crate::model::gateway::{Announce, XdpChoice};
    use crate::model::patterns::Patterns;

    fn gateway() -> Gateway {
        Gateway {
            inside: vec!["in0".into()],
            outside: vec!["out0".into()],
            patterns: Patterns::default(),
            pools: vec![],
            exempt: vec![],
            timeouts: Timeouts::RFC,
            max_flows: 1000,
            max_flows_by: SizedBy::Memory,
            xdp: XdpChoice::Auto,
            rpf: Rpf::Strict,
            answers_per_second: 1000,
            announce: Announce::Arp,
            duplicate_check: true,
            shared_echo: true,
            metrics: None,
        }
    }

    #[test]
    fn what_cannot_change_while_natgw_runs_is_named() {
        let keys = |wanted: &Gateway| needs_restart(&gateway(), wanted, 1000);
        assert!(keys(&gateway()).is_empty());
        let other = Gateway {
            inside: vec!["in1".into()],
            outside: vec!["out1".into()],
            max_flows: 2000,
            max_flows_by: SizedBy::Operator,
            xdp: XdpChoice::Generic,
            metrics: Some(([127, 0, 0, 1], 9464).into()),
            ..gateway()
        };
        assert_eq!(
            keys(&other),
            ["interfaces.inside", "interfaces.outside", "max_flows", "xdp", "metrics.listen"]
        );
        let text = Error::NeedsRestart { keys: keys(&other) }.to_string();
        assert!(
            text.contains("interfaces.inside, interfaces.outside, max_flows, xdp, metrics.listen"),
            "{text}"
        );
    }

    #[test]
    fn what_can_change_is_no_reason_to_restart() {
        let keys = |wanted: &Gateway| needs_restart(&gateway(), wanted, 1000);
        assert!(
            keys(&Gateway {
                exempt: vec!["10.8.0.0/16".parse().unwrap()],
                timeouts: Timeouts::AWS,
                rpf: Rpf::Loose,
                answers_per_second: 7,
                announce: Announce::None,
                shared_echo: false,
                ..gateway()
            })
            .is_empty()
        );
        let sized = |max_flows, max_flows_by| Gateway { max_flows, max_flows_by, ..gateway() };
        assert!(keys(&sized(7, SizedBy::Memory)).is_empty(), "the table keeps the size that it has");
        assert!(keys(&sized(1000, SizedBy::Operator)).is_empty());
    }
}
