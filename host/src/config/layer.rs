//! The settings of the connection as one of the three ways in gives them, and how the three become one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::connection_settings::{
    Auth, ConnectionSettings, FilterMode, Secret, Servers, TlsSettings,
};
use super::parse;
use super::problem::{Location, Problems};
use super::server_url::parse_servers;
use super::value::{Table, Value};
use crate::protocol::subject;

/// A setting and its location.
#[derive(Debug, Clone)]
struct Located<T> {
    /// The setting's value, which has been read without a problem.
    value: T,
    /// The place that a message names if the value does not fit the other settings.
    location: Location,
}

/// The settings that one way in gives; `None` is for what it does not say.
#[derive(Default)]
pub(super) struct Layer {
    /// URLs of the servers. If no layer has any, the host starts a nats-server of its own.
    servers: Option<Located<Vec<String>>>,
    /// The most passes over the servers after a connection was lost. The inner `None` is unlimited.
    max_reconnect: Option<Located<Option<u32>>>,
    /// The wait between two passes over the servers.
    reconnect_wait: Option<Located<Duration>>,
    /// The time that one server has to complete a handshake.
    connect_timeout: Option<Located<Duration>>,
    /// The time that a stop may take before it abandons the rest.
    drain_timeout: Option<Located<Duration>>,
    /// True if the servers are tried in random order.
    randomize: Option<Located<bool>>,
    /// The bucket of calls that name none.
    default_bucket: Option<Located<String>>,
    /// The text before every subject, unless a call or a guest says otherwise.
    prefix: Option<Located<String>>,
    /// A `.creds` file to authenticate with. No other way is used beside it.
    credentials: Option<Located<PathBuf>>,
    /// A file with an NKey user seed, used if there are no credentials.
    nkey_file: Option<Located<PathBuf>>,
    /// A token to authenticate with, used if there is neither of the two files.
    token: Option<Located<Secret>>,
    /// A user's name, used with the password if there is no file and no token.
    username: Option<Located<String>>,
    /// The password of the user, used if there is no file and no token.
    password: Option<Located<Secret>>,
    /// The PEM file of the client's certificate, which takes its key beside it.
    tls_cert: Option<Located<PathBuf>>,
    /// The PEM file of the key of the client's certificate.
    tls_key: Option<Located<PathBuf>>,
    /// The PEM file of authorities that may have signed the server's certificate, instead of the system's.
    tls_ca: Option<Located<PathBuf>>,
    /// The use of the filter for malformed messages.
    filter: Option<Located<FilterMode>>,
}

/// The names in a settings file after `NATS.`, and in the environment after `NATS_`.
pub(super) const TEXT_KEYS: [&str; 17] = [
    "SERVER",
    "MAX_RECONNECT",
    "RECONNECT_WAIT",
    "CONNECT_TIMEOUT",
    "DRAIN_TIMEOUT",
    "RANDOMIZE",
    "DEFAULT_BUCKET",
    "PREFIX",
    "CREDENTIALS",
    "NKEY_FILE",
    "TOKEN",
    "USERNAME",
    "PASSWORD",
    "TLS_CERT",
    "TLS_KEY",
    "TLS_CA",
    "FILTER",
];

impl Layer {
    /// Reads `[nats]`.
    pub(super) fn from_table(table: &Table<'_>) -> Self {
        let get = |key| table.get(key);
        Self {
            servers: located(get("server"), servers),
            max_reconnect: located(get("max_reconnect"), |value| {
                let tries: i64 = value.number(-1, i64::from(u32::MAX))?;
                Some(u32::try_from(tries).ok())
            }),
            reconnect_wait: located(get("reconnect_wait"), Value::duration),
            connect_timeout: located(get("connect_timeout"), Value::duration),
            drain_timeout: located(get("drain_timeout"), Value::duration),
            randomize: located(get("randomize"), Value::boolean),
            default_bucket: located(get("default_bucket"), |value| {
                value.parsed(parse::bucket_name)
            }),
            prefix: located(get("prefix"), |value| value.parsed(prefix)),
            credentials: located(get("credentials"), optional_path),
            nkey_file: located(get("nkey_file"), optional_path),
            token: located(get("token"), secret),
            username: located(get("username"), optional_string),
            password: located(get("password"), secret),
            tls_cert: located(get("tls_cert"), optional_path),
            tls_key: located(get("tls_key"), optional_path),
            tls_ca: located(get("tls_ca"), optional_path),
            filter: located(get("filter"), |value| value.parsed(parse::filter_mode)),
        }
    }

