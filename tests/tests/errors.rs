//! Errors of a start, each by its variant, that no other file comes by: where the machine, the settings, our own server or a
//! component is at fault.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use wharf::config::{
    Auth, Config, ConnectionSettings, DirectoryAccess, DirectoryGrant, GuestSettings, OtlpSettings,
    Servers, TlsSettings,
};
use wharf::{
    ChangeError, ConnectError, Connector, FetchError, GuestError, Host, LoadError, Server,
    ServerError, StartError,
};
use wharf_tests::probe::{config, probe};
use wharf_tests::wharf::{command, run};
use wharf_tests::{Authority, TestServer, component, program};

/// The first bytes of a component: `\0asm`, then its version and layer.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

async fn refused(settings: ConnectionSettings) -> ConnectError {
    Connector::connect(settings)
        .await
        .expect_err("these settings connect to nothing")
}

#[tokio::test]
async fn settings_that_cannot_connect_are_told_apart_before_anything_is_dialled() -> Result<()> {
    let server = TestServer::start("").await?;
    let at = |servers: &str| ConnectionSettings {
        servers: servers.into(),
        ..server.settings()
    };
    let none = ConnectionSettings {
        servers: Servers::At(Vec::new()),
        ..server.settings()
    };
    ensure!(matches!(refused(none).await, ConnectError::NoServer));
    let address = refused(at("http://a")).await;
    ensure!(
        matches!(address, ConnectError::Address { .. }),
        "{address:?}"
    );
    let own = ConnectionSettings {
        servers: Servers::Own,
        ..server.settings()
    };
    let error = refused(own).await;
    ensure!(matches!(error, ConnectError::Settings(_)), "{error:?}");
    let users = refused(at("nats://a:b@h,nats://c:d@h")).await;
    ensure!(matches!(users, ConnectError::Settings(_)), "{users:?}");
    let missing = ConnectionSettings {
        auth: Auth::Credentials("/nonexistent/creds".into()),
        ..server.settings()
    };
    let missing = refused(missing).await;
    ensure!(
        matches!(&missing, ConnectError::File { path, .. } if path == Path::new("/nonexistent/creds")),
        "{missing:?}"
    );
    let directory = tempfile::tempdir()?;
    let identity = Authority::new()?.identity(directory.path(), "me")?;
    let half = ConnectionSettings {
        tls: TlsSettings {
            cert: Some(identity.cert),
            ..TlsSettings::default()
        },
        ..server.settings()
    };
    let half = refused(half).await;
    ensure!(matches!(half, ConnectError::Settings(_)), "{half:?}");
    Ok(())
}

/// Runs the command with no more threads than this, as somebody else if we are root, whom no limit binds. Gives what it
/// wrote; if it is not over in time, it is ended.
async fn run_with_threads(directory: &Path, arguments: &[&str], threads: usize) -> Result<String> {
    let us = rustix::process::getuid();
    let somebody = if us.is_root() { 65534 } else { us.as_raw() }.to_string();
    let mut wharf = Command::new("timeout");
    wharf.arg("5");
    if us.is_root() {
        wharf.args(["setpriv", "--reuid", &somebody, "--regid", &somebody]);
        wharf.arg("--clear-groups");
    }
    let most = threads_of(&somebody)? + threads;
    wharf.arg("prlimit").arg(format!("--nproc={most}:{most}"));
    wharf.arg("--").arg(directory.join("wharf")).args(arguments);
    wharf
        .env_clear()
        .env("HOME", directory)
        .current_dir(directory);
    wharf.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    Ok(run(wharf, b"").await?.stderr)
}

/// The threads of all processes of a user, which the limit counts.
fn threads_of(user: &str) -> Result<usize> {
    let of_process = |entry: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
        let value = |key| status.lines().find_map(|line: &str| line.strip_prefix(key));
        let owner = value("Uid:")?.split_whitespace().next()?;
        (owner == user).then_some(value("Threads:")?.trim().parse::<usize>().ok()?)
    };
    Ok(std::fs::read_dir("/proc")?.filter_map(of_process).sum())
}

#[tokio::test]
async fn a_machine_without_threads_for_guests_or_for_the_connection_is_named_as_the_reason()
-> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    std::fs::set_permissions(path, Permissions::from_mode(0o777))?;
    std::fs::copy(program("wharf")?, path.join("wharf"))?;
    std::fs::copy(component("probe")?, path.join("probe.wasm"))?;
    let settings =
        "[nats]\nserver = 'nats://127.0.0.1:1'\n[guests.probe]\ncomponent = 'probe.wasm'\n";
    std::fs::write(path.join("wharf.toml"), settings)?;
    for (arguments, error) in [
        (&["run"][..], "error: cannot set up what runs guests: "),
        (
            &["send", "a", "b", "--server", "nats://127.0.0.1:1"],
            "error: cannot start a thread for the connection to NATS: ",
        ),
    ] {
        // How many threads there are before depends on the machine.
        let mut said = Vec::new();
        let mut threads = 1..24;
        while !said
            .last()
            .is_some_and(|text: &String| text.contains(error))
        {
            let threads = threads
                .next()
                .with_context(|| format!("nothing said {error:?}, but {said:#?}"))?;
            said.push(run_with_threads(path, arguments, threads).await?);
        }
    }
    Ok(())
}

/// A program that says it is a nats-server, and ends as soon as it is to serve.
fn dud(directory: &Path) -> Result<PathBuf> {
    let program = directory.join("nats-server");
    let text = "#!/bin/sh\n[ \"$1\" = --version ] && exec echo 'nats-server: v2.15.1'\necho 'no luck' >&2\nexit 3\n";
    std::fs::write(&program, text)?;
    std::fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    Ok(program)
}

