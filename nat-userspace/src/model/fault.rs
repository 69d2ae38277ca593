//! What can be wrong with a gateway. Every fault has a code that scripts can rely on, a severity, a text that says what
//! is wrong, and what to do about it.

use std::fmt;

use serde::Serialize;

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Traffic goes on, and something will be missing.
    Warning,
    /// Some of the traffic that should pass does not, or a safeguard is gone.
    Error,
    /// Nothing passes.
    Critical,
}

impl Severity {
    /// As in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal, $severity:ident;)+) => {
        /// Which fault it is. Codes are never given to another fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub enum Code {$(
            $(#[$doc])*
            #[serde(rename = $name)]
            $code,
        )+}

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// As in JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name),+ }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$code => Severity::$severity),+ }
            }
        }
    };
}

// The only list of faults: a new one is a line here, and the place that finds it.
codes! {
    /// No interface runs the packet path.
    DataPlaneDown = "data_plane_down", Critical;
    /// Nobody collects flows and watches neighbours.
    DaemonDown = "daemon_down", Warning;
    /// A configured interface does not exist.
    InterfaceMissing = "interface_missing", Error;
    /// An interface exists and does not run the packet path, XDP or tc.
    XdpMissing = "xdp_missing", Error;
    /// An interface has lost one of the programs that hold when XDP is gone.
    GuardMissing = "guard_missing", Error;
    /// The host does not have an EIP that it should have.
    EipMissing = "eip_missing", Error;
    /// Somebody else sets a sysctl back that natgw needs, again and again.
    SysctlReset = "sysctl_reset", Error;
    /// Flows wait for the Ethernet address of their next hop.
    HopsUnresolved = "hops_unresolved", Warning;
    /// Flows found no port.
    PortsExhausted = "ports_exhausted", Error;
    /// Flows found no room in the flow table.
    TableFull = "table_full", Error;
    /// The flow table is about to be full.
    TableNearlyFull = "table_nearly_full", Warning;
    /// Every interface of a side is down.
    SideDown = "side_down", Critical;
    /// An interface is down, or has no carrier.
    LinkDown = "link_down", Error;
    /// No EIP has a route to the internet.
    NoRoute = "no_default_route", Critical;
    /// Packets to the internet leave by an interface that natgw does not manage.
    RouteUnmanaged = "route_unmanaged", Error;
    /// The tables of the packet path do not say what they have to.
    TablesDamaged = "tables_damaged", Critical;
    /// There is no EIP.
    NoEip = "no_eip", Critical;
    /// Packets are dropped because they would leave by another link than their EIP's.
    EipWrongLink = "eip_wrong_link", Error;
    /// Packets are lost on their way out of an interface.
    RedirectsFailing = "redirects_failing", Error;
    /// Losses after a redirect are not counted.
    LossesUncounted = "losses_uncounted", Warning;
    /// Many flows, and no answer to any.
    NoAnswers = "no_answers", Error;
    /// Clients leave their checksums to an offload, and nobody completes them.
    OffloadTrap = "offload_trap", Error;
    /// An interface runs generic XDP.
    GenericXdp = "generic_xdp", Warning;
    /// The guards stop packets that the packet path let through.
    GuardDrops = "guard_drops", Warning;
    /// The host's firewall drops what the kernel forwards.
    ForwardDrop = "forward_policy_drop", Warning;
}

/// Something that is wrong at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Which fault it is.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, and with what.
    pub text: String,
    /// What to do about it.
    pub what_to_do: String,
}

impl Fault {
    /// A fault with its code's severity.
    pub fn new(code: Code, text: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), text: text.into(), what_to_do: what_to_do.into() }
    }
}

/// One sentence for people.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.text, self.what_to_do)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_code_severity_text_and_what_to_do() {
        let fault = Fault::new(Code::TableFull, "the table is full", "raise max_flows");
        assert_eq!(
            serde_json::to_string(&fault).expect("serializes"),
            r#"{"code":"table_full","severity":"error","text":"the table is full","what_to_do":"raise max_flows"}"#
        );
        assert_eq!(fault.to_string(), "the table is full; raise max_flows");
    }

    #[test]
    fn what_to_do_about_each_stands_in_the_runbook() {
        let runbook = include_str!("../../../docs/operations.md");
        for code in Code::ALL {
            let heading = format!("\n### {}\n", code.name());
            assert!(runbook.contains(&heading), "docs/operations.md has no heading for {}", code.name());
        }
    }

    #[test]
    fn a_code_is_called_the_same_in_json_and_in_rust_and_stands_for_one_fault() {
        for (n, code) in Code::ALL.iter().enumerate() {
            assert_eq!(serde_json::to_value(code).expect("serializes"), code.name());
            assert!(Code::ALL[n + 1..].iter().all(|other| other.name() != code.name()), "{}", code.name());
        }
    }
}