    /// Reads values that are text, by their names in [`TEXT_KEYS`]. An empty value counts as not set.
    pub(super) fn from_text(
        lookup: impl Fn(&str) -> Option<(String, Location)>,
        directory: &Path,
        problems: &Problems,
    ) -> Self {
        let source = Text {
            lookup: &|key| lookup(key).filter(|(text, _)| !text.is_empty()),
            problems,
        };
        let path = |text: &str| Ok(directory.join(text));
        let secret = |text: &str| Ok(Secret::new(text));
        Self {
            servers: source.get_unquoted("SERVER", parse_servers),
            max_reconnect: source.get("MAX_RECONNECT", parse::max_reconnect),
            reconnect_wait: source.get("RECONNECT_WAIT", parse::duration),
            connect_timeout: source.get("CONNECT_TIMEOUT", parse::duration),
            drain_timeout: source.get("DRAIN_TIMEOUT", parse::duration),
            randomize: source.get("RANDOMIZE", parse::boolean),
            default_bucket: source.get("DEFAULT_BUCKET", parse::bucket_name),
            prefix: source.get("PREFIX", prefix),
            credentials: source.get("CREDENTIALS", path),
            nkey_file: source.get("NKEY_FILE", path),
            token: source.get_unquoted("TOKEN", secret),
            username: source.get("USERNAME", |text| Ok(text.to_owned())),
            password: source.get_unquoted("PASSWORD", secret),
            tls_cert: source.get("TLS_CERT", path),
            tls_key: source.get("TLS_KEY", path),
            tls_ca: source.get("TLS_CA", path),
            filter: source.get("FILTER", parse::filter_mode),
        }
    }

    /// Fills what this layer leaves open from the other one.
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            servers: self.servers.or(below.servers),
            max_reconnect: self.max_reconnect.or(below.max_reconnect),
            reconnect_wait: self.reconnect_wait.or(below.reconnect_wait),
            connect_timeout: self.connect_timeout.or(below.connect_timeout),
            drain_timeout: self.drain_timeout.or(below.drain_timeout),
            randomize: self.randomize.or(below.randomize),
            default_bucket: self.default_bucket.or(below.default_bucket),
            prefix: self.prefix.or(below.prefix),
            credentials: self.credentials.or(below.credentials),
            nkey_file: self.nkey_file.or(below.nkey_file),
            token: self.token.or(below.token),
            username: self.username.or(below.username),
            password: self.password.or(below.password),
            tls_cert: self.tls_cert.or(below.tls_cert),
            tls_key: self.tls_key.or(below.tls_key),
            tls_ca: self.tls_ca.or(below.tls_ca),
            filter: self.filter.or(below.filter),
        }
    }

    /// Settings that are whole: defaults filled in, and what belongs together is together.
    pub(super) fn finish(mut self, problems: &Problems) -> ConnectionSettings {
        let default = ConnectionSettings::default();
        let auth = self.auth(problems);
        let tls = self.tls(problems);
        ConnectionSettings {
            servers: match self.servers {
                Some(servers) => Servers::At(servers.value),
                None => Servers::Own,
            },
            max_reconnect: value_or(self.max_reconnect, default.max_reconnect),
            reconnect_wait: value_or(self.reconnect_wait, default.reconnect_wait),
            connect_timeout: value_or(self.connect_timeout, default.connect_timeout),
            drain_timeout: value_or(self.drain_timeout, default.drain_timeout),
            randomize: value_or(self.randomize, default.randomize),
            default_bucket: value_or(self.default_bucket, default.default_bucket),
            prefix: value_or(self.prefix, default.prefix),
            auth,
            tls,
            filter: value_or(self.filter, default.filter),
        }
    }

    /// The first way to authenticate that is set. What is set besides it is never used, so nothing is said about it.
    fn auth(&mut self, problems: &Problems) -> Auth {
        if let Some(file) = self.credentials.take() {
            return Auth::Credentials(existing(file, problems));
        }
        if let Some(file) = self.nkey_file.take() {
            return Auth::NkeyFile(existing(file, problems));
        }
        if let Some(token) = self.token.take() {
            return Auth::Token(token.value);
        }
        match (self.username.take(), self.password.take()) {
            (Some(username), Some(password)) => Auth::UserPassword {
                username: username.value,
                password: password.value,
            },
            (Some(username), None) => {
                problems.push(username.location, "a username without a password");
                Auth::None
            }
            (None, Some(password)) => {
                problems.push(password.location, "a password without a username");
                Auth::None
            }
            (None, None) => Auth::None,
        }
    }

    fn tls(&mut self, problems: &Problems) -> TlsSettings {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), None) => {
                problems.push(cert.location.clone(), "a certificate without its key")
            }
            (None, Some(key)) => {
                problems.push(key.location.clone(), "a key without its certificate")
            }
            _ => {}
        }
        let file = |setting: &mut Option<Located<PathBuf>>| {
            setting.take().map(|file| existing(file, problems))
        };
        TlsSettings {
            cert: file(&mut self.tls_cert),
            key: file(&mut self.tls_key),
            ca: file(&mut self.tls_ca),
        }
    }
}

