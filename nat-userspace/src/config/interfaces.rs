//! The interfaces of each side: names, and patterns of names.

use super::error::Error;
use super::origin::Sourced;
use crate::host::facts::HostFacts;
use crate::model::gateway::XdpChoice;
use crate::model::path::{XdpFeatures, path_for};
use crate::model::patterns::NamePattern;

/// What is written for one side, on this host.
pub(super) struct Found {
    /// Interfaces that are named, or there and matched; each once.
    pub(super) names: Vec<String>,
    /// Patterns.
    pub(super) patterns: Vec<NamePattern>,
}

/// Interfaces that are named must be there, and usable. Of those that a pattern matches, only usable ones are meant: ports of a
/// bridge are not.
pub(super) fn found(
    side: &'static str,
    written: &[Sourced<String>],
    facts: &HostFacts,
    xdp: XdpChoice,
) -> Result<Found, Error> {
    let mut found = Found { names: Vec::new(), patterns: Vec::new() };
    for Sourced { value: name, at } in written {
        if let Some(pattern) = pattern(name) {
            let pattern =
                pattern.map_err(|why| Error::BadPattern { at: at.clone(), pattern: name.clone(), why })?;
            let matched = facts.links.iter().filter(|l| pattern.matches(&l.name));
            // Whether its driver has XDP does not matter here.
            let usable = matched.filter(|l| path_for(&l.device, xdp, XdpFeatures::Untold).is_ok());
            let new: Vec<String> =
                usable.map(|l| l.name.clone()).filter(|name| !found.names.contains(name)).collect();
            found.names.extend(new);
            found.patterns.push(pattern);
            continue;
        }
        let link =
            facts.link(name).ok_or_else(|| Error::UnknownInterface { at: at.clone(), name: name.clone() })?;
        path_for(&link.device, xdp, XdpFeatures::Untold).map_err(|why| Error::Unusable {
            at: at.clone(),
            name: name.clone(),
            why,
        })?;
        if !found.names.contains(name) {
            found.names.push(name.clone());
        }
    }
    if found.names.is_empty() && found.patterns.is_empty() {
        Err(Error::NoInterface(side))
    } else {
        Ok(found)
    }
}

/// A name on both sides makes a one-armed gateway; a pattern that matches what is on the other side is a mistake.
pub(super) fn refuse_both_sides(
    inside: &[Sourced<String>],
    outside: &[Sourced<String>],
    facts: &HostFacts,
) -> Result<(), Error> {
    for (mine, others) in [(inside, outside), (outside, inside)] {
        for Sourced { value: text, at } in mine {
            let Some(Ok(pattern)) = pattern(text) else { continue };
            for other in others {
                let matched_by_both = |name: &str| match self::pattern(&other.value) {
                    Some(Ok(other)) => pattern.matches(name) && other.matches(name),
                    _ => pattern.matches(name) && other.value == name,
                };
                let names = facts.links.iter().map(|l| l.name.as_str()).chain([other.value.as_str()]);
                let twice = names.into_iter().find(|name| matched_by_both(name) || other.value == *text);
                if let Some(name) = twice {
                    return Err(Error::BothSides {
                        at: at.clone(),
                        pattern: text.clone(),
                        name: name.to_owned(),
                        other: other.value.clone(),
                        other_at: other.at.clone(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// `None`: a name. The error says why a pattern is none.
fn pattern(text: &str) -> Option<Result<NamePattern, String>> {
    NamePattern::is_one(text).then(|| NamePattern::parse(text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::config::flags::GatewayFlags;
    use crate::config::render::to_toml;
    use crate::host::facts::Link;
    use crate::model::gateway::Gateway;
    use crate::model::path::{Device, Framing};

    fn host() -> HostFacts {
        let link = |index: u32, name: &str, port_of: &str, framing| Link {
            name: name.to_owned(),
            index,
            up: true,
            device: Device {
                port_of: (!port_of.is_empty()).then(|| port_of.to_owned()),
                framing,
                ..Device::default()
            },
            ..Link::default()
        };
        HostFacts {
            links: vec![
                link(1, "lo", "", Framing::Other),
                link(2, "eth0", "", Framing::Ethernet),
                link(3, "veth-a", "", Framing::Ethernet),
                link(4, "veth-b", "bridge", Framing::Ethernet),
                link(5, "ppp0", "", Framing::Ip),
            ],
            ephemeral: (32768, 60999),
            memory_available: 8 << 30,
            ..HostFacts::default()
        }
    }

    fn resolve(inside: &str, outside: &str) -> Result<Gateway, Error> {
        let text = format!(
            "[interfaces]\ninside = [{inside}]\noutside = [{outside}]\n[[pool]]\neips = [\"203.0.113.10\"]\n\
             sources = [\"10.0.0.0/8\"]\n"
        );
        Config::parse(Path::new("natgw.toml"), &text, &GatewayFlags::default())?.resolve(&host())
    }

    #[test]
    fn a_pattern_stands_for_what_is_there_and_usable() {
        let gateway = resolve("\"veth-*\"", "\"eth0\", \"ppp*\"").expect("valid");
        assert_eq!(
            (gateway.inside.as_slice(), gateway.outside.as_slice()),
            (&["veth-a".to_owned()][..], &["eth0".to_owned(), "ppp0".to_owned()][..])
        );
        assert!(gateway.has_several_inside(), "another one may come");
        assert!(gateway.manages("veth-z") && gateway.manages("eth0") && !gateway.manages("eth1"));
    }

    #[test]
    fn a_pattern_may_match_nothing_yet_and_is_written_back() {
        let gateway = resolve("\"tap*\"", "\"eth0\"").expect("valid");
        assert!(gateway.inside.is_empty());
        let gateway = resolve("\"veth-*\", \"ppp0\"", "\"eth0\"").expect("valid");
        assert!(to_toml(&gateway).contains("inside = [\"ppp0\", \"veth-*\"]"), "{}", to_toml(&gateway));
    }

    #[test]
    fn interfaces_that_come_and_go_by_a_pattern_are_taken_in_and_let_go() {
        let mut gateway = resolve("\"veth-*\"", "\"eth0\"").expect("valid");
        gateway.take_in("veth-z");
        gateway.take_in("veth-z");
        assert_eq!(gateway.interfaces(), ["veth-a", "veth-z", "eth0"]);
        assert!(gateway.let_go("veth-a") && !gateway.let_go("eth0"));
        assert_eq!(gateway.interfaces(), ["veth-z", "eth0"]);
    }

    #[test]
    fn a_pattern_that_reaches_the_other_side_is_refused_with_both_places() {
        for (inside, outside, named) in [
            ("\"*\"", "\"eth0\"", "eth0"),
            ("\"eth0\"", "\"eth*\"", "eth0"),
            ("\"veth-*\"", "\"*-a\"", "veth-a"),
            ("\"tap*\"", "\"tap*\"", "tap*"),
        ] {
            let error = resolve(inside, outside).expect_err(inside).to_string();
            assert!(error.contains(named) && error.contains("on the other side"), "{error}");
            assert!(error.contains("line 2") && error.contains("line 3"), "{error}");
        }
        let error = resolve("\"veth-[\"", "\"eth0\"").expect_err("no pattern").to_string();
        assert!(error.contains("no pattern of interface names"), "{error}");
    }

    #[test]
    fn a_port_that_is_named_is_refused_with_the_way_out() {
        let error = resolve("\"veth-b\"", "\"eth0\"").expect_err("a port").to_string();
        assert!(error.contains("\"veth-b\"") && error.contains("name the bridge instead"), "{error}");
    }
}
