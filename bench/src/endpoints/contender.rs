//! A lane with its gateway configured and running.

use anyhow::{Context as _, Result, bail, ensure};
use nat_tests::lab::gateway::{Gateway, Options, Place};
use nat_tests::lab::session::Session;
use serde_json::Value;

use super::lane::{Kind, Lane};
use crate::conntrack::{connections, flush};
use crate::cores;
use crate::nft::Ruleset;

/// How large natgw's table is and how it ages.
#[derive(Clone, Debug)]
pub struct Table {
    /// Flows that it takes.
    pub flows: u32,
    /// Further arguments of `natgw run`.
    pub arguments: Vec<String>,
}

/// A gateway at work in its lane.
#[derive(Debug)]
pub struct Contender<'a> {
    /// Its lane.
    pub lane: &'a Lane,
    /// natgw's daemon, where natgw is the gateway.
    pub natgw: Option<Gateway<'a>>,
    place: Place<'a>,
    options: Options,
}

impl<'a> Contender<'a> {
    /// Configures or starts the lane's gateway.
    pub fn start(session: &Session, lane: &'a Lane, table: &Table) -> Result<Self> {
        let mut extra = vec!["--xdp".to_owned(), "native".to_owned()];
        extra.extend(["--max-flows".to_owned(), table.flows.to_string()]);
        extra.extend(table.arguments.iter().cloned());
        let options = Options { extra, ..Options::one_eip() };
        let place = Place {
            ns: &lane.gw,
            dir: session.dir().to_owned(),
            state: session.dir().join("state"),
            bpffs: session.bpffs()?.join("natgw"),
            inside: vec!["in0".to_owned()],
            outside: vec!["out0".to_owned()],
        };
        let mut contender = Self { lane, natgw: None, place, options };
        match lane.kind {
            Kind::Natgw => contender.start_natgw()?,
            Kind::Nft => {
                lane.gw.sysctl("net.ipv4.ip_forward", "1")?;
                Ruleset { inside: "in0", outside: "out0" }.apply(&lane.gw)?;
            }
            Kind::Kernel => lane.gw.sysctl("net.ipv4.ip_forward", "1")?,
        }
        Ok(contender)
    }

    /// Starts natgw; with `--persist` among its arguments and its data plane still up, it adopts that.
    pub fn start_natgw(&mut self) -> Result<()> {
        self.natgw = Some(Gateway::start_at(&self.place, &self.options)?);
        Ok(())
    }

    /// The natgw of this lane.
    pub fn natgw(&self) -> Result<&Gateway<'a>> {
        self.natgw.as_ref().context("this lane's gateway is not natgw")
    }

    /// `natgw stats --json`; `None` for the others.
    pub fn stats(&self) -> Result<Option<Value>> {
        self.natgw.as_ref().map(Gateway::stats).transpose()
    }

    /// Flows that it holds; `None` for the one that holds none.
    pub fn flows(&self) -> Result<Option<u64>> {
        Ok(match self.lane.kind {
            Kind::Natgw => {
                let stats = self.natgw()?.stats()?;
                let flows = stats["flows"].as_object().context("natgw stats --json has no flows")?;
                Some(flows.iter().filter(|(k, _)| *k != "capacity").filter_map(|(_, v)| v.as_u64()).sum())
            }
            Kind::Nft => Some(connections(&self.lane.gw)?),
            Kind::Kernel => None,
        })
    }

    /// Forgets every flow.
    pub fn forget(&self) -> Result<()> {
        match self.lane.kind {
            Kind::Natgw => drop(self.natgw()?.say(&["flows", "delete", "--all"])?),
            Kind::Nft => flush(&self.lane.gw)?,
            Kind::Kernel => return Ok(()),
        }
        let left = self.flows()?.unwrap_or_default();
        ensure!(left < 100, "{}: {left} flows are left after deleting all", self.lane.kind.title());
        Ok(())
    }

    /// Gives the gateway's work a core to itself; returns the threads that do it.
    pub fn pin(&self, cpu: usize) -> Result<Vec<i32>> {
        let mut threads = Vec::new();
        for device in ["in0", "out0"] {
            threads.extend(cores::thread_napi(&self.lane.gw, device, cpu)?);
        }
        Ok(threads)
    }

    /// An error unless natgw runs in the mode that was asked for and drops nothing that it should forward.
    pub fn check_drops(&self) -> Result<()> {
        let Some(stats) = self.stats()? else { return Ok(()) };
        for (reason, count) in stats["drops"].as_object().context("natgw stats --json has no drops")? {
            if count.as_u64() != Some(0) && reason != "unsolicited_inbound" && reason != "no_flow" {
                bail!("natgw dropped {count} packets ({reason}): this is not what was to be measured");
            }
        }
        Ok(())
    }
}
