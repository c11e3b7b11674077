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
    Auth, Config, ConnectionSettings, GuestSettings, OtlpSettings, Servers, TlsSettings,
};
use wharf::{
    ChangeError, ConnectError, Connector, FetchError, GuestError, Host, LoadError, Server,
    ServerError, StartError,
};
use wharf_tests::probe::{config, probe};
use wharf_tests::wharf::{command, run};
use wharf_tests::{Authority, TestServer};

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
    ensure!(matches!(refused(at("")).await, ConnectError::NoServer));
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

/// The command with a bound on what its process may have, set by `prlimit` of util-linux.
async fn limited(directory: &Path, limit: &str) -> Result<wharf_tests::Ended> {
    std::fs::write(
        directory.join("wharf.toml"),
        format!(
            "[guests.probe]\ncomponent = {:?}\n",
            wharf_tests::component("probe")?
        ),
    )?;
    let wharf = command(directory, &["run"])?;
    let mut limited = Command::new("prlimit");
    limited
        .arg(limit)
        .arg("--")
        .arg(wharf.as_std().get_program());
    limited
        .args(wharf.as_std().get_args())
        .current_dir(directory);
    limited.env_clear();
    for (name, value) in wharf.as_std().get_envs() {
        limited.envs(value.map(|value| (name, value)));
    }
    run(limited, b"").await
}

#[tokio::test]
async fn a_machine_without_room_for_guests_is_named_as_the_reason() -> Result<()> {
    let directory = tempfile::tempdir()?;
    // Enough for the process, and too little for the addresses that instances are kept ready in.
    let ended = limited(directory.path(), "--as=4000000000").await?;
    ensure!(ended.code == Some(1), "{ended:?}");
    ensure!(
        ended
            .stderr
            .contains("error: cannot set up what runs guests: "),
        "{ended:?}"
    );
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
    let guest = wharf_tests::component("probe")?;
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
    std::fs::copy(wharf_tests::component("probe")?, &inside)?;
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
