//! The configuration file as it is written. What it means is in [`super::written`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use nat_common::timeouts::Timeouts;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use toml::Spanned;

use super::error::Error;
use super::origin::Text;
use super::value::{EipSpec, Prefix, Timeout};
use super::wording;
use crate::model::gateway::{Announce, Profile, RpfChoice, XdpChoice};
use crate::model::ports::{Ports, ReservedPorts};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) mode: Option<Spanned<String>>,
    pub(super) filtering: Option<Spanned<String>>,
    pub(super) max_flows: Option<Spanned<u64>>,
    pub(super) xdp: Option<XdpChoice>,
    pub(super) rpf: Option<RpfChoice>,
    pub(super) answers_per_second: Option<Spanned<u64>>,
    pub(super) announce: Option<Announce>,
    pub(super) duplicate_check: Option<bool>,
    pub(super) shared_echo: Option<bool>,
    pub(super) interfaces: Interfaces,
    pub(super) pool: Vec<Spanned<Pool>>,
    pub(super) exempt: Exempt,
    pub(super) forward: Option<Spanned<Vec<toml::Table>>>,
    pub(super) timeouts: TimeoutTable,
    pub(super) limits: Limits,
    pub(super) reserved: Reserved,
    pub(super) metrics: Metrics,
    pub(super) flow_log: Option<Spanned<toml::Table>>,
}

/// `[interfaces]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Interfaces {
    pub(super) inside: Vec<Spanned<String>>,
    pub(super) outside: Vec<Spanned<String>>,
}

/// `[[pool]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pool {
    pub(super) name: Option<String>,
    pub(super) eips: Vec<Spanned<EipSpec>>,
    pub(super) sources: Vec<Spanned<Prefix>>,
    pub(super) ports: Option<Spanned<Ports>>,
    pub(super) outside: Option<Spanned<String>>,
}

/// `[exempt]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Exempt {
    pub(super) destinations: Vec<Prefix>,
}

/// `[timeouts]`: a profile, and [`Timeouts::KEYS`].
#[derive(Debug, Default)]
pub(super) struct TimeoutTable {
    pub(super) profile: Option<Profile>,
    pub(super) values: BTreeMap<&'static str, Timeout>,
}

/// A key of `[timeouts]`, one of [`TimeoutKey::ALL`].
struct TimeoutKey(&'static str);

impl TimeoutKey {
    const PROFILE: &'static str = "profile";

    const ALL: [&'static str; Timeouts::KEYS.len() + 1] = {
        let mut all = [Self::PROFILE; Timeouts::KEYS.len() + 1];
        let (_, rest) = all.split_at_mut(1);
        rest.copy_from_slice(&Timeouts::KEYS);
        all
    };
}

impl<'de> Deserialize<'de> for TimeoutKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|key| **key == text);
        known.map(|key| Self(key)).ok_or_else(|| D::Error::unknown_field(&text, &Self::ALL))
    }
}

impl<'de> Deserialize<'de> for TimeoutTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = TimeoutTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("struct TimeoutTable")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TimeoutTable, A::Error> {
                let mut table = TimeoutTable::default();
                while let Some(TimeoutKey(key)) = map.next_key()? {
                    if key == TimeoutKey::PROFILE {
                        table.profile = Some(map.next_value()?);
                    } else {
                        table.values.insert(key, map.next_value()?);
                    }
                }
                Ok(table)
            }
        }
        deserializer.deserialize_map(Table)
    }
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) flows_per_client: Option<Spanned<u64>>,
    pub(super) new_flows_per_client_per_second: Option<Spanned<u64>>,
}

/// `[reserved]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reserved {
    pub(super) ports: BTreeMap<Spanned<Ipv4Addr>, Vec<ReservedPorts>>,
}

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metrics {
    pub(super) listen: Option<SocketAddr>,
}

/// Reads `text`, which stands in the file `path`.
pub(super) fn parse<'a>(path: &Path, text: &'a str) -> Result<(File, Text<'a>), Error> {
    let source = Text { path: path.into(), text };
    let file: File = toml::from_str(text).map_err(|e| Error::Syntax {
        at: source.origin(e.span().unwrap_or(0..0)),
        message: wording::in_our_words(e.message(), text.get(e.span().unwrap_or(0..0)).unwrap_or_default()),
    })?;
    refuse_what_is_to_come(&file, &source)?;
    Ok((file, source))
}

/// Keys and values of the documented configuration that this version cannot honour: better no gateway than
/// one that ignores what it was told. Values that mean "off" are fine.
fn refuse_what_is_to_come(file: &File, source: &Text<'_>) -> Result<(), Error> {
    if let Some(mode) = &file.mode {
        only(mode, "mode", "endpoint-dependent", &["endpoint-independent"], source)?;
    }
    if let Some(filtering) = &file.filtering {
        let later = ["endpoint-independent", "address-dependent"];
        only(filtering, "filtering", "address-and-port-dependent", &later, source)?;
    }
    let unsupported =
        |span, what: String, remedy| Error::Unsupported { at: source.origin(span), what, remedy };
    for (key, limit) in [
        ("limits.flows_per_client", &file.limits.flows_per_client),
        ("limits.new_flows_per_client_per_second", &file.limits.new_flows_per_client_per_second),
    ] {
        if let Some(limit) = limit.as_ref().filter(|l| *l.get_ref() != 0) {
            let what = format!("{key} = {}", limit.get_ref());
            return Err(unsupported(limit.span(), what, "write 0 (no limit) or leave it out"));
        }
    }
    if let Some(forward) = file.forward.as_ref().filter(|f| !f.get_ref().is_empty()) {
        return Err(unsupported(forward.span(), "[[forward]]".to_owned(), "remove the table"));
    }
    if let Some(log) = &file.flow_log {
        return Err(unsupported(log.span(), "[flow_log]".to_owned(), "remove the table"));
    }
    Ok(())
}

fn only(
    value: &Spanned<String>,
    key: &str,
    supported: &str,
    later: &[&str],
    source: &Text<'_>,
) -> Result<(), Error> {
    let text = value.get_ref().as_str();
    let at = || source.origin(value.span());
    if text == supported {
        Ok(())
    } else if later.contains(&text) {
        let remedy = "leave the key out";
        Err(Error::Unsupported { at: at(), what: format!("{key} = \"{text}\""), remedy })
    } else {
        Err(Error::Syntax { at: at(), message: format!("unknown value \"{text}\"; write \"{supported}\"") })
    }
}
