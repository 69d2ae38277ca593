//! Whether a host is fit for a gateway: what `natgw doctor` looks at. Changes nothing.

use nix::unistd::geteuid;

use crate::config::Config;
use crate::config::flags::GatewayFlags;
use crate::datapath::{lost, occupant};
use crate::host::condition::Condition;
use crate::host::facts::{HostFacts, Link};
use crate::host::kernel::Kernel;
use crate::host::offloads;
use crate::model::check::Check;
use crate::model::gateway::Gateway;

/// The oldest kernel that natgw runs on.
const OLDEST: (u32, u32) = (5, 18);

/// What is found where a gateway runs.
const RUNS: &str = "natgw's program is there";

/// Bytes of memory that one flow takes.
const PER_FLOW: u64 = 2 * size_of::<nat_common::FlowEntry>() as u64;

/// Every check, in the order in which they are of interest. Without a configuration, those of the host alone.
pub async fn examine(flags: &GatewayFlags) -> Vec<Check> {
    let mut checks = kernel(&Kernel::read());
    let facts = match HostFacts::read().await {
        Ok(facts) => facts,
        Err(e) => {
            checks.push(Check::fail(
                "netlink",
                causes(&e),
                "run it as root, in the gateway's network namespace",
            ));
            return checks;
        }
    };
    checks.extend(others(&facts));
    let is_described = flags.config.is_some() || !(flags.inside.is_empty() && flags.outside.is_empty());
    if !is_described {
        let text = "no gateway is described: only the host was looked at";
        checks.push(Check::warn(
            "configuration",
            text,
            "give --config FILE, or --inside, --outside and --eip",
        ));
        return checks;
    }
    let resolved = Config::load(flags.config.as_deref(), flags).and_then(|c| c.resolve(&facts));
    match resolved {
        Ok(gateway) => {
            checks.push(Check::ok("configuration", "natgw can run it"));
            checks.extend(of_gateway(&gateway, &facts).await);
        }
        Err(e) => checks.push(Check::fail("configuration", causes(&e), "see `natgw check`")),
    }
    checks
}

fn kernel(kernel: &Kernel) -> Vec<Check> {
    let release = &kernel.release;
    let mut checks = vec![];
    checks.push(if geteuid().is_root() {
        Check::ok("root", "this is root")
    } else {
        Check::fail("root", "this is not root", "run natgw as root, with CAP_BPF and CAP_NET_ADMIN at least")
    });
    checks.push(match kernel.version {
        version if version < OLDEST => Check::fail(
            "kernel",
            format!("Linux {release} is older than {}.{}", OLDEST.0, OLDEST.1),
            "install a newer kernel",
        ),
        version if version < (6, 6) => Check::warn(
            "kernel",
            format!("Linux {release}: guards are classic tc filters, since there is no TCX before 6.6"),
            "nothing has to be done; whoever deletes the clsact qdisc deletes them",
        ),
        _ => Check::ok("kernel", format!("Linux {release}")),
    });
    checks.push(if kernel.has_bpffs {
        Check::ok("bpffs", "BPF file systems can be mounted")
    } else {
        Check::fail("bpffs", "the kernel has no BPF file system", "it needs CONFIG_BPF_SYSCALL")
    });
    checks.push(if kernel.has_jit {
        Check::ok("jit", "BPF programs are compiled")
    } else {
        Check::warn(
            "jit",
            "BPF programs are interpreted, many times slower",
            "`sysctl net.core.bpf_jit_enable=1`",
        )
    });
    checks.push(if kernel.has_btf && lost::places().is_some() {
        Check::ok("btf", "packets that are lost after a redirect can be counted")
    } else {
        let text = "packets that are lost after a redirect would be counted as sent: no BTF";
        Check::warn(
            "btf",
            text,
            "a kernel with CONFIG_DEBUG_INFO_BTF counts them; until then see `ip -s link`",
        )
    });
    checks.push(if kernel.version >= (6, 3) {
        Check::ok("xdp_features", "drivers tell what they can do with XDP")
    } else {
        let text = "before Linux 6.3 drivers do not tell what they can do with XDP";
        Check::warn(
            "xdp_features",
            text,
            "set xdp = \"native\" or \"tc\" where the automatic choice is wrong",
        )
    });
    checks.push(if kernel.has_conntrack_lookup {
        Check::ok("conntrack", "XDP can ask the kernel's connection tracking")
    } else {
        let text = "XDP cannot ask the kernel's connection tracking (bpf_xdp_ct_lookup)";
        Check::warn(
            "conntrack",
            text,
            "load nf_conntrack, or give natgw EIPs that the host's own NAT does not use",
        )
    });
    checks.push(if kernel.forwards {
        Check::ok("ip_forward", "the host forwards")
    } else {
        Check::ok(
            "ip_forward",
            "the host does not forward yet; natgw switches it on for its interfaces while it runs",
        )
    });
    checks
}

