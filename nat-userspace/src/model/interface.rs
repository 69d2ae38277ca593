//! A managed interface, as it was attached. `state.json` and `natgw status --json` show it under these names.

use serde::{Deserialize, Serialize};

/// A managed interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub ifindex: u32,
    /// Role.
    pub side: InterfaceSide,
    /// How XDP is attached.
    pub xdp_mode: XdpMode,
    /// It is configured and not there (any more); the other fields tell of when it was.
    #[serde(default)]
    pub missing: bool,
}

/// The role of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceSide {
    /// Towards the clients.
    Inside,
    /// Towards the internet.
    Outside,
    /// One-armed.
    Both,
}

impl InterfaceSide {
    /// As in JSON and on the terminal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
            Self::Both => "both",
        }
    }
}

/// How XDP runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack, after an skb was made: slower, works on every interface.
    Generic,
}

impl XdpMode {
    /// As in JSON and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}
