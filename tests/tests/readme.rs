//! Follows the README's "Your first guest" to the letter: what is between its two marks is all that a newcomer is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::process::Command;
use wharf_tests::{Wharf, target, workspace};

const README: &str = include_str!("../../README.md");

/// One block of code.
struct Block<'a> {
    language: &'a str,
    text: &'a str,
}

#[tokio::test]
async fn your_first_guest_works_as_the_readme_says() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut newcomer = Newcomer::arrive(folder.path())?;
    let followed = newcomer.follow(&blocks(README)?).await;
    // The last that the README says of it.
    let stopped = newcomer.interrupt().await;
    followed?;
    stopped
}

/// The blocks of code between the marks.
fn blocks(readme: &str) -> Result<Vec<Block<'_>>> {
    let (_, rest) = readme
        .split_once("<!-- first-guest -->\n")
        .context("the README has no first guest")?;
    let (section, _) = rest
        .split_once("<!-- /first-guest -->")
        .context("the first guest has no end")?;
    let fenced = section.split("```").skip(1).step_by(2);
    let blocks: Vec<_> = fenced.filter_map(|block| block.split_once('\n')).collect();
    ensure!(
        blocks.len() >= 5,
        "only {} blocks of code were found",
        blocks.len()
    );
    Ok(blocks
        .into_iter()
        .map(|(name, text)| Block {
            language: name.split_once(',').map_or(name, |(language, _)| language),
            text,
        })
        .collect())
}

/// Somebody with a clone of the repository and an empty folder beside it.
struct Newcomer {
    /// Where the shell is.
    folder: PathBuf,
    /// `wharf run`, in a terminal of its own.
    host: Option<Wharf>,
}

impl Newcomer {
    fn arrive(folder: &Path) -> Result<Self> {
        std::os::unix::fs::symlink(workspace(), folder.join("wharf"))?;
        // The crates that the first build compiles are kept for the next run of this test.
        fs::create_dir_all(target()?.join("readme"))?;
        Ok(Self {
            folder: folder.to_owned(),
            host: None,
        })
    }

    async fn follow(&mut self, blocks: &[Block<'_>]) -> Result<()> {
        let mut said = String::new();
        for Block { language, text } in blocks {
            match *language {
                "sh" if text.starts_with("wharf run") => self.run(text).await?,
                // Built already: the programs of this workspace are first on PATH.
                "sh" if text.starts_with("cargo install") => {}
                "sh" => said = self.shell(text).await?,
                // A reply ends without a new line where it is not read by people.
                "text" => ensure!(
                    said.trim_end() == text.trim_end(),
                    "the README promises\n{text}but it was\n{said}"
                ),
                "toml" | "rust" => self.write(text)?,
                other => bail!("nothing is known of blocks of `{other}`"),
            }
        }
        Ok(())
    }

    /// Does what a block says, and stays where it went. Returns what it said.
    async fn shell(&mut self, script: &str) -> Result<String> {
        let output = self
            .bash(&format!("{script}\nprintf '\\n%s' \"$PWD\""))?
            .kill_on_drop(true)
            .output()
            .await?;
        let stdout = String::from_utf8(output.stdout)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "failed: {script}\n{stdout}\n{stderr}"
        );
        let (said, folder) = stdout
            .rsplit_once('\n')
            .context("the shell does not say where it is")?;
        self.folder = folder.into();
        Ok(said.to_owned())
    }

    /// Writes a file whose first line is a comment that names it.
    fn write(&self, text: &str) -> Result<()> {
        let comment = text.lines().next().unwrap_or_default();
        let name = comment.trim_start_matches(['#', '/', ' ']);
        let file = self.folder.join(name);
        ensure!(file.is_file(), "{comment:?} names no file that is there");
        fs::write(&file, text)?;
        // The versions that this workspace is tested with, and no need to ask a registry for them.
        fs::copy(
            workspace().join("Cargo.lock"),
            self.folder.join("Cargo.lock"),
        )?;
        let built = self.folder.join("target");
        if !built.exists() {
            std::os::unix::fs::symlink(target()?.join("readme"), built)?;
        }
        Ok(())
    }

    /// Starts the host and waits until it is ready.
    async fn run(&mut self, script: &str) -> Result<()> {
        let command = self.bash(&format!("exec {script}"))?;
        self.host = Some(Wharf::start(command).await?);
        Ok(())
    }

    /// Presses Ctrl-C where the host runs.
    async fn interrupt(&mut self) -> Result<()> {
        let host = self.host.take().context("the README starts no host")?;
        host.signal(Signal::INT)?;
        host.ends().await?.well()?;
        Ok(())
    }

    fn bash(&self, script: &str) -> Result<Command> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = [target()?.join("debug")]
            .into_iter()
            .chain(std::env::split_paths(&path));
        let mut bash = Command::new("bash");
        bash.args(["-euc", script])
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        bash.env("PATH", std::env::join_paths(paths)?);
        // What Cargo and xtask tell a test is not what a newcomer's shell has.
        let variables = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        for name in variables.filter(|name| name.starts_with("NATS_") || name == "CARGO_TARGET_DIR")
        {
            bash.env_remove(name);
        }
        Ok(bash)
    }
}
