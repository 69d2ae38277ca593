//! EIPs and the links that they belong to.

use super::*;

/// A gateway with two uplinks, eth0 (203.0.113.2/24) and eth2 (192.168.7.1/24).
fn two_uplinks(pools: &str) -> String {
    format!("[interfaces]\ninside = [\"eth1\"]\noutside = [\"eth0\", \"eth2\"]\n{pools}")
}

#[test]
fn an_eip_belongs_to_the_link_that_its_pool_names_or_that_has_its_network() {
    let links = |text: &str| -> Vec<Option<String>> {
        let gateway = resolve(text, &[]).expect(text);
        gateway.pools.iter().flat_map(|p| &p.eips).map(|e| e.outside.clone()).collect()
    };
    let pool = |key: &str| {
        format!(
            "[[pool]]\neips = [\"203.0.113.9\", \"192.168.7.1\", \"198.51.100.7\"]\nsources = [\"10.0.0.0/24\"]\n{key}"
        )
    };
    let (eth0, eth2) = (Some("eth0".to_owned()), Some("eth2".to_owned()));
    assert_eq!(links(&two_uplinks(&pool(""))), [eth0.clone(), eth2.clone(), None]);
    assert_eq!(links(&two_uplinks(&pool("outside = \"eth2\"\n"))), [eth2.clone(), eth2.clone(), eth2]);
    assert_eq!(links(&two_uplinks(&pool("outside = \"any\"\n"))), [None, None, None]);
    // Where there is one link there is nothing to belong to.
    let one = "[interfaces]\ninside = [\"eth1\"]\noutside = [\"eth0\"]\n";
    assert_eq!(links(&format!("{one}{}", pool("outside = \"eth0\"\n"))), [None, None, None]);
    for key in ["", "outside = \"eth2\"\n", "outside = \"any\"\n"] {
        let gateway = resolve(&two_uplinks(&pool(key)), &[]).expect("valid");
        let printed = to_toml(&gateway);
        assert_eq!(resolve(&printed, &[]).expect(&printed), gateway, "{printed}");
    }
    let printed = to_toml(&resolve(&two_uplinks(&pool("")), &[]).expect("valid"));
    assert!(printed.contains("# 203.0.113.9 belongs to eth0: it leaves by no other interface"), "{printed}");
}

#[test]
fn a_pool_leaves_by_an_outside_interface_only() {
    let pool = |outside: &str| {
        format!(
            "[[pool]]\nname = \"a\"\neips = [\"203.0.113.9\"]\nsources = [\"10.0.0.0/24\"]\noutside = \"{outside}\"\n"
        )
    };
    for name in ["eth1", "wg0", "eth9"] {
        let text = refusal(&two_uplinks(&pool(name)));
        for part in ["natgw.toml line 8, pool.outside", "pool \"a\"", &format!("\"{name}\""), "eth0, eth2"] {
            assert!(text.contains(part), "{text} does not say {part}");
        }
    }
}
