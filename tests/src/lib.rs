//! The lab (namespaces, veths, real servers and clients), the packet builders, and the fixtures' harness.

pub mod demo;
pub mod fixture;
pub mod lab;
pub mod packet;
pub mod report;
pub mod stack;
