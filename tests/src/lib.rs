//! The lab and the packet builders.
