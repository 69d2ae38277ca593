//! What the kernel tells of interfaces as targets of XDP redirects, and when that changes.

use std::time::Duration;

use nat_userspace::host::features::Features;
use nat_userspace::model::interface::XdpMode;
use nat_userspace::model::path::{Device, XdpFeatures, is_redirect_target};

use crate::netns::{ifindex, in_namespace, sh};

fn is_ready(features: &Features, index: u32) -> bool {
    is_redirect_target(&Device::default(), XdpMode::Tc, features.of(index))
}

async fn until(features: &mut Features, what: &str, is: impl Fn(&Features) -> bool) {
    let settled = async {
        while !is(features) {
            features.next().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), settled).await.is_ok(), "{what}");
}

#[test]
fn a_veth_is_a_target_while_its_peer_has_gro() {
    in_namespace(|| async {
        sh("ip link add ng0 type veth peer name ng0-p; ip link set ng0 up; ip link set ng0-p up");
        let index = ifindex("ng0");
        let mut features = Features::open().await.unwrap();
        if features.of(index) == XdpFeatures::Untold {
            // Linux before 6.3.
            return;
        }
        assert!(!is_ready(&features, index), "{:?}", features.of(index));
        sh("ethtool -K ng0-p gro on");
        until(&mut features, "ready", |f| is_ready(f, index)).await;
        sh("ethtool -K ng0-p gro off");
        until(&mut features, "not ready", |f| !is_ready(f, index)).await;

        sh(
            "ip link add ng1 type veth peer name ng1-p; ip link set ng1 up; ip link set ng1-p up; ethtool -K ng1-p gro on",
        );
        let newcomer = ifindex("ng1");
        until(&mut features, "a newcomer", |f| is_ready(f, newcomer)).await;
        sh("ip link del ng1");
        until(&mut features, "gone", |f| !is_ready(f, newcomer)).await;
        // What happened while nobody listened is read at once.
        sh("ethtool -K ng0-p gro on");
        features.refresh().await.unwrap();
        assert!(is_ready(&features, index));
    });
}

#[test]
fn what_the_kernel_makes_itself_is_no_target() {
    in_namespace(|| async {
        sh("ip link add ng0 type bridge; ip link add ng1 link ng0 type macvlan; ip link set ng0 up");
        let features = Features::open().await.unwrap();
        for name in ["ng0", "ng1"] {
            let kernel_tells = features.of(ifindex(name)) != XdpFeatures::Untold;
            assert!(!kernel_tells || !is_ready(&features, ifindex(name)), "{name}");
        }
    });
}
