//! Facts, sysctls and addresses of a host, in a private network namespace.

use crate::netns::{self, Peer, ifindex, in_namespace, set_sysctl, sh, state_dir, sysctl};
use nat_userspace::host::{
    Error, addresses,
    facts::HostFacts,
    state::SavedSysctl,
    sysctls::{Before, Sysctls},
};
use nat_userspace::model::path::Framing;

const TWO_LEGS: &str = "ip link add ngin type veth peer name ngin-p; ip addr add 10.0.0.1/24 dev ngin; \
                        ip link add ngout type veth peer name ngout-p; ip addr add 198.51.100.1/24 dev ngout; \
                        ip link set ngin up; ip link set ngout up; ip link set ngin-p up; ip link set ngout-p up";

#[test]
fn facts_are_those_of_the_namespace() {
    in_namespace(|| async {
        sh("ip link add ng0 address 02:00:00:00:00:07 mtu 1400 type veth peer name ng0-p");
        sh("ip addr add 10.1.2.3/24 dev ng0; ip link set ng0 up");
        sh(
            "ip route add default via 10.1.2.9; ip route add 192.0.2.0/24 table 7 nexthop via 10.1.2.8 dev ng0",
        );
        let facts = HostFacts::read().await.unwrap();
        assert_eq!(facts.gateways, [[10, 1, 2, 8].into(), [10, 1, 2, 9].into()].into());
        let link = facts.link("ng0").unwrap();
        assert_eq!((link.index, link.mtu, link.mac), (ifindex("ng0"), 1400, [2, 0, 0, 0, 0, 7]));
        assert!(link.up && link.device.framing == Framing::Ethernet);
        assert_eq!(facts.link("lo").unwrap().device.framing, Framing::Other);
        assert!(facts.has_address([10, 1, 2, 3].into()));
        assert_eq!(facts.addresses.iter().find(|a| a.index == link.index).unwrap().broadcast, None);
        sh("ip addr add 10.1.9.3/24 brd 10.1.9.77 dev ng0");
        let interfaces = HostFacts::read_interfaces().await.unwrap();
        let of_ng0: Vec<_> = interfaces.addresses.iter().filter(|a| a.index == link.index).collect();
        assert_eq!(of_ng0[0].net.addr(), std::net::Ipv4Addr::new(10, 1, 2, 3), "in the order of the kernel");
        assert_eq!(of_ng0[1].broadcast, Some([10, 1, 9, 77].into()));
        assert_eq!(facts.ephemeral, (32768, 60999));
        assert!(facts.memory_available > 1 << 20);
    });
}

#[test]
fn sysctls_are_restored_to_what_they_were() {
    in_namespace(|| async {
        sh(TWO_LEGS);
        set_sysctl("ngin", "rp_filter", "1");
        set_sysctl("ngout", "rp_filter", "1");
        set_sysctl("ngout", "arp_announce", "2");
        let others = || {
            let redirects = ["secure_redirects", "send_redirects", "shared_media"];
            let all = ["rp_filter", "forwarding", "accept_local", "arp_ignore"].map(|k| sysctl("all", k));
            (all, ["all", "ngin", "ngout"].map(|i| redirects.map(|k| sysctl(i, k))))
        };
        let before = others();
        let (_dir, state) = state_dir();

        let applied = Sysctls::apply(&["ngin"], &["ngout"], &state).unwrap();
        for (interface, key, value) in [
            ("ngin", "accept_local", "1"),
            ("ngin", "rp_filter", "2"),
            ("ngin", "forwarding", "1"),
            ("ngin", "accept_redirects", "0"),
            ("ngout", "accept_redirects", "0"),
            ("ngout", "rp_filter", "1"),
            ("ngout", "forwarding", "1"),
            ("ngout", "arp_ignore", "1"),
            ("ngout", "arp_announce", "2"),
            ("ngout", "accept_local", "0"),
        ] {
            assert_eq!(sysctl(interface, key), value, "{interface}.{key}");
        }
        assert_eq!(others(), before, "what is not natgw's business");
        let saved = state.read().unwrap().unwrap().sysctls;
        assert!(!saved.iter().any(|s| s.key == "arp_announce"), "it was right already");

        applied.restore().unwrap();
        assert_eq!(sysctl("ngin", "rp_filter"), "1");
        assert_eq!(sysctl("ngin", "accept_local"), "0");
        assert_eq!(sysctl("ngout", "accept_redirects"), "1");
        assert_eq!(sysctl("ngout", "arp_announce"), "2");
        assert_eq!(state.read().unwrap().unwrap().sysctls, []);
    });
}

