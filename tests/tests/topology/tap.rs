//! A virtual machine's card is a TAP device of the host.

use nat_tests::lab::relay::{Kind, Relay};

use crate::ground::{Ground, paths};
use crate::traffic::works;

/// The machine `vm` on `tap0` of the gateway, which is no bridge's port.
pub(crate) fn machine() -> (Ground, Relay) {
    let ground = Ground::new(&["vm"]);
    let relay =
        Relay::start(Kind::Machine, (ground.node("gw"), "tap0"), (ground.node("vm"), "eth0")).unwrap();
    ground.ip("gw", "link set tap0 up");
    ground.ip("vm", "link set eth0 up");
    ground.inside_by("tap0");
    ground.host_by("vm", "eth0", 10);
    (ground, relay)
}

#[test]
fn a_virtual_machine_whose_card_computes_checksums_and_segments() {
    let (ground, _relay) = machine();
    ground.outside_wire();
    let gateway = ground.gateway(&["tap0"], &["out0"]);
    assert_eq!(paths(&gateway), ["tap0: tc", "out0: tc"]);
    works(&ground, &gateway, &["vm"]);
}