#[tokio::test]
async fn a_nats_server_of_our_own_that_does_not_start_is_told_from_one_that_cannot_be_used()
-> Result<()> {
    let directory = tempfile::tempdir()?;
    let dud = dud(directory.path())?;
    let guest = component("probe")?;
    let guest = guest.to_str().context("a path of text")?;
    for (program, said) in [
        (
            Path::new("/bin/true"),
            "/bin/true cannot be used: it does not tell its version",
        ),
        (
            Path::new("/nonexistent"),
            "/nonexistent cannot be used: No such file",
        ),
        (&dud, "nats-server does not start: "),
    ] {
        let mut wharf = command(directory.path(), &["run", guest, "--subscribe", "a"])?;
        wharf.env("WHARF_NATS_SERVER", program);
        let ended = run(wharf, b"").await?;
        ensure!(ended.code == Some(1), "{ended:?}");
        let start = "error: cannot start a nats-server of our own: ";
        ensure!(
            ended.stderr.contains(&format!("{start}{said}")),
            "{said}: {ended:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_directory_for_data_that_is_none_is_named_by_the_server_and_by_the_host() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    std::fs::write(&file, "")?;
    match Server::start(&file).await {
        Err(ServerError::Data { path, .. }) if path.starts_with(&file) => {}
        other => anyhow::bail!("{other:?}"),
    }
    match Host::builder(Config::default())
        .own_server(&file)
        .start()
        .await
    {
        Err(StartError::Server(ServerError::Data { .. })) => Ok(()),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_of_our_own_that_does_not_stop_is_killed_and_its_end_says_so() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path()).await?;
    let children = std::fs::read_dir("/proc")?.filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments = String::from_utf8(arguments).ok()?;
        arguments
            .contains(directory.path().to_str()?)
            .then_some(pid)
    });
    let [pid] = children.collect::<Vec<_>>()[..] else {
        anyhow::bail!("one process names the directory");
    };
    kill_process(
        Pid::from_raw(pid).context("a process has an id")?,
        Signal::STOP,
    )?;
    // Above the time that a server may take to stop.
    let stopped = tokio::time::timeout(Duration::from_secs(60), server.stop()).await?;
    ensure!(matches!(stopped, Err(ServerError::Killed)), "{stopped:?}");
    Ok(())
}

#[tokio::test]
async fn a_host_without_a_server_or_a_collector_that_can_be_used_does_not_start() -> Result<()> {
    let server = TestServer::start("").await?;
    let mut nowhere = config(&server);
    nowhere.nats.servers = "nats://127.0.0.1:1".into();
    match Host::builder(nowhere).start().await {
        Err(StartError::Connect(ConnectError::Refused(refusals))) if refusals.len() == 1 => {}
        other => anyhow::bail!("{other:?}"),
    }
    let mut untraced = config(&server);
    untraced.otlp = OtlpSettings {
        endpoint: Some("no address".into()),
    };
    match Host::builder(untraced).start().await {
        Err(StartError::Traces(_)) => Ok(()),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test]
async fn components_that_are_none_are_told_apart_by_what_is_wrong_with_them() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("guest.wasm");
    let server = TestServer::start("").await?;
    let host = Host::builder(config(&server)).start().await?;
    let load = async |bytes: &[u8]| -> Result<LoadError> {
        std::fs::write(&file, bytes)?;
        let settings = GuestSettings::new(file.clone());
        match host.load("guest", settings).await {
            Err(ChangeError::Guest {
                source: GuestError::Load(error),
                ..
            }) => Ok(error),
            other => anyhow::bail!("{other:?}"),
        }
    };
    let nothing = load(COMPONENT).await?;
    ensure!(matches!(nothing, LoadError::NoGuest { .. }), "{nothing:?}");
    let cut = load(&[COMPONENT, b"\x01\xff"].concat()).await?;
    ensure!(matches!(cut, LoadError::Compile { .. }), "{cut:?}");
    std::fs::File::create(&file)?.set_len((256 << 20) + 1)?;
    let large = host.load("guest", GuestSettings::new(file.clone())).await;
    let large = large.expect_err("too large");
    ensure!(
        matches!(
            large,
            ChangeError::Guest {
                source: GuestError::Load(LoadError::Fetch(FetchError::TooLarge { .. })),
                ..
            }
        ),
        "{large:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_component_in_the_directory_of_a_guest_is_not_loaded() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let server = TestServer::start("").await?;
    let host = Host::builder(config(&server)).start().await?;
    let inside = directory.path().join("guest.wasm");
    std::fs::copy(component("probe")?, &inside)?;
    let mut settings = probe()?;
    let access = DirectoryAccess::Read;
    let grant = |host: &Path| DirectoryGrant::new(host.to_owned(), "/d".to_owned(), access);
    settings.dirs = vec![grant(directory.path())];
    host.load("reader", settings.clone()).await?;
    match host.load("inside", GuestSettings::new(inside)).await {
        Err(ChangeError::Guest {
            source: GuestError::ComponentInDirectory { guest, .. },
            ..
        }) if guest == "reader" => {}
        other => anyhow::bail!("{other:?}"),
    }
    settings.dirs = vec![grant(&directory.path().join("missing"))];
    match host.load("other", settings).await {
        Err(ChangeError::Guest {
            source: GuestError::Directory(_),
            ..
        }) => Ok(()),
        other => anyhow::bail!("{other:?}"),
    }
}
