//! Settings as they are written become settings as they are meant.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use wharf::config::*;

/// A directory with files in it, and an environment.
#[derive(Default)]
struct Written {
    config: Option<String>,
    settings: Option<String>,
    env: HashMap<&'static str, &'static str>,
}

impl Written {
    fn toml(text: &str) -> Self {
        Self {
            config: Some(text.to_owned()),
            ..Self::default()
        }
    }

    fn settings(mut self, text: &str) -> Self {
        self.settings = Some(text.to_owned());
        self
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.insert(name, value);
        self
    }

    fn load(&self) -> (TempDir, Result<Config, ConfigErrors>) {
        let (dir, config, _, problems) = self.read();
        let loaded = match problems.is_empty() {
            true => Ok(config),
            false => Err(ConfigErrors(problems)),
        };
        (dir, loaded)
    }

    fn read(&self) -> (TempDir, Config, Locations, Vec<Problem>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        for name in ["app.creds", "app.nk", "cert.pem", "key.pem", "ca.pem"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let write = |name: &str, text: &Option<String>| {
            text.as_ref().map(|text| {
                std::fs::write(dir.path().join(name), text).unwrap();
                dir.path().join(name)
            })
        };
        let env = |name: &str| self.env.get(name).map(OsString::from);
        let sources = Sources {
            config: write("wharf.toml", &self.config),
            settings: write("nats.settings", &self.settings),
            env: &env,
        };
        let (config, locations, problems) = Config::read(&sources);
        let loaded = Config::load(&sources);
        assert_eq!(loaded.is_ok(), problems.is_empty(), "{problems:?}");
        (dir, config, locations, problems)
    }

    fn valid(&self) -> Config {
        let (_dir, loaded) = self.load();
        loaded.unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The problems, one a line, without the directory.
    fn problems(&self) -> String {
        let (dir, loaded) = self.load();
        let text = loaded.expect_err("the settings are wrong").to_string();
        text.replace(&format!("{}/", dir.path().display()), "")
    }
}

#[test]
fn nothing_written_gives_the_defaults_and_a_server_of_our_own() {
    let config = Written::default().valid();
    let mut expected = Config::default();
    assert_eq!(expected.nats.servers, "nats://127.0.0.1:4222".into());
    expected.nats.servers = Servers::Own;
    assert_eq!(config, expected);
    assert_eq!(config.nats.max_reconnect, Some(5));
    assert_eq!(config.nats.reconnect_wait, Duration::from_secs(2));
    assert_eq!(config.nats.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.nats.drain_timeout, Duration::from_secs(30));
    assert!(config.nats.randomize);
    assert_eq!(config.nats.default_bucket, "default");
    assert_eq!(config.nats.prefix, "");
    assert_eq!(config.nats.auth, Auth::None);
}

#[test]
fn every_key_of_the_connection_is_read_from_the_file() {
    let (dir, config) = Written::toml(
        r#"
        [nats]
        server = "a:1, tls://b:2"
        max_reconnect = -1
        reconnect_wait = "500ms"
        connect_timeout = "1m30s"
        drain_timeout = "2m"
        randomize = false
        default_bucket = "main"
        prefix = "eu."
        username = "me"
        password = "hunter2"
        tls_cert = "cert.pem"
        tls_key = "key.pem"
        tls_ca = "ca.pem"
        [host]
        data = "state"
        cache = "/var/cache/wharf"
        [http]
        listen = "127.0.0.1:9464"
        "#,
    )
    .load();
    let config = config.unwrap();
    let nats = &config.nats;
    let servers = ["nats://a:1", "tls://b:2"].map(str::to_owned);
    assert_eq!(nats.servers, Servers::At(servers.to_vec()));
    assert_eq!(nats.max_reconnect, None);
    assert_eq!(nats.reconnect_wait, Duration::from_millis(500));
    assert_eq!(nats.connect_timeout, Duration::from_secs(90));
    assert_eq!(nats.drain_timeout, Duration::from_secs(120));
    assert!(!nats.randomize);
    assert_eq!(
        (nats.default_bucket.as_str(), nats.prefix.as_str()),
        ("main", "eu.")
    );
    assert_eq!(
        nats.auth,
        Auth::UserPassword {
            username: "me".to_owned(),
            password: Secret::new("hunter2")
        }
    );
    assert_eq!(nats.tls.cert, Some(dir.path().join("cert.pem")));
    assert_eq!(nats.tls.key, Some(dir.path().join("key.pem")));
    assert_eq!(nats.tls.ca, Some(dir.path().join("ca.pem")));
    assert_eq!(config.host.data, Some(dir.path().join("state")));
    assert_eq!(
        config.host.cache.as_deref(),
        Some(Path::new("/var/cache/wharf"))
    );
    assert_eq!(config.http.listen, Some("127.0.0.1:9464".parse().unwrap()));
}

/// A guest and a bucket with each key.
const EVERY_KEY: &str = r#"
        [guests.quakes]
        component = "quakes.wasm"
        prefix = "seismo."
        subscribe = ["quakes.*", { subject = "jobs", queue = "workers", ignore_prefix = true }]
        may_subscribe = ["extra.>"]
        publish = ["alerts.>", { subject = "raw", ignore_prefix = true }]
        request = ["geo.lookup"]
        buckets = { quakes = "read-write", places = "read" }
        config = { threshold = "4.5" }
        serializer = "msgpack"
        env = { RUST_LOG = "info" }
        dirs = [{ host = "data", guest = "/data", access = "read-write" }, { host = "logs", guest = "/logs" }]
        instances = { max = 2, reuse = 1 }
        limits = { memory = "1MiB", time = "250ms", queue = 10, queue_bytes = 2048, log_lines = 5, log_bytes = 4096, subscriptions = 3, subscription_changes = 2, descriptors = 7, file_calls = 2, disk = "2MiB", resources = 30 }
        canary = { component = "v2.wasm", share = 0.2, max_failure = 0, window = 1000 }
        [buckets.places]
        description = "Where"
        ttl = "24h"
        replicas = 3
        history = 5
        storage = "memory"
        max_bytes = "1GiB"
        max_value_size = 4096
        "#;

/// The guest of [`EVERY_KEY`], where the file is in this directory.
fn guest_of_every_key(dir: &Path) -> GuestSettings {
    let grant = |subject: &str, ignore_prefix| match ignore_prefix {
        true => SubjectGrant::new(subject).without_prefix(),
        false => SubjectGrant::new(subject),
    };
    let mut expected = GuestSettings::new(dir.join("quakes.wasm"));
    expected.prefix = Some("seismo.".to_owned());
    expected.subscribe = vec![
        "quakes.*".into(),
        SubscriptionSettings::new("jobs")
            .with_queue("workers")
            .without_prefix(),
    ];
    expected.may_subscribe = vec![grant("extra.>", false)];
    expected.publish = vec![grant("alerts.>", false), grant("raw", true)];
    expected.request = vec![grant("geo.lookup", false)];
    expected.buckets = [
        ("quakes".to_owned(), BucketAccess::ReadWrite),
        ("places".to_owned(), BucketAccess::Read),
    ]
    .into();
    expected.config = [("threshold".to_owned(), "4.5".to_owned())].into();
    expected.serializer = Serializer::Msgpack;
    expected.env = [("RUST_LOG".to_owned(), "info".to_owned())].into();
    expected.dirs = vec![
        DirectoryGrant::new(dir.join("data"), "/data", DirectoryAccess::ReadWrite),
        DirectoryGrant::new(dir.join("logs"), "/logs", DirectoryAccess::Read),
    ];
    expected.instances = Instances {
        max: 2.try_into().unwrap(),
        reuse: 1.try_into().unwrap(),
    };
    expected.limits = Limits {
        memory_bytes: 1 << 20,
        time: Duration::from_millis(250),
        queue_messages: 10,
        queue_bytes: 2048,
        subscriptions: 3,
        subscription_changes: 2,
        log_lines: 5,
        log_bytes: 4096,
        descriptors: 7,
        file_calls: 2,
        disk_bytes: 2 << 20,
        resources: 30,
    };
    let mut canary = CanarySettings::new(dir.join("v2.wasm"));
    canary.share = Ratio::new(0.2).unwrap();
    canary.max_failure = Ratio::new(0.0).unwrap();
    canary.window = 1000.try_into().unwrap();
    expected.canary = Some(canary);
    expected
}

#[test]
fn a_directory_that_no_guest_may_have_is_refused_where_it_is_written() {
    let text = r#"[host]
cache = "cache"
[nats]
credentials = "app.creds"
[guests.a]
component = "logs/a.wasm"
dirs = [{ host = "data", guest = "/x" }, { host = ".", guest = "/y" }, { host = "logs", guest = "/z" }]
"#;
    let problems = Written::toml(text).problems();
    let problems: Vec<_> = problems.lines().collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("wharf.toml:7:42: "), "{problems:?}");
    assert!(problems[0].contains("contains the configuration file"));
    assert!(problems[1].starts_with("wharf.toml:7:72: "), "{problems:?}");
    assert!(problems[1].contains("the component of guest \"a\""));
}

#[test]
fn every_key_of_a_guest_and_of_a_bucket_is_read() {
    let (dir, config, locations, problems) = Written::toml(EVERY_KEY).read();
    assert_eq!(problems, []);
    assert_eq!(config.guests["quakes"], guest_of_every_key(dir.path()));
    assert_eq!(
        config.buckets["places"],
        BucketSettings {
            description: "Where".to_owned(),
            history: 5,
            ttl: Some(Duration::from_secs(86_400)),
            replicas: 3,
            storage: Storage::Memory,
            max_bytes: Some(1 << 30),
            max_value_size: Some(4096),
        }
    );
    let location = Location::InFile {
        path: dir.path().join("wharf.toml"),
        line: 3,
        column: 21,
    };
    assert_eq!(locations.components["quakes"], location);
    let location = Location::InFile {
        path: dir.path().join("wharf.toml"),
        line: 16,
        column: 32,
    };
    assert_eq!(locations.canaries["quakes"], location);
}

#[test]
fn a_canary_of_which_little_is_said_gets_one_message_of_twenty_and_of_a_hundred_may_fail_one() {
    let text = "[guests.g]\ncomponent = 'g.wasm'\n[guests.g.canary]\ncomponent = 'nats://plugins/g.wasm'\n";
    let config = Written::toml(text).valid();
    let canary = config.guests["g"].canary.clone().unwrap();
    assert_eq!(canary.component.to_string(), "nats://plugins/g.wasm");
    assert_eq!(
        (
            canary.share.get(),
            canary.max_failure.get(),
            canary.window.get()
        ),
        (0.05, 0.01, 100)
    );
}

#[test]
fn what_is_wrong_with_a_canary_is_said_where_it_is() {
    let guest =
        |canary: &str| format!("[guests.g]\ncomponent = 'g.wasm'\n[guests.g.canary]\n{canary}\n");
    let share = "expected a part such as 0.05, more than 0 and up to 1";
    let most = "expected a part such as 0.01, from 0 to 1";
    for (canary, problem) in [
        (
            "share = 0.1",
            "3:1: the key \"component\" is missing".to_owned(),
        ),
        (
            "component = ''",
            "4:13: \"\" is neither a path nor nats://BUCKET/NAME".to_owned(),
        ),
        ("component = 'c'\nshare = 5", format!("5:9: {share}")),
        ("component = 'c'\nshare = nan", format!("5:9: {share}")),
        (
            "component = 'c'\nshare = '5%'",
            format!("5:9: {share}, found a string"),
        ),
        (
            "component = 'c'\nshare = 0.0",
            "5:9: a share of 0 is no trial: leave the canary out instead".to_owned(),
        ),
        (
            "component = 'c'\nmax_failure = -0.5",
            format!("5:15: {most}"),
        ),
        (
            "component = 'c'\nwindow = 0",
            "5:10: expected a whole number from 1 to 1000000, found 0".to_owned(),
        ),
        (
            "component = 'c'\nshaer = 1",
            "5:1: unknown key \"shaer\"; did you mean \"share\"?".to_owned(),
        ),
    ] {
        assert_eq!(
            Written::toml(&guest(canary)).problems(),
            format!("wharf.toml:{problem}"),
            "{canary}"
        );
    }
    let many = format!(
        "{}[guests.g.instances]\nmax = 600\n",
        guest("component = 'c'")
    );
    let problems = Written::toml(&many).problems();
    assert!(problems.contains("ask for 1200 instances"), "{problems}");
}

#[test]
fn a_guest_of_which_little_is_said_gets_defaults_and_no_grant() {
    let (dir, config) = Written::toml("[guests.g]\ncomponent = 'g.wasm'\n[buckets.b]").load();
    let config = config.unwrap();
    assert_eq!(
        config.guests["g"],
        GuestSettings::new(dir.path().join("g.wasm"))
    );
    assert_eq!(config.buckets["b"], BucketSettings::default());
}

#[test]
fn the_environment_wins_over_the_settings_file_which_wins_over_the_toml() {
    let written = Written::toml(
        "[nats]\nserver = 'toml:1'\nprefix = 'toml.'\ndefault_bucket = 'toml'\nmax_reconnect = 1\nrandomize = false",
    )
    .settings("NATS.SERVER=settings:1\nNATS.PREFIX=settings.\nNATS.DEFAULT_BUCKET=settings\n")
    .env("NATS_SERVER", "env:1")
    .env("NATS_PREFIX", "");
    let nats = written.valid().nats;
    assert_eq!(nats.servers, "nats://env:1".into());
    assert_eq!(
        nats.prefix, "settings.",
        "an empty variable counts as not set"
    );
    assert_eq!(nats.default_bucket, "settings");
    assert_eq!(nats.max_reconnect, Some(1));
    assert!(!nats.randomize);
}

#[test]
fn every_key_of_the_settings_file_and_of_the_environment_is_read() {
    let keys = [
        ("SERVER", "a:1,b:2"),
        ("MAX_RECONNECT", "-1"),
        ("RECONNECT_WAIT", "1m30s"),
        ("CONNECT_TIMEOUT", "250ms"),
        ("DRAIN_TIMEOUT", "1.5s"),
        ("RANDOMIZE", "false"),
        ("DEFAULT_BUCKET", "main"),
        ("PREFIX", "eu."),
        ("TOKEN", "hunter2"),
        ("FILTER", "always"),
    ];
    let lines: String = keys
        .iter()
        .map(|(key, value)| format!("NATS.{key} = {value}\n"))
        .collect();
    let from_file = Written::default()
        .settings(&format!("# ours\n\n  # more\nHTTP.PORT=80\n{lines}"))
        .valid();
    let mut variables = Written::default();
    for (key, value) in keys {
        variables = variables.env(Box::leak(format!("NATS_{key}").into_boxed_str()), value);
    }
    assert_eq!(from_file.nats, variables.valid().nats);
    let expected = ConnectionSettings {
        servers: vec!["nats://a:1".to_owned(), "nats://b:2".to_owned()].into(),
        max_reconnect: None,
        reconnect_wait: Duration::from_secs(90),
        connect_timeout: Duration::from_millis(250),
        drain_timeout: Duration::from_millis(1500),
        randomize: false,
        default_bucket: "main".to_owned(),
        prefix: "eu.".to_owned(),
        auth: Auth::Token(Secret::new("hunter2")),
        tls: TlsSettings::default(),
        filter: FilterMode::Always,
    };
    assert_eq!(from_file.nats, expected);
}

#[test]
fn files_named_in_a_settings_file_are_relative_to_it() {
    let text = "NATS.CREDENTIALS=app.creds\nNATS.TLS_CERT=cert.pem\nNATS.TLS_KEY=key.pem\nNATS.TLS_CA=ca.pem";
    let (dir, config) = Written::default().settings(text).load();
    let nats = config.unwrap().nats;
    assert_eq!(nats.auth, Auth::Credentials(dir.path().join("app.creds")));
    assert_eq!(nats.tls.ca, Some(dir.path().join("ca.pem")));
}

#[test]
fn the_first_way_to_authenticate_that_is_set_wins_whatever_way_in_it_came() {
    let token_in_env = || Written::toml("[nats]\nnkey_file = 'app.nk'").env("NATS_TOKEN", "t");
    assert!(matches!(
        token_in_env().valid().nats.auth,
        Auth::NkeyFile(_)
    ));
    let credentials = token_in_env()
        .settings("NATS.CREDENTIALS=app.creds")
        .valid();
    assert!(matches!(credentials.nats.auth, Auth::Credentials(_)));
    let empty =
        Written::toml("[nats]\ncredentials = ''\nnkey_file = ''\ntoken = ''\nusername = 'u'")
            .env("NATS_PASSWORD", "p")
            .valid();
    assert!(matches!(empty.nats.auth, Auth::UserPassword { .. }));
    let token = Written::toml("[nats]\ntoken = 't'\nusername = 'u'").valid();
    assert_eq!(token.nats.auth, Auth::Token(Secret::new("t")));
}

/// A file with many problems.
const WRONG: &str = r#"
[nats]
sever = "a:1"
max_reconnect = "5"
reconnect_wait = 2
randomize = "yes"
default_bucket = "no dots.please"
prefix = "$JS."
username = "me"
tls_cert = "cert.pem"
tls_ca = "nowhere.pem"
[host]
dta = "x"
[guests.a]
subscibe = ["x"]
subscribe = "orders.*"
publish = ["a..b", "$JS.API.>", "_INBOX.x", { subject = "ok", queue = "q" }, 5]
streams = []
buckets = { b = "write", "c.d" = "read" }
config = { threshold = 4.5, "wharf.x" = "1" }
dirs = [{ host = "nowhere", guest = "/x" }, { guest = "data" }]
instances = { max = 0 }
limits = { memory = "64 zib", time = "0s", queue = -1 }
[guests.Big]
component = ""
[buckets.b]
history = 65
replicas = 6
ttl = "1ms"
storage = "disk"
[guest]
"#;

/// The problems of [`WRONG`].
const ITS_PROBLEMS: &str = r#"wharf.toml:3:1: unknown key "sever"; did you mean "server"?
wharf.toml:4:17: expected a whole number, found a string
wharf.toml:5:18: expected a duration such as "2s", found an integer
wharf.toml:6:13: expected true or false, found a string
wharf.toml:7:18: "no dots.please" is not a bucket's name: 1 to 251 letters, digits, `-` and `_`
wharf.toml:8:10: "$JS." begins with `$`: such subjects belong to the server
wharf.toml:9:12: a username without a password
wharf.toml:10:12: a certificate without its key
wharf.toml:11:10: there is no file nowhere.pem
wharf.toml:13:1: unknown key "dta"; did you mean "data"?
wharf.toml:14:9: the guest "a" names no component: component = "FILE.wasm"
wharf.toml:15:1: unknown key "subscibe"; did you mean "subscribe"?
wharf.toml:16:13: expected a list, found a string; write ["orders.*"]
wharf.toml:17:12: "a..b" has an empty token: a dot at its beginning or end, or two in a row
wharf.toml:17:20: "$JS.API.>" begins with `$`: such subjects belong to the server and are never a guest's
wharf.toml:17:33: "_INBOX.x" begins with `_INBOX`: such subjects are for replies and are never a guest's
wharf.toml:17:63: unknown key "queue"; the nearest is "subject", and all are: subject, ignore_prefix
wharf.toml:17:78: expected a subject, or a table with the key "subject", found an integer
wharf.toml:18:1: unknown key "streams": messages from streams are not supported by this version
wharf.toml:19:17: expected "read" or "read-write", found "write"
wharf.toml:19:26: "c.d" is not a bucket's name: 1 to 251 letters, digits, `-` and `_`
wharf.toml:20:24: expected a string, found a float; put it in quotes
wharf.toml:20:29: "wharf.x" begins with "wharf.": such keys are the host's
wharf.toml:21:18: there is no directory nowhere
wharf.toml:21:45: the key "host" is missing
wharf.toml:21:55: "data" is not an absolute path, such as "/data"
wharf.toml:22:21: expected a whole number from 1 to 4294967295, found 0
wharf.toml:23:21: "64 zib" is not a number of bytes such as 65536 or "64MiB"
wharf.toml:23:38: "0s" is no time at all; it must be more than 0
wharf.toml:23:52: expected a whole number of at least 1, found -1
wharf.toml:24:9: "Big" is not a guest's name: small letters, digits, `-` and `_`
wharf.toml:25:13: "" is neither a path nor nats://BUCKET/NAME
wharf.toml:27:11: expected a whole number from 1 to 64, found 65
wharf.toml:28:12: expected a whole number from 1 to 5, found 6
wharf.toml:29:7: "1ms" is shorter than the 100ms that a server takes at least
wharf.toml:30:11: expected "file" or "memory", found "disk"
wharf.toml:31:2: unknown key "guest"; did you mean "guests"?"#;

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    assert_eq!(Written::toml(WRONG).problems(), ITS_PROBLEMS);
}

