//! 802.1Q tags are left in the frames while natgw runs, in a private network namespace.

use crate::netns::{in_namespace, sh, state_dir};
use nat_userspace::host::offloads::{Offloads, Tags};

fn rxvlan(interface: &str) -> String {
    let features = sh(&format!("ethtool -k {interface}"));
    let line = features.lines().find_map(|l| l.strip_prefix("rx-vlan-offload: ")).unwrap();
    line.to_owned()
}

#[test]
fn tags_are_left_in_the_frames_until_restored() {
    in_namespace(|| async {
        sh("ip link add nga type veth peer name nga-p; ip link add ngb type veth peer name ngb-p");
        sh("ip link add ngc type bridge; ethtool -K ngb rxvlan off");
        let (_dir, state) = state_dir();
        let tags = Offloads::apply(&["nga", "ngb", "ngc"], &state).unwrap();
        assert_eq!((rxvlan("nga").as_str(), rxvlan("ngb").as_str()), ("off", "off"));
        let saved = state.read().unwrap().unwrap().offloads;
        assert_eq!(saved.iter().map(|s| s.interface.as_str()).collect::<Vec<_>>(), ["nga"]);
        // A veth hides what its peer leaves to the offload, whatever its own setting is.
        assert!(
            matches!(&tags[0], Tags::Hidden { warning } if warning.contains("nga is a veth")),
            "{tags:?}"
        );
        assert_eq!(tags[2], Tags::Seen, "it never takes a tag off");

        // After a crash nothing is forgotten.
        Offloads::apply(&["nga", "ngb"], &state).unwrap();
        assert_eq!(state.read().unwrap().unwrap().offloads, saved);
        Offloads::restore_saved(&state).unwrap();
        assert_eq!((rxvlan("nga").as_str(), rxvlan("ngb").as_str()), ("on", "off"));
        assert_eq!(state.read().unwrap().unwrap().offloads, []);
    });
}

#[test]
fn an_interface_that_is_not_managed_any_more_gets_its_setting_back() {
    in_namespace(|| async {
        sh("ip link add nga type veth peer name nga-p; ip link add ngb type veth peer name ngb-p");
        let (_dir, state) = state_dir();
        Offloads::apply(&["nga", "ngb"], &state).unwrap();
        sh("ip link del ngb; ip link add ngb type veth peer name ngb-p");
        Offloads::apply(&["ngb"], &state).unwrap();
        assert_eq!((rxvlan("nga").as_str(), rxvlan("ngb").as_str()), ("on", "off"));
        let saved = state.read().unwrap().unwrap().offloads;
        assert_eq!(saved.iter().map(|s| s.interface.as_str()).collect::<Vec<_>>(), ["ngb"]);
    });
}
