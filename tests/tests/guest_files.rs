//! Files of guests: what is reached by a granted directory, and what a guest may use up there. A neighbour answers meanwhile.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wharf::config::{Config, DirectoryAccess, DirectoryGrant, GuestSettings};
use wharf::{GuestStatus, Host};
use wharf_tests::probe::{Probe, config};
use wharf_tests::wharf::{Wharf, command, run};
use wharf_tests::{TestServer, component, soon, until};

const MIB: u64 = 1024 * 1024;

/// A guest is told so where it may add no more.
const NO_SPACE: &str = "No space left";

/// A guest in Rust is told so where it may write no more: its library does not ask a stream for the reason.
const NOT_WRITTEN: &str = "I/O error";

/// Bytes that a name counts as.
const NAME: u64 = 4096;

struct Stage {
    probe: Probe,
    /// The directory on the host that the guest sees as `/d`.
    granted: PathBuf,
}

impl Stage {
    /// A host with the guest `files`, which has one directory, `/d`, and a probe as its neighbour.
    async fn set(
        access: DirectoryAccess,
        change: impl FnOnce(&mut GuestSettings, &Path),
    ) -> Result<Self> {
        let component = component("files")?;
        let probe = Probe::start(|config, _, directory| {
            let granted = directory.path().join("granted");
            std::fs::create_dir(&granted).expect("a new directory");
            let mut settings = GuestSettings::new(component);
            settings.subscribe = vec!["files".into()];
            settings.dirs = vec![DirectoryGrant::new(granted.clone(), "/d", access)];
            change(&mut settings, &granted);
            config.guests.insert("files".to_owned(), settings);
        })
        .await?;
        let granted = probe.directory.path().join("granted");
        Ok(Self { probe, granted })
    }

    async fn writable(disk_bytes: u64) -> Result<Self> {
        Self::set(DirectoryAccess::ReadWrite, |settings, _| {
            settings.limits.disk_bytes = disk_bytes;
        })
        .await
    }

    /// Has the guest do it, and a neighbour answer meanwhile.
    async fn run(&self, deed: Value) -> Result<String> {
        let reply = self.probe.send("files", &deed);
        let (reply, neighbour) = tokio::join!(reply, self.probe.describe("probe"));
        ensure!(neighbour?["subject"] == "probe", "the neighbour is silent");
        let reply = reply?;
        match &reply.headers {
            None => Ok(serde_json::from_slice(&reply.payload)?),
            Some(error) => Ok(format!("{error:?}")),
        }
    }

    async fn does(&self, deed: Value, outcome: &str) -> Result<()> {
        let came = self.run(deed.clone()).await?;
        ensure!(came.starts_with(outcome), "{deed} came out as {came}");
        Ok(())
    }

    fn status(&self) -> Result<GuestStatus> {
        let all = self.probe.host.guests();
        let found = all.into_iter().find(|guest| guest.name == "files");
        found.context("it runs")
    }

    /// Waits until so many bytes on disk are counted: files are closed by and by.
    async fn counts(&self, bytes: u64) -> Result<()> {
        let counted = || self.status().map(|status| status.disk_bytes).ok();
        let what = format!("{bytes} bytes on disk");
        let is_so = until(&what, || counted() == Some(bytes)).await;
        is_so.with_context(|| format!("{:?} bytes are counted", counted()))
    }
}

fn anonymous_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("no RssAnon")?.trim().parse()?;
    Ok(kib * 1024)
}

#[tokio::test]
async fn a_directory_that_is_renamed_or_replaced_after_it_was_granted_stays_the_one_it_was()
-> Result<()> {
    let stage = Stage::set(DirectoryAccess::Read, |settings, granted| {
        settings.instances.reuse = 1.try_into().expect("it is not 0");
        std::fs::write(granted.join("file"), "granted").expect("a new file");
    })
    .await?;
    let read = || json!({ "do": "read", "path": "/d/file" });
    stage.does(read(), "granted").await?;
    let secret = stage.probe.directory.path().join("secret");
    std::fs::create_dir(&secret)?;
    std::fs::write(secret.join("file"), "secret")?;
    let moved = stage.granted.with_file_name("moved");
    std::fs::rename(&stage.granted, &moved)?;
    stage.does(read(), "granted").await?;
    std::os::unix::fs::symlink(&secret, &stage.granted)?;
    stage.does(read(), "granted").await?;
    std::fs::remove_dir_all(moved)?;
    stage.does(read(), "No such file").await
}