/// Software that has its own programs on interfaces.
fn others(facts: &HostFacts) -> Vec<Check> {
    let has = |prefix: &str| facts.links.iter().any(|l| l.name.starts_with(prefix));
    let mut checks = vec![];
    for (prefix, name) in [("cilium_", "Cilium"), ("cali", "Calico")] {
        if has(prefix) {
            checks.push(Check::warn(
                "conflict",
                format!("{name} runs here, with BPF programs or rules of its own on its interfaces"),
                "give natgw interfaces that it does not manage, or a host of its own",
            ));
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok("conflict", "neither Cilium nor Calico runs here"));
    }
    checks
}

async fn of_gateway(gateway: &Gateway, facts: &HostFacts) -> Vec<Check> {
    let mut checks = vec![];
    let managed = gateway.interfaces();
    let links: Vec<&Link> = managed.iter().filter_map(|name| facts.link(name)).collect();
    let eips: Vec<_> = gateway.pools.iter().flat_map(|p| &p.eips).collect();
    let addresses: Vec<_> = eips.iter().map(|e| e.addr).collect();
    let condition = Condition::read(&addresses).await.unwrap_or_default();
    for link in &links {
        checks.extend(interface(link, &condition).await);
    }
    // The memory of one that runs is taken already.
    if !checks.iter().any(|c| c.text == RUNS) {
        checks.push(memory(gateway, facts));
    }
    checks.push(mtus(gateway, facts));
    checks.push(routes(gateway, facts, &condition));
    checks.push(match &condition.forward_drop {
        Some(chain) => Check::warn(
            "firewall",
            format!("the chain `{chain}` drops what the kernel forwards"),
            "only fragments to be made, tunnels and exempt destinations meet it: accept those there",
        ),
        None => Check::ok("firewall", "no chain of nf_tables drops what is forwarded"),
    });
    let shared = eips.iter().find(|e| e.host_ports.is_some());
    checks.push(match (shared, &condition.nat) {
        (Some(eip), Some(chain)) => Check::warn(
            "kernel_nat",
            format!(
                "{} is the host's own address too, and the chain `{chain}` does NAT in the kernel",
                eip.addr
            ),
            "give natgw an EIP of its own, or keep the kernel's NAT off the interfaces that natgw manages",
        ),
        _ => Check::ok("kernel_nat", "the kernel's NAT and natgw share no address"),
    });
    checks
}

fn memory(gateway: &Gateway, facts: &HostFacts) -> Check {
    let mib = |bytes: u64| bytes >> 20;
    let needed = u64::from(gateway.max_flows) * PER_FLOW;
    let text = format!(
        "{} flows lock about {} MiB; {} MiB are available",
        gateway.max_flows,
        mib(needed),
        mib(facts.memory_available)
    );
    if needed >= facts.memory_available {
        Check::fail("memory", text, "lower max_flows")
    } else if needed > facts.memory_available / 2 {
        Check::warn("memory", text, "lower max_flows, or add memory")
    } else {
        Check::ok("memory", text)
    }
}