#[test]
fn the_filter_is_automatic_always_on_or_never() {
    let nats = |text: &str| Written::toml(&format!("[nats]\n{text}"));
    for (text, expected) in [
        ("", FilterMode::Auto),
        ("filter = 'auto'", FilterMode::Auto),
        ("filter = 'always'", FilterMode::Always),
        ("filter = 'never'", FilterMode::Never),
    ] {
        assert_eq!(nats(text).valid().nats.filter, expected, "{text}");
    }
    let said = nats("filter = 'on'").problems();
    let expected = "wharf.toml:2:10: \"on\" is neither \"auto\" nor \"always\" nor \"never\"";
    assert_eq!(said, expected);
}

#[test]
fn traces_go_to_an_http_address() {
    let otlp = |text: &str| Written::toml(&format!("[otlp]\n{text}"));
    let endpoint = otlp("endpoint = \"http://127.0.0.1:4318\"")
        .valid()
        .otlp
        .endpoint;
    assert_eq!(endpoint.as_deref(), Some("http://127.0.0.1:4318"));
    for (text, problem) in [
        ("", "wharf.toml:1:1: the key \"endpoint\" is missing"),
        (
            "endpoint = 4318",
            "wharf.toml:2:12: expected a string, found an integer; put it in quotes",
        ),
        (
            "endpoint = \"c:4318\"",
            "wharf.toml:2:12: the endpoint is not an address such as \"http://127.0.0.1:4318\"",
        ),
        (
            "endpoint = \"http://\"",
            "wharf.toml:2:12: the endpoint is not an address such as \"http://127.0.0.1:4318\"",
        ),
        (
            "endpoint = \"http://c/v1/traces\"",
            "wharf.toml:2:12: the endpoint ends in /v1/traces, which is added to it",
        ),
        (
            "endpoint = \"http://a:b@c\"",
            "wharf.toml:2:12: the endpoint has a user in it, which is not supported",
        ),
        (
            "endpoint = \"http://c?d\"",
            "wharf.toml:2:12: the endpoint has more after its path, which is not supported",
        ),
    ] {
        assert_eq!(otlp(text).problems(), problem);
    }
    assert!(
        otlp("endpoint = \"https://c\"")
            .problems()
            .contains("the endpoint is https, and traces are sent by http")
    );
    assert!(
        otlp("endpoint = \"http://c\"\nendpont = 1")
            .problems()
            .contains("did you mean \"endpoint\"?")
    );
}