#[test]
fn sysctls_survive_a_crash_and_a_changed_configuration() {
    in_namespace(|| async {
        sh(TWO_LEGS);
        set_sysctl("ngin", "rp_filter", "1");
        let (_dir, state) = state_dir();
        // Killed: nothing restored. Then started again with the other interface only.
        Sysctls::apply(&["ngin"], &["ngout"], &state).unwrap();
        Sysctls::apply(&["ngin"], &["ngout"], &state).unwrap();
        Sysctls::apply(&[], &["ngout"], &state).unwrap();
        assert_eq!(sysctl("ngin", "rp_filter"), "1");
        assert_eq!(sysctl("ngin", "accept_local"), "0");
        assert_eq!(sysctl("ngout", "arp_ignore"), "1");

        Sysctls::restore_saved(&state).unwrap();
        assert_eq!(sysctl("ngout", "arp_ignore"), "0");
        assert_eq!(sysctl("ngout", "forwarding"), "0");
    });
}

#[test]
fn what_an_older_version_changed_outside_is_put_back() {
    in_namespace(|| async {
        sh(TWO_LEGS);
        let (_dir, state) = state_dir();
        let saved = SavedSysctl {
            interface: "ngout".into(),
            ifindex: ifindex("ngout"),
            key: "rp_filter".into(),
            original: "1".into(),
            applied: "2".into(),
            all: String::new(),
        };
        state.update(|s| s.sysctls = vec![saved.clone()]).unwrap();
        set_sysctl("ngout", "rp_filter", "2");
        let strict = Before { rp_filter: 1, forwarded: false };
        assert_eq!(Before::of("ngout", &state).unwrap(), strict);
        Sysctls::apply(&["ngin"], &["ngout"], &state).unwrap();
        assert_eq!(sysctl("ngout", "rp_filter"), "1");
        assert!(
            !state
                .read()
                .unwrap()
                .unwrap()
                .sysctls
                .iter()
                .any(|s| s.key == "rp_filter" && s.interface == "ngout")
        );
        assert_eq!(Before::of("ngout", &state).unwrap(), strict);
        // `detach` of this version after a crash of the older one.
        set_sysctl("ngout", "rp_filter", "2");
        state.update(|s| s.sysctls = vec![saved]).unwrap();
        Sysctls::restore_saved(&state).unwrap();
        assert_eq!(sysctl("ngout", "rp_filter"), "1");
    });
}

#[test]
fn what_the_host_checked_and_forwarded_before_is_known_while_natgw_runs_and_to_the_next_start() {
    in_namespace(|| async {
        sh(TWO_LEGS);
        let (_dir, state) = state_dir();
        set_sysctl("all", "rp_filter", "0");
        set_sysctl("ngin", "rp_filter", "1");
        set_sysctl("ngin", "forwarding", "0");
        set_sysctl("ngout", "rp_filter", "0");
        set_sysctl("ngout", "forwarding", "1");
        let inside = Before { rp_filter: 1, forwarded: false };
        let outside = Before { rp_filter: 0, forwarded: true };
        let both = || (Before::of("ngin", &state).unwrap(), Before::of("ngout", &state).unwrap());
        assert_eq!(both(), (inside, outside));
        for start in 1..=2 {
            Sysctls::apply(&["ngin"], &["ngout"], &state).unwrap();
            assert_eq!((sysctl("ngin", "rp_filter"), sysctl("ngin", "forwarding")), ("2".into(), "1".into()));
            assert_eq!(both(), (inside, outside), "start {start}");
        }
        // `all` counts when it is the larger number; whoever changes an interface afterwards means it.
        set_sysctl("all", "rp_filter", "2");
        assert_eq!(both().0.rp_filter, 2);
        set_sysctl("all", "rp_filter", "0");
        set_sysctl("ngin", "rp_filter", "0");
        assert_eq!(both().0.rp_filter, 0);
    });
}

#[test]
fn sysctls_that_others_changed_or_of_a_new_interface_are_left_alone() {
    in_namespace(|| async {
        sh(TWO_LEGS);
        let (_dir, state) = state_dir();
        let applied = Sysctls::apply(&["ngin"], &["ngout"], &state).unwrap();
        set_sysctl("ngin", "rp_filter", "1");
        sh("ip link del ngout; ip link add ngout type veth peer name ngout-p");
        set_sysctl("ngout", "arp_ignore", "1");
        applied.restore().unwrap();
        assert_eq!(sysctl("ngin", "rp_filter"), "1");
        assert_eq!(sysctl("ngout", "arp_ignore"), "1");
    });
}

