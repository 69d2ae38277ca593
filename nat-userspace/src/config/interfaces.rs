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
        path_for(&link.device, xdp, XdpFeatures::Untold)
            .map_err(|why| Error::Unusable { at: at.clone(), name: name.clone(), why })?;
        if !found.names.contains(name) {
            found.names.push(name.clone());
        }
    }
    if found.names.is_empty() && found.patterns.is_empty() { Err(Error::NoInterface(side)) } else { Ok(found) }
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