/// What is said of a configuration by which a host does not start.
async fn refusal(change: impl FnOnce(&mut Config, &TempDir) -> Result<()>) -> Result<String> {
    let server = TestServer::start("").await?;
    let directory = tempfile::tempdir()?;
    let mut config = config(&server);
    let mut settings = GuestSettings::new(component("files")?);
    let grant = DirectoryGrant::new(directory.path(), "/d", DirectoryAccess::Read);
    settings.dirs = vec![grant];
    config.guests.insert("files".to_owned(), settings);
    change(&mut config, &directory)?;
    match Host::builder(config).start().await {
        Ok(_) => anyhow::bail!("it started"),
        Err(error) => Ok(format!("{:#}", anyhow::Error::from(error))),
    }
}

#[tokio::test]
async fn a_directory_that_has_what_is_the_hosts_own_is_not_granted() -> Result<()> {
    let said = refusal(|config, directory| {
        config.files = vec![directory.path().join("etc/wharf.toml")];
        Ok(())
    })
    .await?;
    ensure!(
        said.contains("it contains the configuration file"),
        "{said}"
    );
    let said = refusal(|config, directory| {
        config.host.cache = Some(directory.path().to_owned());
        Ok(())
    })
    .await?;
    ensure!(said.contains("it contains the compile cache"), "{said}");
    let said = refusal(|config, directory| {
        let copy = directory.path().join("copy.wasm");
        std::fs::copy(component("files")?, &copy)?;
        let settings = GuestSettings::new(copy);
        config.guests.insert("other".to_owned(), settings);
        Ok(())
    })
    .await?;
    ensure!(said.contains("component of guest \"other\""), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_component_in_a_directory_of_another_guest_is_not_loaded() -> Result<()> {
    let stage = Stage::writable(MIB).await?;
    let copy = stage.granted.join("copy.wasm");
    std::fs::copy(component("files")?, &copy)?;
    let loaded = stage.probe.host.load("other", GuestSettings::new(copy));
    let error = loaded.await.err().context("it was loaded")?;
    let said = format!("{:#}", anyhow::Error::from(error));
    ensure!(said.contains("a directory of guest \"files\""), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_guest_has_so_many_descriptors_open_in_all_and_they_are_free_when_its_instance_is_gone()
-> Result<()> {
    let stage = Stage::set(DirectoryAccess::Read, |settings, granted| {
        settings.limits.descriptors = 100;
        std::fs::write(granted.join("file"), "text").expect("a new file");
    })
    .await?;
    let deed = json!({ "do": "open", "path": "/d/file", "count": 10_000 });
    let came = stage.run(deed.clone()).await?;
    ensure!(came.starts_with("100, then Out of memory"), "{came}");
    ensure!(stage.status()?.descriptors == 100, "{:?}", stage.status()?);
    let came = stage.run(deed).await?;
    ensure!(came.starts_with("0, then"), "{came}");
    ensure!(stage.status()?.stats.files_refused == 2);
    stage.run(json!({ "do": "trap" })).await?;
    until("they are free", || {
        matches!(stage.status(), Ok(status) if status.descriptors == 0 && status.file_calls == 0)
    })
    .await?;
    let read = json!({ "do": "read", "path": "/d/file" });
    stage.does(read, "text").await
}

#[tokio::test]
async fn all_guests_together_leave_half_of_the_descriptors_to_the_host() -> Result<()> {
    let server = TestServer::start("").await?;
    let directory = tempfile::tempdir()?;
    let granted = directory.path().join("granted");
    std::fs::create_dir(&granted)?;
    std::fs::write(granted.join("file"), "text")?;
    let component = component("files")?;
    let guest = |name: &str| {
        format!(
            "[guests.{name}]\ncomponent = {component:?}\nsubscribe = ['{name}']\n\
             dirs = [{{ host = 'granted', guest = '/d' }}]\nlimits = {{ descriptors = 1000, resources = 1000 }}\n"
        )
    };
    let text = format!("{}{}", guest("a"), guest("b"));
    std::fs::write(directory.path().join("wharf.toml"), text)?;
    let url = server.url();
    let wharf = command(directory.path(), &["run", "--server", &url])?;
    let mut shell = tokio::process::Command::new("bash");
    shell
        .args(["-c", "ulimit -n 300; exec \"$@\"", "-"])
        .arg(wharf.as_std().get_program())
        .args(wharf.as_std().get_args())
        .current_dir(directory.path());
    let host = Wharf::start(shell).await?;
    let client = server.client().await?;
    let open = json!({ "do": "open", "path": "/d/file", "count": 1000 }).to_string();
    let mut opened = 0;
    for name in ["a", "b"] {
        let reply = soon("an answer", client.request(name, open.clone().into())).await??;
        let said: String = serde_json::from_slice(&reply.payload)?;
        let count = said
            .split_once(", then Out of memory")
            .context(said.clone())?;
        opened += count.0.parse::<u32>()?;
    }
    ensure!(opened == 150, "{opened} are open");
    // The host goes on: it hears, and it answers.
    let read = json!({ "do": "read", "path": "/d/file" }).to_string();
    let reply = soon("an answer", client.request("b", read.into())).await??;
    let said: String = serde_json::from_slice(&reply.payload)?;
    ensure!(said.starts_with("Out of memory"), "{said}");
    host.stop().await?.well()?;
    Ok(())
}

#[tokio::test]
async fn what_a_guest_uses_of_files_is_seen_by_operators() -> Result<()> {
    let component = component("files")?;
    let probe = Probe::start(|config, _, directory| {
        config.http.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.admin.enabled = true;
        config.host.name = Some("here".to_owned());
        let mut settings = GuestSettings::new(component);
        settings.subscribe = vec!["files".into()];
        let access = DirectoryAccess::ReadWrite;
        settings.dirs = vec![DirectoryGrant::new(directory.path(), "/d", access)];
        config.guests.insert("files".to_owned(), settings);
    })
    .await?;
    let write = json!({ "do": "write", "path": "/d/a", "bytes": 1000 });
    probe.send("files", &write).await?;
    let open = json!({ "do": "open", "path": "/d/a", "count": 3 });
    probe.send("files", &open).await?;
    until("the first file is closed, and its thread back", || {
        let all = probe.host.guests();
        all.iter()
            .any(|guest| guest.descriptors == 3 && guest.file_calls == 0)
    })
    .await?;
    let address = probe.host.http_address().context("an address")?;
    let mut stream = TcpStream::connect(address).await?;
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut metrics = String::new();
    soon("the metrics", stream.read_to_string(&mut metrics)).await??;
    for line in [
        "wharf_guest_descriptors{guest=\"files\"} 3",
        "wharf_guest_disk_bytes{guest=\"files\"} 5096",
        "wharf_guest_file_calls{guest=\"files\"} 0",
        "wharf_guest_files_refused_total{guest=\"files\"} 0",
    ] {
        ensure!(metrics.contains(line), "{line}: {metrics}");
    }
    let url = probe.server.url();
    let arguments = ["guests", "show", "files", "--server", &url];
    let shown = run(command(probe.server.directory(), &arguments)?, b"").await?;
    let shown = shown.text()?;
    let line = "3 of 256 descriptors, 0 of 4 calls at once, 5096 of 1073741824 bytes more on disk";
    ensure!(shown.contains(line), "{shown}");
    Ok(())
}

#[tokio::test]
async fn directories_of_any_size_are_listed_whole_and_not_held() -> Result<()> {
    const ENTRIES: usize = 100_000;
    let stage = Stage::set(DirectoryAccess::Read, |settings, granted| {
        settings.limits.time = std::time::Duration::from_secs(30);
        for name in 0..ENTRIES {
            std::fs::write(granted.join(format!("{name:0100}")), "").expect("a new file");
        }
    })
    .await?;
    let read = json!({ "do": "read", "path": "/d/none" });
    stage.does(read, "No such file").await?;
    let before = anonymous_bytes()?;
    let deed = json!({ "do": "list", "path": "/d", "count": 300 });
    let came = stage.run(deed).await?;
    let grown = anonymous_bytes()?.saturating_sub(before);
    ensure!(came.contains("then Out of memory"), "{came}");
    // As many lists of all entries would be 4 GB.
    ensure!(
        grown < 256 * MIB,
        "{came}: the host has grown by {grown} bytes"
    );
    stage.run(json!({ "do": "trap" })).await?;
    let deed = json!({ "do": "count", "path": "/d" });
    stage.does(deed, &ENTRIES.to_string()).await
}

#[tokio::test]
async fn a_pipe_or_a_device_is_not_opened_and_nobody_waits_for_its_other_end() -> Result<()> {
    let stage = Stage::set(DirectoryAccess::ReadWrite, |_, granted| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        let pipe = granted.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, pipe, kind, mode, 0).expect("a new pipe");
    })
    .await?;
    for deed in [
        json!({ "do": "open", "path": "/d/pipe", "count": 8 }),
        json!({ "do": "keep", "path": "/d/pipe" }),
        json!({ "do": "write", "path": "/d/pipe", "bytes": 1 }),
    ] {
        let came = stage.run(deed).await?;
        ensure!(came.contains("Not supported"), "{came}");
    }
    until("no call waits", || {
        matches!(stage.status(), Ok(status) if status.file_calls == 0 && status.descriptors == 0)
    })
    .await
}

#[tokio::test]
async fn what_a_guest_adds_on_disk_is_bounded_and_what_it_removes_is_free_again() -> Result<()> {
    let stage = Stage::writable(MIB).await?;
    let write = |path: &str, bytes: u64| json!({ "do": "write", "path": path, "bytes": bytes });
    let remove = |path: &str| json!({ "do": "remove", "path": path });
    stage.does(write("/d/a", MIB / 2), "done").await?;
    stage.counts(MIB / 2 + NAME).await?;
    // Written anew, it takes no more.
    stage.does(write("/d/a", MIB / 2), "done").await?;
    stage.counts(MIB / 2 + NAME).await?;
    stage.does(write("/d/b", MIB), NOT_WRITTEN).await?;
    let on_disk = std::fs::metadata(stage.granted.join("b"))?.len();
    ensure!(on_disk < MIB / 2, "{on_disk} bytes");
    stage.does(remove("/d/b"), "done").await?;
    stage.counts(MIB / 2 + NAME).await?;
    let append = json!({ "do": "append", "path": "/d/a", "bytes": 1000 });
    stage.does(append, "done").await?;
    stage.counts(MIB / 2 + NAME + 1000).await?;
    let resize = |bytes: u64| json!({ "do": "resize", "path": "/d/a", "bytes": bytes });
    stage.does(resize(1 << 40), NO_SPACE).await?;
    let far = json!({ "do": "write_at", "path": "/d/a", "place": 1_u64 << 40 });
    stage.does(far, NOT_WRITTEN).await?;
    stage.does(resize(100), "done").await?;
    stage.counts(100 + NAME).await?;
    stage.does(remove("/d/a"), "done").await?;
    stage.counts(0).await?;
    let make = json!({ "do": "make", "path": "/d/f", "count": 1000 });
    stage.does(make, "256, then No space left").await?;
    ensure!(stage.status()?.stats.files_refused > 3);
    Ok(())
}

#[tokio::test]
async fn a_removed_file_counts_until_nothing_has_it_and_one_that_is_replaced_does_not() -> Result<()>
{
    let stage = Stage::writable(MIB).await?;
    let write = |path: &str| json!({ "do": "write", "path": path, "bytes": MIB / 2 });
    let remove = |path: &str| json!({ "do": "remove", "path": path });
    stage.does(write("/d/a"), "done").await?;
    stage
        .does(json!({ "do": "keep", "path": "/d/a" }), "done")
        .await?;
    stage.does(remove("/d/a"), "done").await?;
    stage.counts(MIB / 2 + NAME).await?;
    stage.run(json!({ "do": "trap" })).await?;
    stage.counts(0).await?;
    stage.does(write("/d/a"), "done").await?;
    // A name more is counted, and a name less is not counted down.
    let link = json!({ "do": "link", "path": "/d/a", "to": "/d/b" });
    stage.does(link, "done").await?;
    stage.counts(MIB / 2 + 2 * NAME).await?;
    stage.does(remove("/d/b"), "done").await?;
    stage.counts(NAME).await?;
    for _ in 0..20 {
        let deed = json!({ "do": "replace", "path": "/d/a", "with": "/d/b", "bytes": MIB / 4 });
        stage.does(deed, "done").await?;
    }
    stage.counts(MIB / 4 + 2 * NAME).await
}