#[test]
fn problems_of_all_ways_in_are_reported_together() {
    let written = Written::toml("[nats]\nrandomise = true")
        .settings("NATS.SEVER=a\n  NATS.DRAIN_TIMEOUT = soon\nnonsense\nNATS.TOKEN=a\nNATS.TOKEN=b")
        .env("NATS_MAX_RECONNECT", "-2")
        .env("NATS_SERVER", "http://a");
    assert_eq!(
        written.problems(),
        r#"nats.settings:1:6: unknown key "SEVER"; did you mean "SERVER"?
nats.settings:2:23: "soon" is not a duration such as "500ms", "2s" or "1m30s"
nats.settings:3:1: expected KEY=VALUE, found a line without `=`
nats.settings:5:1: NATS.TOKEN is set a second time
wharf.toml:2:1: unknown key "randomise"; did you mean "randomize"?
environment variable NATS_MAX_RECONNECT: "-2" is not a number of tries: -1 is unlimited, 0 is never
environment variable NATS_SERVER: the value has a scheme other than nats:// and tls://"#
    );
}

#[test]
fn what_is_not_toml_is_reported_beside_what_is_wrong_otherwise() {
    let problems =
        Written::toml("[nats]\nserver = = \n[guests.a]\nsubscribe = [\"a\"\npublish = [\"b\"]\n")
            .problems();
    assert!(
        problems.starts_with("wharf.toml:2:10: this is not TOML: "),
        "{problems}"
    );
    let problems = Written::toml("[nats]\nrandomize = maybe\nsever = 'a'\n").problems();
    assert!(
        problems.contains("wharf.toml:2:13: this is not TOML"),
        "{problems}"
    );
    assert!(
        problems.contains("wharf.toml:3:1: unknown key"),
        "{problems}"
    );
    assert_eq!(problems.lines().count(), 2, "{problems}");
    let twice = Written::toml("[nats]\nprefix = 'a.'\nprefix = 'b.'\n").problems();
    assert_eq!(twice, "wharf.toml:3:1: this is not TOML: duplicate key");
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let missing = Sources {
        config: Some("/nowhere/wharf.toml".into()),
        settings: None,
        env: &|_| None,
    };
    let text = Config::load(&missing).unwrap_err().to_string();
    assert!(
        text.starts_with("/nowhere/wharf.toml: cannot be read: No such file"),
        "{text}"
    );
}

