//! Arguments.

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
/// One process holds one NATS connection. Each guest is subscribed to the subjects in its settings, and may do only
/// what they grant.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log more: once for the host's details, twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Format of the log lines on stderr
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
  wharf run hello.wasm --subscribe 'hello.*'    one guest, with a nats-server of its own
  wharf send --request hello.world 'Good day'   send it a request
  wharf run                                     the guests of ./wharf.toml
  wharf check                                   all problems of ./wharf.toml and its components

Connection settings also come from the environment, which overrides files: NATS_SERVER, NATS_MAX_RECONNECT, \
NATS_RECONNECT_WAIT, NATS_CONNECT_TIMEOUT, NATS_DRAIN_TIMEOUT, NATS_RANDOMIZE, NATS_DEFAULT_BUCKET, NATS_PREFIX, \
NATS_CREDENTIALS, NATS_NKEY_FILE, NATS_TOKEN, NATS_USERNAME, NATS_PASSWORD, NATS_TLS_CERT, NATS_TLS_KEY, NATS_TLS_CA, \
NATS_FILTER. \
WHARF_LOG filters log lines: `info,wharf=debug`.

Exit codes: 0 success, 1 something failed or messages were abandoned, 2 the arguments or settings are wrong.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run guests until a signal stops the host
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Report every problem of the settings and the components; needs no server
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Show what a component imports and exports, and whether it is a guest
    Inspect(InspectArgs),
    /// Publish a message, or send a request and print the reply
    #[command(after_help = SEND_EXAMPLES)]
    Send(SendArgs),
    /// Upload a component to an object store, from which hosts load it as nats://BUCKET/NAME
    #[command(after_help = PUSH_EXAMPLES)]
    Push(PushArgs),
    /// List the running hosts
    Hosts(HostsArgs),
    /// List and change the guests of hosts that have `[admin] enabled = true`
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
  wharf run hello.wasm --subscribe 'hello.*' --watch      replace the guest after each build

If no server is named, wharf starts a nats-server of its own on a free loopback port, with JetStream and its data in \
./.wharf, and stops it last. It finds nats-server in $WHARF_NATS_SERVER, then in PATH.

SIGHUP: read the settings and the components again, then load, replace and unload guests to match them, without losing \
a message. If anything is wrong, nothing changes. Settings outside of [guests] need a restart.

SIGTERM or SIGINT (Ctrl-C): take no new messages, handle those that have arrived, report how many, exit. A second \
signal exits at once.";

const CHECK_EXAMPLES: &str = "\
Examples:
  wharf check
  wharf check --config prod.toml --json | jq -r '.problems[].message'";

const PUSH_EXAMPLES: &str = "\
Examples:
  wharf push quakes.wasm nats://plugins/quakes.wasm
  wharf run nats://plugins/quakes.wasm --subscribe 'quakes.*' --watch      run it, and later versions

Creates the object store if there is none. Refuses a component that is no guest. Every host that runs the object with \
--watch brings the new version into service. Prints the digest.

The server is found as `wharf send` finds it.";

const SEND_EXAMPLES: &str = "\
Examples:
  wharf send orders.new '{\"id\": 1}'
  wharf send --request hello.world 'Good day' --timeout 2s
  generate | wharf send orders.bulk -
  wharf send orders.new '{}' --header Trace:42 --server nats://127.0.0.1:4222

The server comes from --server, the environment, --settings or the configuration file. If none of them names one, it \
is the server that a `wharf run` in this directory has started, or nats://127.0.0.1:4222.";

const GUESTS_EXAMPLES: &str = "\
Examples:
  wharf guests list                                     of all hosts
  wharf guests show orders --host prod-1
  wharf guests load orders orders.toml --host prod-1    with the settings of [guests.orders]
  echo 'component = \"/srv/b.wasm\"' | wharf guests replace orders - --host prod-1
  wharf guests unload orders --host prod-1
  wharf guests promote orders --host prod-1             put its canary into service
  wharf guests abort orders --host prod-1               end its canary

Paths in the settings are paths on the host. --host may be left out if only one host takes orders.";

/// Sources of settings.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// The configuration file [default: wharf.toml, if it exists]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// A settings file of the Go connector, with lines NATS.SERVER=nats://…; overrides the configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,

    /// The server, or several with commas between them; overrides all else
    #[arg(short, long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,

    /// Run this one component, a file or nats://BUCKET/NAME, with the grants given here, instead of the guests of a
    /// configuration file
    #[arg(value_name = "FILE.wasm", value_parser = parse_component, conflicts_with = "config")]
    pub(crate) component: Option<ComponentSource>,

    /// Watch the configuration file and the components, and apply changes as SIGHUP does
    #[arg(long)]
    pub(crate) watch: bool,

    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}

/// The settings of a guest that has no file.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "With FILE.wasm")]
pub(crate) struct GuestArgs {
    /// Subject to subscribe the guest to; may be given several times
    #[arg(long, value_name = "SUBJECT", requires = "component", value_parser = parse_subscription)]
    pub(crate) subscribe: Vec<SubscriptionSettings>,

    /// Queue group; hosts that name the same one share the messages
    #[arg(long, value_name = "GROUP", requires = "subscribe", value_parser = parse_queue)]
    pub(crate) queue: Option<String>,

    /// Subject that the guest may publish on
    #[arg(long, value_name = "SUBJECT", requires = "component", value_parser = parse_grant)]
    pub(crate) publish: Vec<SubjectGrant>,

    /// Subject that the guest may send requests to
    #[arg(long, value_name = "SUBJECT", requires = "component", value_parser = parse_grant)]
    pub(crate) request: Vec<SubjectGrant>,

    /// Subject that the guest may subscribe itself to
    #[arg(long, value_name = "SUBJECT", requires = "component", value_parser = parse_grant)]
    pub(crate) may_subscribe: Vec<SubjectGrant>,

    /// Bucket that the guest may use; with `:read`, only read
    #[arg(long, value_name = "BUCKET[:read]", requires = "component", value_parser = parse_bucket_grant)]
    pub(crate) bucket: Vec<(String, BucketAccess)>,

    /// Setting that the guest reads through wasi:config
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

    /// The payload; `-` reads it from stdin; empty if left out
    #[arg(allow_hyphen_values = true)]
    pub(crate) payload: Option<String>,

    /// Wait for a reply, and print it
    #[arg(short, long)]
    pub(crate) request: bool,

    /// Time that the server may take, and with --request the reply
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// A header; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE", value_parser = parse_header)]
    pub(crate) headers: Vec<(String, String)>,

    /// Print the result, and the reply, as JSON
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

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HostsArgs {
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// Options of questions and orders to hosts.
#[derive(Debug, clap::Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,

    /// Time that hosts may take to answer
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
    /// Show a guest's grants, limits and counts
    Show(OneGuestArgs),
    /// Load a guest
    Load(ChangeArgs),
    /// Replace a guest by another version, or give it other settings
    Replace(ChangeArgs),
    /// Drain a guest and unload it
    Unload(OneGuestArgs),
    /// Put a guest's canary into service, in place of the current version
    Promote(OneGuestArgs),
    /// End a guest's canary; the current version handles its messages
    Abort(OneGuestArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only the guests of this host
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

    /// The host; may be left out if only one takes orders
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

    /// The settings under [guests.NAME] in a wharf.toml, without that line; `-` reads them from stdin
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: PathBuf,

    /// The host; may be left out if only one takes orders
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
