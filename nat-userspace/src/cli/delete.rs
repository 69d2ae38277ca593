//! `natgw flows delete`: ends flows with the reaper, in the two steps that keep the packet path safe.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use nat_common::Tuple;
use nat_common::reap::{REAP_BATCH, ReapAction, ReapRecord, ReapResult};
use nat_common::stamp::DELETE_AFTER;

use super::args::{Cli, Output};
use super::instance::Instance;
use crate::datapath::reap::{self, Reaper};
use crate::model::filter::Filter;
use crate::observe::matches::for_each_match;

/// How long to insist on flows that are not deleted yet.
const PATIENCE: Duration = Duration::from_millis(DELETE_AFTER.ms() + 5_000);

/// Between attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Deletes the flows that match; says how many.
pub fn run(
    instance: &Instance,
    filter: &Filter,
    all: bool,
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if filter.is_empty() && !all {
        let message = "flows delete needs at least one filter, or --all for every flow";
        return Err(Cli::command().error(ErrorKind::MissingRequiredArgument, message).into());
    }
    let inspect = instance.open()?;
    let mut keys = Vec::new();
    for_each_match(&inspect, filter, &mut |flow, _| {
        keys.push(flow.key);
        Ok(())
    })?;
    let deleted = delete(&inspect.reaper()?, &keys)?;
    if output.json {
        serde_json::to_writer(&mut *out, &serde_json::json!({ "deleted": deleted }))?;
        writeln!(out)?;
    } else {
        writeln!(out, "{deleted} {} deleted", if deleted == 1 { "flow" } else { "flows" })?;
    }
    Ok(())
}

fn delete(reaper: &Reaper, keys: &[Tuple]) -> anyhow::Result<u64> {
    let mut pending = Vec::new();
    reap_all(reaper, keys, ReapAction::CondemnForced, |key, result| {
        if result == ReapResult::Condemned {
            pending.push(key);
        }
    })?;
    let condemned = pending.len() as u64;
    let deadline = Instant::now() + PATIENCE;
    if !pending.is_empty() {
        std::thread::sleep(Duration::from_millis(DELETE_AFTER.ms()));
    }
    // A flow that is gone was condemned here and deleted by the daemon's collector: it counts.
    while !pending.is_empty() {
        let mut left = Vec::new();
        reap_all(reaper, &pending, ReapAction::Delete, |key, result| {
            if !matches!(result, ReapResult::Deleted | ReapResult::Gone) {
                left.push(key);
            }
        })?;
        pending = left;
        if pending.is_empty() || Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    if !pending.is_empty() {
        // Condemned for good: no packet uses them any more, and the daemon's collector will find them.
        tracing::warn!("{} flows are dead but still take room in the table", pending.len());
    }
    Ok(condemned)
}

fn reap_all(
    reaper: &Reaper,
    keys: &[Tuple],
    action: ReapAction,
    mut each: impl FnMut(Tuple, ReapResult),
) -> anyhow::Result<()> {
    for batch in keys.chunks(REAP_BATCH) {
        let mut records: Vec<ReapRecord> = batch.iter().map(|key| reap::record(*key, action)).collect();
        reaper.run(&mut records)?;
        for record in &records {
            each(record.key, reap::result(record));
        }
    }
    Ok(())
}