async fn interface(link: &Link, condition: &Condition) -> Vec<Check> {
    let name = &link.name;
    let of = |check: &str| format!("{check} {name}");
    let mut checks = vec![];
    checks.push(if condition.running.contains(&link.index) {
        Check::ok(of("link"), format!("{}, up with a carrier, MTU {}", offloads::driver_of(name), link.mtu))
    } else {
        Check::warn(
            of("link"),
            "down, or without a carrier",
            format!("`ip link set {name} up`; cable, switch, peer"),
        )
    });
    checks.push(match occupant::Occupant::find(name, link.index).await {
        Some(occupant) if !occupant.is_natgw() => {
            Check::fail(of("xdp"), occupant.to_string(), "an interface has one XDP program")
        }
        Some(_) => Check::ok(of("xdp"), RUNS),
        None => Check::ok(of("xdp"), "free"),
    });
    let tc = occupant::other_tc_programs(name);
    checks.push(if tc.is_empty() {
        Check::ok(of("tc"), "no program of somebody else's")
    } else {
        Check::warn(
            of("tc"),
            format!("programs of somebody else's: {}", tc.join(", ")),
            "translated packets that natgw redirects do not meet them",
        )
    });
    if offloads::hides_tags(name) {
        checks.push(Check::warn(
            of("rxvlan"),
            "the NIC takes 802.1Q tags out of frames",
            "natgw switches that off while it runs, which resets some NICs for a moment",
        ));
    }
    checks
}

fn mtus(gateway: &Gateway, facts: &HostFacts) -> Check {
    let of = |names: &[String]| names.iter().filter_map(|n| facts.link(n)).map(|l| l.mtu).collect::<Vec<_>>();
    let (inside, outside) = (of(&gateway.inside), of(&gateway.outside));
    match (inside.iter().max(), outside.iter().min()) {
        (Some(inside), Some(outside)) if inside > outside => Check::warn(
            "mtu",
            format!("inside frames may have {inside} bytes, outside ones {outside}"),
            "clients learn it from ICMP; `advmss` or a smaller MTU inside saves them the detour",
        ),
        _ => Check::ok("mtu", "what fits inside fits outside"),
    }
}

fn routes(gateway: &Gateway, facts: &HostFacts, condition: &Condition) -> Check {
    let name = |index: u32| facts.links.iter().find(|l| l.index == index).map_or("", |l| l.name.as_str());
    let ways: Vec<(String, &str)> =
        condition.ways.iter().filter_map(|(eip, way)| Some((eip.to_string(), name((*way)?)))).collect();
    if ways.is_empty() {
        return Check::warn(
            "route",
            "no EIP has a route to the internet",
            "`ip route add default via GATEWAY`",
        );
    }
    match ways.iter().find(|(_, name)| !gateway.outside.iter().any(|o| o == name)) {
        Some((eip, name)) => Check::warn(
            "route",
            format!("packets from {eip} would leave by {name}, which is not outside"),
            format!("add {name} to outside, or `ip rule add from {eip} lookup TABLE`"),
        ),
        None => Check::ok("route", format!("packets from the EIPs leave by {}", ways[0].1)),
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Outcome;

    #[test]
    fn an_old_kernel_fails_and_whatever_is_not_well_says_what_to_do() {
        let old = Kernel { release: "5.10.0".to_owned(), version: (5, 10), ..Kernel::default() };
        let checks = kernel(&old);
        let of = |name: &str| checks.iter().find(|c| c.check == name).map(|c| c.outcome);
        assert_eq!(
            (of("kernel"), of("bpffs"), of("jit")),
            (Some(Outcome::Fail), Some(Outcome::Fail), Some(Outcome::Warn))
        );
        assert!(checks.iter().all(|c| (c.outcome == Outcome::Ok) == c.what_to_do.is_none()), "{checks:?}");
    }
}
