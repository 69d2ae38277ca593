//! The `host` modules against a real kernel, in private namespaces; needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics where it stands")]

mod bpffs;
mod features;
mod host;
mod mtus;
mod neighbours;
mod netns;
mod offloads;
mod watch;
