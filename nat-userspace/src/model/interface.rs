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
    /// How natgw gets its frames.
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

/// How natgw gets an interface's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// XDP in the driver.
    Native,
    /// XDP in the network stack, after an skb was made: slower.
    Generic,
    /// tc ingress: frames of local guests stay as large as they are, and every kind of interface has it.
    Tc,
}

impl XdpMode {
    /// As in JSON and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        }
    }
}