#[test]
fn variables_are_put_into_values_and_missing_ones_are_named() {
    let toml = "[nats]\nserver = 'nats://${HOST_NAME}:4222'\ntoken = 'a$${b}${TOKEN}'\n";
    let nats = Written::toml(toml)
        .env("HOST_NAME", "example")
        .env("TOKEN", "t")
        .valid()
        .nats;
    assert_eq!(nats.servers, "nats://example:4222".into());
    assert_eq!(nats.auth, Auth::Token(Secret::new("a${b}t")));
    assert_eq!(
        Written::toml(toml).env("TOKEN", "t").problems(),
        "wharf.toml:2:10: the value needs the environment variable HOST_NAME, which is not set"
    );
}

#[test]
fn no_message_repeats_a_secret() {
    let secret = "hunter2";
    let all_wrong = [
        Written::toml("[nats]\npassword = 'hunter2'\ntoken = 'hunter2${'\n"),
        Written::toml("[nats]\ntokn = 'hunter2'\nserver = 'nats://me:hunter2@a:b'\n"),
        Written::toml("[nats]\npassword = 'hunter2' hunter2\n"),
        Written::toml("[nats]\npassword = 'hunter2\nserver = ['me:hunt,hunter2@a']"),
        Written::toml("[nats]\nreconnect_wait = '${SECRET}'\ndefault_bucket = '.${SECRET}'")
            .env("SECRET", "hunter2"),
        Written::default().settings("NATS.TOKEN hunter2\nNATS.SERVER=nats://me:hunter2@a:x"),
        Written::default()
            .env("NATS_SERVER", "a,nats://me:hunter2@")
            .env("NATS_PASSWORD", "hunter2"),
    ];
    for written in all_wrong {
        let problems = written.problems();
        assert!(!problems.contains(secret), "{problems}");
    }
    let valid = Written::toml(
        "[nats]\nserver = 'nats://me:hunter2@a:1'\nusername = 'u'\npassword = 'hunter2'",
    )
    .valid();
    assert!(!format!("{valid:?}").contains(secret), "{valid:?}");
    assert_eq!(valid.nats.servers, "nats://me:hunter2@a:1".into());
}

