//! Fresh clusters, cheaply: `initdb` runs once per server build, its result is copied per test.
//!
//! Copies share one system identifier, which is what a restored backup would do too; a test that
//! needs two strangers asks for a cluster of its own.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::{Owner, Server};
use super::tether::Tether;

const INITDB: [&str; 9] = [
    "--username",
    "postgres",
    "--auth",
    "trust",
    "--encoding",
    "UTF8",
    "--locale",
    "C",
    "--no-sync",
];

/// Makes `data` a new cluster: a copy of the template, or with `fresh` one with its own system id.
pub(crate) fn make_cluster(server: &Server, owner: Owner, data: &Path, fresh: bool) {
    if fresh {
        initdb(server, owner, data);
    } else {
        copy(&template(server, owner), data);
    }
}

/// A directory for one cluster, readable by the server's user, with a path short enough for a Unix
/// socket below it (107 bytes in all).
pub(crate) fn short_directory() -> (PathBuf, Owner) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let mut parent = std::env::temp_dir();
    if parent.as_os_str().len() > 60 {
        parent = "/tmp".into();
    }
    let made = tempfile::Builder::new().prefix("wc").rand_bytes(8).tempdir_in(parent);
    let root = made.expect("a temporary directory can be made").keep();
    let metadata = fs::metadata(&root).unwrap();
    let owner = Owner::for_process(metadata.uid(), metadata.gid());
    fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
    owner.own(&root);
    (root, owner)
}

fn template(server: &Server, owner: Owner) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (server.fingerprint(), owner.uid, INITDB).hash(&mut hasher);
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clusters");
    fs::create_dir_all(&store).unwrap();
    let name = format!("{}-{:016x}", server.major, hasher.finish());
    let finished = store.join(&name);
    let lock = File::create(store.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !finished.exists() {
        // Made where the server's user can reach it, then moved in by a name that appears whole.
        let (root, owner) = short_directory();
        let _removes = Tether::new("rm -rf \"$1\"", &[root.as_os_str()]);
        let partial = store.join(format!("{name}.partial"));
        let _ = fs::remove_dir_all(&partial);
        initdb(server, owner, &root.join("data"));
        copy(&root.join("data"), &partial);
        fs::rename(&partial, &finished).unwrap();
    }
    finished
}

fn initdb(server: &Server, owner: Owner, data: &Path) {
    let root = data.parent().expect("a cluster lies in its own directory");
    let container = format!("walcast-initdb-{}", root.file_name().unwrap().to_string_lossy());
    let mut command = server.command("initdb", root, owner, &container);
    command.args(INITDB).arg("--pgdata").arg(data);
    let output = command.current_dir("/").output().expect("initdb starts");
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
}

/// Copies with owners and modes kept, which `std` cannot do.
fn copy(from: &Path, to: &Path) {
    let output = Command::new("cp").arg("-a").arg(from).arg(to).output().expect("cp starts");
    assert!(output.status.success(), "cp: {}", String::from_utf8_lossy(&output.stderr));
}
