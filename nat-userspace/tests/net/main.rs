//! The `net` modules against a real kernel, in private namespaces; needs root.

mod bpffs;
mod host;
mod neighbours;
mod netns;
mod watch;