#[test]
fn subscribing_twice_to_the_same_is_refused() {
    let problems =
        Written::toml("[guests.a]\ncomponent = 'a.wasm'\nsubscribe = ['b', 'b']").problems();
    assert_eq!(
        problems,
        "wharf.toml:3:19: subscribes to \"b\" a second time"
    );
}

#[test]
fn where_to_listen_is_an_address_and_a_port() {
    let expected = " is not an IP address and a port such as \"127.0.0.1:9464\"";
    for wrong in [
        "localhost:9464",
        "127.0.0.1",
        "9464",
        "http://127.0.0.1:9464",
        "",
    ] {
        let problems = Written::toml(&format!("[http]\nlisten = {wrong:?}\n")).problems();
        assert_eq!(problems, format!("wharf.toml:2:10: {wrong:?}{expected}"));
    }
    let problems = Written::toml("[http]\nlisten = 9464\nport = 1\n").problems();
    assert!(
        problems.contains("found an integer; put it in quotes"),
        "{problems}"
    );
    assert!(problems.contains("unknown key \"port\""), "{problems}");
}

#[test]
fn more_instances_than_a_host_has_are_refused_where_they_are_asked_for() {
    let guest = |name: &str| {
        format!("[guests.{name}]\ncomponent = 'a.wasm'\ninstances = {{ max = 600 }}\n")
    };
    let problems = Written::toml(&format!("{}{}", guest("a"), guest("b"))).problems();
    let expected = "wharf.toml:4:9: the guests up to this one ask for 1200 instances, and a host has 1000: lower \
                    `instances.max` of some";
    assert_eq!(problems, expected);
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let readme = include_str!("../../README.md");
    let section = readme
        .split("\n## Configuration\n")
        .nth(1)
        .expect("README.md has a section on configuration");
    let toml = section
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let config = Written::toml(toml).valid();
    assert!(!config.guests.is_empty() && !config.buckets.is_empty());
}

