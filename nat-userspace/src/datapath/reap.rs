//! Driving the reaper: the BPF program through which flows end.

use aya::programs::xdp::Xdp;
use aya::programs::{TestRun as _, TestRunOptions};
use aya_obj::programs::XdpAttachType;
use nat_common::Tuple;
use nat_common::abi::program;
use nat_common::reap::{REAP_BATCH, ReapAction, ReapRecord, ReapResult};

use super::error::Error;
use super::pins::{self, Pins};

/// The pinned reaper. Several processes may run it at once.
pub struct Reaper {
    program: Xdp,
}

impl Reaper {
    /// Opens the pinned program.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let path = pins.program(program::REAPER);
        if !path.exists() {
            return Err(Error::NotUp { dir: pins.dir().to_owned() });
        }
        pins::expect(&path, pins::PROGRAM)?;
        let program = Xdp::from_pin(&path, XdpAttachType::Interface)
            .map_err(Error::program(format!("cannot open {}", path.display())))?;
        Ok(Self { program })
    }

    /// Runs the reaper over all records, in as many calls as it takes, and annotates them.
    pub fn run(&self, records: &mut [ReapRecord]) -> Result<(), Error> {
        let mut out = [0u8; REAP_BATCH * size_of::<ReapRecord>()];
        for batch in records.chunks_mut(REAP_BATCH) {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(batch);
            let options = TestRunOptions {
                data_in: Some(bytes),
                data_out: Some(&mut out[..bytes.len()]),
                ..TestRunOptions::new()
            };
            self.program.test_run(options).map_err(Error::program("cannot run the reaper"))?;
            bytes.copy_from_slice(&out[..bytes.len()]);
        }
        Ok(())
    }
}

/// A record that asks for `action` on the flow that has `key` on either side.
pub fn record(key: Tuple, action: ReapAction) -> ReapRecord {
    ReapRecord { key, action: action as u32, ..bytemuck::Zeroable::zeroed() }
}

/// What the reaper did with a record.
pub fn result(record: &ReapRecord) -> ReapResult {
    ReapResult::from_number(record.result)
}
