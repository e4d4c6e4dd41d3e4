//! Where a PostgreSQL server's programs come from, and how to start one of them: binaries found on
//! this machine, or an image in a Docker engine.
//!
//! Knows nothing of data directories or of a server's life: that is `primary`.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One set of server programs of one major version.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) major: u32,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    /// The directory with `postgres`, `initdb` and the client tools.
    Local { bin: PathBuf },
    /// The image that holds them on its `PATH`.
    Docker { image: String },
}

/// No server of that kind is here; its `Display` says which, and how to get it.
#[derive(Debug)]
pub(crate) struct MissingServer(String);

impl fmt::Display for MissingServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Server {
    /// The server that the environment asks for: `WALCAST_TEST_PG` (`local`, the default, or
    /// `docker`) and `WALCAST_TEST_PG_MAJOR` (default: the first one found).
    pub(crate) fn wanted() -> Result<Server, MissingServer> {
        let major = std::env::var("WALCAST_TEST_PG_MAJOR")
            .ok()
            .map(|text| text.parse().expect("WALCAST_TEST_PG_MAJOR is a number such as 15"));
        Server::of_origin(major)
    }

    /// [`wanted`](Self::wanted), with the major version given.
    pub(crate) fn wanted_major(major: u32) -> Result<Server, MissingServer> {
        Server::of_origin(Some(major))
    }

    fn of_origin(major: Option<u32>) -> Result<Server, MissingServer> {
        match std::env::var("WALCAST_TEST_PG").as_deref() {
            Err(_) | Ok("" | "local") => Server::local(major),
            Ok("docker") => Server::docker(major),
            Ok(other) => panic!("WALCAST_TEST_PG is {other:?}: it can be local or docker"),
        }
    }

    /// Server programs found on this machine: `WALCAST_TEST_PG_DIRS`, `PATH`, the directories of
    /// the system's packages, and the cache that `scripts/test` fills, in this order.
    pub(crate) fn local(major: Option<u32>) -> Result<Server, MissingServer> {
        let found = Server::installed();
        found
            .iter()
            .find(|server| major.is_none_or(|wanted| server.major == wanted))
            .cloned()
            .ok_or_else(|| {
                let wanted =
                    major.map_or("PostgreSQL".into(), |major| format!("PostgreSQL {major}"));
                let others: Vec<u32> = found.iter().map(|server| server.major).collect();
                MissingServer(format!(
                    "no server programs of {wanted} on this machine (found: {others:?}); \
                 scripts/test installs them, WALCAST_TEST_PG_DIRS names directories to look in"
                ))
            })
    }

    /// An image `walcast-postgres:<major>` in the Docker engine that answers here.
    pub(crate) fn docker(major: Option<u32>) -> Result<Server, MissingServer> {
        let mut engine = Command::new("docker");
        engine.args(["version", "--format", "{{.Server.Version}}"]);
        if !engine.output().is_ok_and(|output| output.status.success()) {
            return Err(MissingServer(
                "no Docker engine answers here; `scripts/test --docker` installs and starts one"
                    .into(),
            ));
        }
        let mut list = Command::new("docker");
        list.args(["image", "ls", "--format", "{{.Tag}}", "walcast-postgres"]);
        let output = list.output().expect("docker starts, it just did");
        let tags = String::from_utf8_lossy(&output.stdout).into_owned();
        let majors = tags.lines().filter_map(|tag| tag.parse::<u32>().ok());
        match majors.filter(|found| major.is_none_or(|wanted| wanted == *found)).max() {
            Some(major) => {
                let image = format!("walcast-postgres:{major}");
                Ok(Server { major, origin: Origin::Docker { image } })
            }
            None => Err(MissingServer(
                "the Docker engine has no image walcast-postgres of the wanted major version; \
                 docker/make-image makes one"
                    .into(),
            )),
        }
    }

