//! The command line as typed. Types and their texts only; help, man page and completions come from here.

use std::net::Ipv4Addr;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;
use nat_common::Proto;
use nat_common::tcp::State;

use super::instance::Instance;
use crate::config::flags::GatewayFlags;
use crate::config::value::{Prefix, ValueError};
use crate::model::filter::{Filter, Sort};

/// A NAT gateway in XDP: hosts inside reach the internet through Elastic IPs, nothing outside reaches them.
#[derive(Debug, Parser)]
#[command(name = "natgw", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Which gateway.
    #[command(flatten)]
    pub instance: Instance,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a gateway in the foreground until SIGTERM or Ctrl-C; SIGHUP makes it read its configuration again
    Run(RunArgs),
    /// Validate a configuration and print what it means on this host
    Check(GatewayFlags),
    /// Show whether a gateway is up, its interfaces, EIPs, load and faults
    Status(Output),
    /// List the flows, or delete some
    Flows(FlowsArgs),
    /// Show the counters
    Stats(StatsArgs),
    /// Show the Elastic IPs
    #[command(subcommand)]
    Eip(EipVerb),
    /// Say whether this host is fit for a gateway, and what to do where it is not
    Doctor(DoctorArgs),
    /// Take the data plane down
    Detach(DetachArgs),
    /// Print a completion script for a shell
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
}

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `natgw run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What gateway.
    #[command(flatten)]
    pub gateway: GatewayFlags,
    /// Leave the data plane up when the daemon stops; the next start adopts it
    #[arg(long)]
    pub persist: bool,
    /// What to log
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// How to log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Log what the packet path's slow path does, at level debug; without this it is not even in the program
    #[arg(long)]
    pub bpf_log: bool,
}

/// `natgw doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// What gateway is to run here; without it, only the host is looked at.
    #[command(flatten)]
    pub gateway: GatewayFlags,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Levels of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What went wrong.
    Error,
    /// That, and what may go wrong.
    Warn,
    /// That, and what happens.
    Info,
    /// That, and why it happens.
    Debug,
    /// That, and every step.
    Trace,
}

/// Shapes of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people and journald.
    Text,
    /// One JSON object a line.
    Json,
}

/// `natgw flows`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FlowsArgs {
    /// Instead of listing.
    #[command(subcommand)]
    pub action: Option<FlowsAction>,
    /// Which flows.
    #[command(flatten)]
    pub filter: FilterFlags,
    /// Order: by age or idle time (longest first), packets or bytes (most first)
    #[arg(long, value_enum, value_name = "FIELD")]
    pub sort: Option<Sort>,
    /// Print at most N flows
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Print only how many there are
    #[arg(long)]
    pub count: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `natgw flows <action>`.
#[derive(Debug, Subcommand)]
pub enum FlowsAction {
    /// Delete the flows that match: at least one filter, or --all
    Delete {
        /// Which flows.
        #[command(flatten)]
        filter: FilterFlags,
        /// Delete every flow
        #[arg(long)]
        all: bool,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

/// Which flows. All that is given must hold.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Filters")]
pub struct FilterFlags {
    /// Inside host, address or prefix
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub src: Option<Ipv4Net>,
    /// Remote host, address or prefix
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub dst: Option<Ipv4Net>,
    /// Protocol
    #[arg(long, value_name = "PROTO", value_parser = proto())]
    pub proto: Option<Proto>,
    /// Elastic IP
    #[arg(long, value_name = "ADDR")]
    pub eip: Option<Ipv4Addr>,
    /// Port (ICMP: identifier) of the inside host
    #[arg(long, value_name = "N")]
    pub sport: Option<u16>,
    /// Port of the remote host
    #[arg(long, value_name = "N")]
    pub dport: Option<u16>,
    /// State
    #[arg(long, value_name = "STATE", value_parser = state())]
    pub state: Option<State>,
}

impl FilterFlags {
    /// What was asked for.
    pub fn filter(&self) -> Filter {
        let Self { src, dst, proto, eip, sport, dport, state } = *self;
        Filter { src, dst, proto, eip, sport, dport, state }
    }
}

/// `natgw stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Print again every second, with rates
    #[arg(long)]
    pub watch: bool,
}

/// `natgw eip <verb>`.
#[derive(Debug, Subcommand)]
pub enum EipVerb {
    /// List the EIPs with their ports and flows
    List(Output),
}

/// `natgw detach`.
#[derive(Clone, Copy, Debug, Args)]
pub struct DetachArgs {
    /// Remove the state directory even if natgw did not make it
    #[arg(long)]
    pub purge: bool,
}

fn prefix(text: &str) -> Result<Ipv4Net, ValueError> {
    text.parse::<Prefix>().map(|p| p.0)
}

fn proto() -> impl clap::builder::TypedValueParser<Value = Proto> {
    PossibleValuesParser::new(Proto::ALL.map(Proto::name))
        .try_map(|name| Proto::ALL.into_iter().find(|p| p.name() == name).ok_or("no such protocol"))
}

fn state() -> impl clap::builder::TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::name))
        .try_map(|name| State::ALL.into_iter().find(|s| s.name() == name).ok_or("no such state"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flows_takes_filters_or_delete_with_filters() {
        let cli = Cli::try_parse_from(["natgw", "flows", "--src", "10.0.0.2", "--proto", "tcp", "--json"]);
        let Verb::Flows(flows) = cli.expect("valid").verb else { panic!("flows") };
        assert_eq!(flows.filter.src, Some("10.0.0.2/32".parse().expect("prefix")));
        assert_eq!(flows.filter.proto, Some(Proto::Tcp));
        let cli = Cli::try_parse_from(["natgw", "flows", "delete", "--state", "closed", "--state-dir", "/x"]);
        let cli = cli.expect("valid");
        assert_eq!(cli.instance.state_dir, PathBuf::from("/x"));
        let Verb::Flows(FlowsArgs { action: Some(FlowsAction::Delete { filter, all, .. }), .. }) = cli.verb
        else {
            panic!("delete")
        };
        assert_eq!((filter.filter().state, all), (Some(State::Closed), false));
    }

    #[test]
    fn wrong_values_name_their_flag() {
        for args in [
            ["--ports", "2000-1000"],
            ["--eip", "203.0.113.17/29"],
            ["--source", "10.0.0.0/33"],
            ["--timeout", "udp=0s"],
            ["--timeout", "sctp=5m"],
            ["--mode", "endpoint-independent"],
            ["--metrics", "9464"],
        ] {
            let error = Cli::try_parse_from(["natgw", "run", args[0], args[1]]).expect_err(args[1]);
            assert!(error.to_string().contains(args[0]), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn verbs_of_later_versions_are_not_offered() {
        for verb in ["reload", "forward", "top", "trace"] {
            assert!(Cli::try_parse_from(["natgw", verb]).is_err(), "{verb}");
        }
    }
}