/// Reads a value that is there; an empty one counts as not set where `read` says so.
fn located<'a, T>(
    value: Option<Value<'a>>,
    read: impl FnOnce(Value<'a>) -> Option<T>,
) -> Option<Located<T>> {
    let value = value?;
    Some(Located {
        value: read(value)?,
        location: value.location(),
    })
}

fn value_or<T>(setting: Option<Located<T>>, default: T) -> T {
    setting.map_or(default, |setting| setting.value)
}

/// One string, with commas between servers, or a list of them.
fn servers(value: Value<'_>) -> Option<Vec<String>> {
    if !value.is_list() {
        return value.parsed_unquoted("the server", parse_servers);
    }
    let mut all = Vec::new();
    for item in value.list()? {
        all.extend(item.parsed_unquoted("the server", parse_servers)?);
    }
    if all.is_empty() {
        return value.refuse("the list names no server");
    }
    Some(all)
}

fn prefix(text: &str) -> Result<String, String> {
    subject::prefix(text).map(|()| text.to_owned())
}

fn optional_string(value: Value<'_>) -> Option<String> {
    value.string().filter(|text| !text.is_empty())
}

fn optional_path(value: Value<'_>) -> Option<PathBuf> {
    optional_string(value).map(|path| value.document.resolve(&path))
}

fn secret(value: Value<'_>) -> Option<Secret> {
    optional_string(value).map(Secret::new)
}

fn existing(file: Located<PathBuf>, problems: &Problems) -> PathBuf {
    if !file.value.is_file() {
        problems.push(
            file.location,
            format!("there is no file {}", file.value.display()),
        );
    }
    file.value
}

/// Values that are text, with their places.
struct Text<'a> {
    /// The text and the location of a setting, by a name of [`TEXT_KEYS`]. None if it is empty or not set.
    lookup: &'a dyn Fn(&str) -> Option<(String, Location)>,
    /// The list to which problems of these values are added.
    problems: &'a Problems,
}

impl Text<'_> {
    fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        self.read(key, |text| {
            read(text).map_err(|reason| format!("{text:?} {reason}"))
        })
    }

    /// A message repeats nothing of the value.
    fn get_unquoted<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        self.read(key, |text| {
            read(text).map_err(|reason| format!("the value {reason}"))
        })
    }

    fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let (text, location) = (self.lookup)(key)?;
        match read(&text) {
            Ok(value) => Some(Located { value, location }),
            Err(message) => {
                self.problems.push(location, message);
                None
            }
        }
    }
}