    /// Every major on this machine, once each, the preferred one first.
    pub(crate) fn installed() -> &'static [Server] {
        static FOUND: OnceLock<Vec<Server>> = OnceLock::new();
        FOUND.get_or_init(|| {
            let mut found: Vec<Server> = Vec::new();
            for bin in candidate_directories().iter().filter_map(|path| real_directory(path)) {
                if let Some(major) = major_of(&bin)
                    && found.iter().all(|server| server.major != major)
                {
                    found.push(Server { major, origin: Origin::Local { bin } });
                }
            }
            found
        })
    }

    /// The directory of the programs; `None` when they run inside containers.
    pub(crate) fn bin(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Local { bin } => Some(bin),
            Origin::Docker { .. } => None,
        }
    }

    /// Whether the programs run inside containers.
    pub(crate) fn in_docker(&self) -> bool {
        matches!(self.origin, Origin::Docker { .. })
    }

    /// Names this exact build, so that a cached cluster is never handed to another one.
    pub(crate) fn fingerprint(&self) -> String {
        let (place, version) = match &self.origin {
            Origin::Local { bin } => {
                let output = Command::new(bin.join("postgres")).arg("--version").output();
                (bin.display().to_string(), output.expect("postgres --version runs").stdout)
            }
            Origin::Docker { image } => {
                let mut inspect = Command::new("docker");
                inspect.args(["image", "inspect", "--format", "{{.Id}}", image]);
                (image.clone(), inspect.output().expect("docker image inspect runs").stdout)
            }
        };
        format!("{place} {}", String::from_utf8_lossy(&version).trim())
    }

    /// A command that runs `program` as `owner`, seeing the files under `root`. In Docker it runs
    /// in a container called `container`, on the host's network, so that loopback ports and Unix
    /// sockets are the same as without.
    pub(crate) fn command(
        &self,
        program: &str,
        root: &Path,
        owner: Owner,
        container: &str,
    ) -> Command {
        match &self.origin {
            Origin::Local { bin } => {
                let mut command = Command::new(bin.join(program));
                owner.become_in(&mut command);
                quiet_environment(&mut command);
                command
            }
            Origin::Docker { image } => {
                let mut command = Command::new("docker");
                command.args(["run", "--rm", "--network", "host", "--init=false"]);
                command.args(["--name", container, "--label", "walcast-test"]);
                command.arg("--user").arg(format!("{}:{}", owner.uid, owner.gid));
                // initdb wants a name for the user it runs as.
                command.args(["--volume", "/etc/passwd:/etc/passwd:ro"]);
                command.arg("--volume").arg(format!("{0}:{0}", root.display()));
                command.args(["--shm-size", "256m", "--env", "LC_ALL=C", image, program]);
                command
            }
        }
    }
}

/// Keeps the caller's `PG*` variables and locale away from a server program.
pub(crate) fn quiet_environment(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C");
    for kept in ["PATH", "TMPDIR", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
}

/// The user that server programs run as: PostgreSQL refuses root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether the test process is root and has to step down.
    steps_down: bool,
}

impl Owner {
    /// For a test process that runs as `uid` and `gid`: itself, or when it is root `postgres`,
    /// else `nobody`.
    pub(crate) fn for_process(uid: u32, gid: u32) -> Owner {
        static OF_ROOT: OnceLock<Owner> = OnceLock::new();
        if uid != 0 {
            return Owner { uid, gid, steps_down: false };
        }
        *OF_ROOT.get_or_init(|| {
            let found = ["postgres", "nobody"].into_iter().find_map(|name| {
                Some(Owner { uid: id("-u", name)?, gid: id("-g", name)?, steps_down: true })
            });
            found.expect("root needs a user `postgres` or `nobody` to run the server as")
        })
    }

    pub(crate) fn become_in(self, command: &mut Command) {
        if self.steps_down {
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Hands one file or directory to the server's user.
    pub(crate) fn own(self, path: &Path) {
        if self.steps_down {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).unwrap();
        }
    }
}

fn id(option: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([option, name]).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

fn candidate_directories() -> Vec<PathBuf> {
    let paths = |name| {
        let value = std::env::var_os(name).unwrap_or_default();
        std::env::split_paths(&value).filter(|path| path.is_absolute()).collect::<Vec<_>>()
    };
    let mut candidates = paths("WALCAST_TEST_PG_DIRS");
    candidates.extend(paths("PATH"));
    candidates.extend(versions_in("/usr/lib/postgresql".as_ref()));
    candidates.extend((14..=18).rev().map(|major| format!("/usr/pgsql-{major}/bin").into()));
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    for cache in [cache, Some("/var/cache".into()), home].into_iter().flatten() {
        candidates.extend(versions_in(&cache.join("walcast/postgresql")));
    }
    candidates
}

/// `<parent>/<major>/bin`, the newest first.
fn versions_in(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let number = |name: &OsStr| name.to_str()?.parse::<u32>().ok();
    let mut majors: Vec<u32> = entries.filter_map(|entry| number(&entry.file_name())).collect();
    majors.sort_unstable_by(|a, b| b.cmp(a));
    majors.into_iter().map(|major| parent.join(major.to_string()).join("bin")).collect()
}

/// Where the programs really lie: a directory on `PATH` may link to only some of them.
fn real_directory(bin: &Path) -> Option<PathBuf> {
    Some(bin.join("postgres").canonicalize().ok()?.parent()?.to_path_buf())
}

/// The major version of the server programs in `bin`, if a whole set of them is there.
fn major_of(bin: &Path) -> Option<u32> {
    if !["postgres", "initdb"].iter().all(|program| bin.join(program).is_file()) {
        return None;
    }
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version =
        text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_numeric()))?;
    version.split(|c: char| !c.is_numeric()).next()?.parse().ok().filter(|&major| major >= 14)
}
