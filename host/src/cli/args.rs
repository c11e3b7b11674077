//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use wharf::config::{
    BucketAccess, ComponentSource, SubjectGrant, SubscriptionSettings, parse_bucket_grant,
    parse_duration, parse_grant, parse_guest_name, parse_host_name, parse_object, parse_queue,
    parse_subscription,
};

/// Runs sandboxed WebAssembly message handlers, guests, on NATS.
///
/// One process holds one NATS connection. Each guest is subscribed to what its settings say, and may do only what they
/// grant.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log more: once for the host's details, twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// How log lines are written to stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,
}

const EXAMPLES: &str = "\
Examples:
  wharf run hello.wasm --subscribe 'hello.*'    a guest, and a nats-server of its own to try it on
  wharf send --request hello.world 'Good day'   ask it something
  wharf run                                     the guests of ./wharf.toml
  wharf check                                   what is wrong with ./wharf.toml and its components

Connection settings also come from the environment and win over files: NATS_SERVER, NATS_MAX_RECONNECT, \
NATS_RECONNECT_WAIT, NATS_CONNECT_TIMEOUT, NATS_DRAIN_TIMEOUT, NATS_RANDOMIZE, NATS_DEFAULT_BUCKET, NATS_PREFIX, \
NATS_CREDENTIALS, NATS_NKEY_FILE, NATS_TOKEN, NATS_USERNAME, NATS_PASSWORD, NATS_TLS_CERT, NATS_TLS_KEY, NATS_TLS_CA. \
WHARF_LOG sets what is logged, such as `info,wharf=debug`.

Exit codes: 0 all was done, 1 something failed or was abandoned, 2 arguments or settings are wrong.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run guests until a signal comes
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Say everything that is wrong with the settings and the components; needs no server
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Say what a component imports and exports, and whether it is a guest
    Inspect(InspectArgs),
    /// Publish a message, or send a request and print the reply
    #[command(after_help = SEND_EXAMPLES)]
    Send(SendArgs),
    /// Put a component into an object store, from where hosts take it as nats://BUCKET/NAME
    #[command(after_help = PUSH_EXAMPLES)]
    Push(PushArgs),
    /// List the hosts that run
    Hosts(HostsArgs),
    /// See and change what hosts run that have `[admin] enabled = true`
    #[command(subcommand, after_help = GUESTS_EXAMPLES)]
    Guests(GuestsCommand),
}

const RUN_EXAMPLES: &str = "\
Examples:
  wharf run                                     the guests of ./wharf.toml
  wharf run --config /etc/wharf/prod.toml       those of another file
  wharf run --settings nats.properties          connect as the Go connector does, with its file
  wharf run hello.wasm --subscribe 'hello.*'    one guest, without a file
  wharf run hello.wasm --subscribe 'orders.*' --queue workers --bucket orders:read
  wharf run hello.wasm --subscribe 'hello.*' --watch      replace the guest whenever it was built again

Where nothing names a server, wharf starts a nats-server of its own on a free loopback port, with JetStream, keeps its \
data in ./.wharf and stops it last. It finds nats-server in $WHARF_NATS_SERVER, then in PATH.

SIGHUP: read the settings and the components again, and load, replace and unload guests so that they are as the files say, \
without losing a message. Where anything is wrong, nothing changes. What is not a guest's needs a restart.

SIGTERM or SIGINT (Ctrl-C): take no new messages, handle those that have arrived, say what became of them, end. A second \
signal ends at once.";

const CHECK_EXAMPLES: &str = "\
Examples:
  wharf check
  wharf check --config prod.toml --json | jq -r '.problems[].message'";

const PUSH_EXAMPLES: &str = "\
Examples:
  wharf push quakes.wasm nats://plugins/quakes.wasm
  wharf run nats://plugins/quakes.wasm --subscribe 'quakes.*' --watch      runs it, and what is pushed after it

Makes the object store where there is none. What is no guest is not pushed. Every host that runs the object with --watch \
brings the new version into service. Prints the digest.

The server is found as `wharf send` finds it.";

const SEND_EXAMPLES: &str = "\
Examples:
  wharf send orders.new '{\"id\": 1}'
  wharf send --request hello.world 'Good day' --timeout 2s
  generate | wharf send orders.bulk -
  wharf send orders.new '{}' --header Trace:42 --server nats://127.0.0.1:4222

The server is the one of --server, the environment, --settings or the configuration file. Where none of them names one, \
it is the server that a `wharf run` in this directory has started, or nats://127.0.0.1:4222.";

const GUESTS_EXAMPLES: &str = "\
Examples:
  wharf guests list                                        of all hosts
  wharf guests show orders --host prod-1
  wharf guests load orders orders.toml --host prod-1       it has what stands under [guests.orders] in a wharf.toml
  echo 'component = \"/srv/b.wasm\"' | wharf guests replace orders - --host prod-1
  wharf guests unload orders --host prod-1
  wharf guests promote orders --host prod-1                its canary takes over; `abort` ends the canary instead

