//! Debian's kernels: downloaded and unpacked once, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::succeed;
use crate::process::{as_owner, say};
use crate::workspace;

/// A kernel that natgw is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Version {
    /// Debian 12's own
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's, from Debian 12's backports
    #[value(name = "6.12")]
    V6_12,
}

impl Version {
    /// As on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    const fn suite(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 => "bookworm-backports",
        }
    }
}

/// An unpacked kernel.
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// What QEMU boots.
    pub(super) image: PathBuf,
    /// The directory that `lib/modules` is in.
    pub(super) root: PathBuf,
}

/// The kernel, from the cache or from Debian.
pub(super) fn fetch(version: Version) -> Result<Kernel> {
    let dir = workspace::cache().join("vm").join(format!("linux-{}", version.name()));
    let root = dir.join("root");
    if let Ok(kernel) = find(&root) {
        return Ok(kernel);
    }
    say(&format!("downloading Linux {} from Debian's {}, once (100 MB)", version.name(), version.suite()));
    let apt = Apt::new(&dir.join("apt"), version.suite())?;
    succeed(apt.command("apt-get").args(["-qq", "update"]))?;
    let depends = succeed(apt.command("apt-cache").args(["depends", "linux-image-amd64"]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .with_context(|| format!("{} has no linux-image-amd64", version.suite()))?;
    succeed(apt.command("apt-get").args(["-qq", "download", package]).current_dir(&dir))?;
    let archive = fs::read_dir(&dir)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .with_context(|| format!("apt-get put no {package} into {}", dir.display()))?;
    // Renamed when it is whole: an interrupted download is no kernel.
    let fresh = dir.join("fresh");
    drop(fs::remove_dir_all(&fresh));
    succeed(owned("dpkg-deb").arg("-x").arg(&archive).arg(&fresh))?;
    let release = find(&fresh)?.release;
    succeed(owned("depmod").arg("-b").arg(&fresh).arg(&release))?;
    drop(fs::remove_dir_all(&root));
    fs::rename(&fresh, &root)?;
    fs::remove_file(archive)?;
    find(&root)
}

fn find(root: &Path) -> Result<Kernel> {
    let boot = root.join("boot");
    for entry in fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?.flatten() {
        if let Some(release) = entry.file_name().to_string_lossy().strip_prefix("vmlinuz-") {
            return Ok(Kernel { release: release.to_owned(), image: entry.path(), root: root.to_owned() });
        }
    }
    anyhow::bail!("no kernel in {}", boot.display())
}

/// apt with lists and sources of its own: the system's are left alone.
struct Apt(Vec<String>);

impl Apt {
    fn new(dir: &Path, suite: &str) -> Result<Self> {
        succeed(
            owned("mkdir").arg("-p").arg(dir.join("lists/partial")).arg(dir.join("cache/archives/partial")),
        )?;
        let sources = dir.join("sources.list");
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        fs::write(
            &sources,
            format!("deb [signed-by={keyring}] http://deb.debian.org/debian {suite} main\n"),
        )?;
        let dir = dir.display();
        Ok(Self(vec![
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={dir}/lists"),
            format!("Dir::Cache={dir}/cache"),
            // Root's apt downloads as another user, who may not write here.
            "APT::Sandbox::User=root".to_owned(),
        ]))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = owned(program);
        for option in &self.0 {
            command.args(["-o", option]);
        }
        command
    }
}

fn owned(program: &str) -> Command {
    let mut command = Command::new(program);
    as_owner(&mut command);
    command
}