proptest! {
    #[test]
    fn no_text_panics(toml in any::<String>(), settings in any::<String>()) {
        let _ = Written::toml(&toml).settings(&settings).load();
    }

    #[test]
    fn no_value_under_a_known_key_panics(
        key in prop::sample::select(vec![
            "nats.server", "nats.max_reconnect", "nats.drain_timeout", "nats.randomize", "nats.prefix", "host.data",
            "guests.a", "guests.a.subscribe", "guests.a.publish", "guests.a.limits", "guests.a.instances.max",
            "guests.a.limits.memory", "guests.a.canary.share", "guests.a.canary", "guests.a.dirs", "guests.a.env", "buckets.b.ttl", "buckets.b.history", "buckets",
        ]),
        value in prop_oneof![
            "\\PC*".prop_map(|text| format!("{text:?}")),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| format!("{number:?}")),
            "[0-9.]{0,30}[a-zA-Zµ]{0,3}".prop_map(|text| format!("{text:?}")),
            "\\PC*".prop_map(|text| format!("[{text:?}, 1, {{ a = [] }}]")),
            "\\PC*".prop_map(|text| format!("{{ {text:?} = {text:?}, subject = {text:?} }}")),
        ],
    ) {
        let _ = Written::toml(&format!("{key} = {value}")).load();
    }
}