#[test]
fn sysctls_of_a_missing_interface_change_nothing() {
    in_namespace(|| async {
        sh(TWO_LEGS);
        let (_dir, state) = state_dir();
        let error = Sysctls::apply(&["ngin"], &["ngnone"], &state).unwrap_err();
        assert!(matches!(error, Error::NoInterface(name) if name == "ngnone"));
        assert_eq!(sysctl("ngin", "accept_local"), "0");
    });
}

#[test]
fn another_namespaces_records_are_not_applied_here() {
    let (_dir, state) = state_dir();
    in_namespace(|| async {
        sh(TWO_LEGS);
        Sysctls::apply(&["ngin"], &["ngout"], &state).unwrap();
        // Within: were the first namespace gone, the second could get its inode.
        in_namespace(|| async {
            sh(TWO_LEGS);
            set_sysctl("ngout", "arp_ignore", "1");
            Sysctls::restore_saved(&state).unwrap();
            assert_eq!(sysctl("ngout", "arp_ignore"), "1");
        });
    });
}

#[test]
fn eips_are_added_and_removed_and_foreign_addresses_never_touched() {
    in_namespace(|| async {
        sh(TWO_LEGS);
        sh("ip addr add 203.0.113.10/32 dev ngin");
        let (_dir, state) = state_dir();
        let [near, far, shared] = ["198.51.100.9", "203.0.113.7", "203.0.113.10"].map(|a| a.parse().unwrap());

        let added =
            addresses::add_eips(&[near, far, shared].map(|eip| (eip, None)), &["ngin", "ngout"], &state)
                .await
                .unwrap();
        let placed: Vec<_> = added.iter().map(|a| (a.addr, a.interface.as_str())).collect();
        assert_eq!(placed, [(near, "ngout"), (far, "ngin")]);
        assert!(sh("ip -o addr show ngout").contains("198.51.100.9/32"));
        let facts = HostFacts::read().await.unwrap();
        assert!(!facts.has_address(near), "an EIP of natgw's own would look shared");
        assert!(facts.has_address(shared));

        // After a crash they are found, and still natgw's.
        let again =
            addresses::add_eips(&[near, far, shared].map(|eip| (eip, None)), &["ngin", "ngout"], &state)
                .await
                .unwrap();
        assert_eq!(again, added);
        addresses::announce("ngout", &state).await.unwrap();

        // The operator replaces one by an address of his own.
        sh("ip addr del 203.0.113.7/32 dev ngin; ip addr add 203.0.113.7/32 dev ngin");
        addresses::remove_eips(&[near], &state).await.unwrap();
        assert!(!sh("ip -o addr show ngout").contains("198.51.100.9"));
        addresses::remove_all_eips(&state).await.unwrap();
        let left = sh("ip -o -4 addr show ngin");
        assert!(left.contains("203.0.113.10/32") && left.contains("203.0.113.7/32"), "{left}");
        assert_eq!(state.read().unwrap().unwrap().addresses, []);
    });
}

#[test]
fn a_removed_interface_takes_its_eips_along() {
    in_namespace(|| async {
        sh(TWO_LEGS);
        let (_dir, state) = state_dir();
        addresses::add_eips(&[("203.0.113.7".parse().unwrap(), None)], &["ngout"], &state).await.unwrap();
        sh("ip link del ngout");
        addresses::remove_all_eips(&state).await.unwrap();
    });
}

#[test]
fn neighbours_learn_of_a_new_eip() {
    in_namespace(|| async {
        let peer = Peer::new("ngout", "198.51.100.1/24", "ngp", "198.51.100.2/24");
        // An entry that is wrong by now, as after a failover.
        sh(&format!("ip -n {} neigh add 198.51.100.9 lladdr 02:00:00:00:00:99 dev ngp nud stale", peer.name));
        let (_dir, state) = state_dir();
        addresses::add_eips(&[("198.51.100.9".parse().unwrap(), None)], &["ngout"], &state).await.unwrap();
        let mac = sh("ip -o link show ngout");
        let mac = mac.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        netns::eventually("the peer knows the new MAC", || {
            sh(&format!("ip -n {} neigh show 198.51.100.9", peer.name)).contains(&mac).then_some(())
        })
        .await;
    });
}