Paths in the settings are the host's. --host may be left out where only one host takes orders.";

/// Where settings come from.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// The configuration file [default: wharf.toml, where there is one]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// A settings file of the Go connector, with lines of NATS.SERVER=nats://…; wins over the configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,

    /// The server, or several with commas between them; wins over all else
    #[arg(short, long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,

    /// Run this one component, a file or nats://BUCKET/NAME, with the grants given here, instead of the guests of a configuration file
    #[arg(value_name = "FILE.wasm", value_parser = parse_component, conflicts_with = "config")]
    pub(crate) component: Option<ComponentSource>,

    /// Follow the configuration file and the components, and apply what has changed as SIGHUP does
    #[arg(long)]
    pub(crate) watch: bool,

    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}

/// The settings of a guest that has no file.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "With FILE.wasm")]
pub(crate) struct GuestArgs {
    /// Subscribe the guest to this; may be given several times
    #[arg(long, value_name = "SUBJECT", requires = "component", value_parser = parse_subscription)]
    pub(crate) subscribe: Vec<SubscriptionSettings>,

    /// Share its messages with all hosts that name the same queue group
    #[arg(long, value_name = "GROUP", requires = "subscribe", value_parser = parse_queue)]
    pub(crate) queue: Option<String>,

    /// Let it publish on this
    #[arg(long, value_name = "SUBJECT", requires = "component", value_parser = parse_grant)]
    pub(crate) publish: Vec<SubjectGrant>,

    /// Let it send requests to this
    #[arg(long, value_name = "SUBJECT", requires = "component", value_parser = parse_grant)]
    pub(crate) request: Vec<SubjectGrant>,

    /// Let it subscribe itself to this
    #[arg(long, value_name = "SUBJECT", requires = "component", value_parser = parse_grant)]
    pub(crate) may_subscribe: Vec<SubjectGrant>,

    /// Let it use this bucket; with `:read`, only read it
    #[arg(long, value_name = "BUCKET[:read]", requires = "component", value_parser = parse_bucket_grant)]
    pub(crate) bucket: Vec<(String, BucketAccess)>,

    /// Give it this setting, to be read through wasi:config
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "component", value_parser = parse_setting)]
    pub(crate) set: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub(crate) component: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,

    /// The subject, as it is: no prefix is put before it
    pub(crate) subject: String,

    /// The payload; `-` reads it from stdin. Left out, it is empty
    #[arg(allow_hyphen_values = true)]
    pub(crate) payload: Option<String>,

    /// Wait for a reply, and print it
    #[arg(short, long)]
    pub(crate) request: bool,

    /// How long the server, and the replier with --request, may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// A header; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE", value_parser = parse_header)]
    pub(crate) headers: Vec<(String, String)>,

    /// Print what was done, and the reply, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,

    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub(crate) component: PathBuf,

    /// The object store and the name in it
    #[arg(value_name = "nats://BUCKET/NAME", value_parser = parse_object)]
    pub(crate) object: (String, String),

    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HostsArgs {
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// How hosts are asked.
#[derive(Debug, clap::Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,

    /// How long hosts may take to answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_component(text: &str) -> Result<ComponentSource, String> {
    text.parse()
}

#[derive(Debug, Subcommand)]
pub(crate) enum GuestsCommand {
    /// List the guests
    List(ListArgs),
    /// Say what a guest may do, and what has happened to it
    Show(OneGuestArgs),
    /// Load a guest
    Load(ChangeArgs),
    /// Replace a guest by another version of it, or give it other settings
    Replace(ChangeArgs),
    /// Drain a guest and take it out of service
    Unload(OneGuestArgs),
    /// Put a guest's canary into service, in place of the version that is
    Promote(OneGuestArgs),
    /// End a guest's canary
    Abort(OneGuestArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only those of this host
    #[arg(long, value_name = "NAME", value_parser = parse_host_name)]
    pub(crate) host: Option<String>,

    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OneGuestArgs {
    /// The guest
    #[arg(value_parser = parse_guest_name)]
    pub(crate) guest: String,

    /// The host; may be left out where only one takes orders
    #[arg(long, value_name = "NAME", value_parser = parse_host_name)]
    pub(crate) host: Option<String>,

    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ChangeArgs {
    /// The guest
    #[arg(value_parser = parse_guest_name)]
    pub(crate) guest: String,

    /// What could stand under [guests.NAME] in a wharf.toml, without that line; `-` reads it from stdin
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: PathBuf,

    /// The host; may be left out where only one takes orders
    #[arg(long, value_name = "NAME", value_parser = parse_host_name)]
    pub(crate) host: Option<String>,

    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME:VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    match key {
        "" => Err("expected KEY=VALUE".to_owned()),
        _ if key.starts_with("wharf.") => {
            Err("keys that begin with \"wharf.\" are the host's".to_owned())
        }
        _ => Ok((key.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        super::Args::command().debug_assert();
    }
}
