//! What runs beside the owner of the gateway: each service watches or reads one thing.

pub(super) mod collector;
pub(super) mod episode;
pub(super) mod events;
pub(super) mod health;
pub(super) mod metrics;
pub(super) mod mtus;
pub(super) mod neighbours;
pub(super) mod wait;
