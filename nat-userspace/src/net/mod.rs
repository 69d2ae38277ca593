//! The only place that touches the host: netlink, addresses, neighbours, sysctls, bpffs, the state directory.

pub mod facts;
