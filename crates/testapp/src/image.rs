//! The `FROM scratch` image: the static binary and nothing else, so that tests need no registry.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The `testapp` binary beside the running test (`…/debug/deps/the_test` → `…/debug/testapp`), built
/// first when it is not there: Cargo does not build the binaries of a dependency.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn binary() -> PathBuf {
    match try_binary() {
        Ok(path) => path,
        Err(error) => panic!("cannot find or build the testapp binary: {error}"),
    }
}

fn try_binary() -> io::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let beside = test.ancestors().skip(1).take(3);
    let path = beside
        .map(|folder| folder.join("testapp"))
        .find(|path| path.is_file());
    if let Some(path) = path {
        return Ok(path);
    }
    let folder = test
        .ancestors()
        .find(|folder| folder.ends_with("debug") || folder.ends_with("release"))
        .ok_or_else(|| io::Error::other("the test does not run from a target folder"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "build",
        "--quiet",
        "--package",
        "testapp",
    ]);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    let built = build.status()?;
    let path = folder.join("testapp");
    if built.success() && path.is_file() {
        Ok(path)
    } else {
        Err(io::Error::other(format!("{} is not there", path.display())))
    }
}

/// Makes sure that the image of `binary` is on this machine and returns its name,
/// `baton-testapp:<hash of the binary>`. Idempotent; many processes may call it at once (each
/// builds in a folder of its own, and the same bytes end as the same tag).
///
/// # Panics
/// When Docker cannot build it: a test without its image has nothing to say.
#[must_use]
pub fn ensure_image(binary: &Path) -> String {
    match try_ensure_image(binary) {
        Ok(name) => name,
        Err(error) => panic!(
            "cannot build the test image of {}: {error}",
            binary.display()
        ),
    }
}

/// Like [`ensure_image`], for callers that can say what went wrong themselves.
///
/// # Errors
/// When the binary cannot be read or `docker build` fails; its output is in the message.
pub fn try_ensure_image(binary: &Path) -> io::Result<String> {
    let bytes = std::fs::read(binary)?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let name = format!("baton-testapp:{:016x}", hasher.finish());
    let present = Command::new("docker")
        .args(["image", "inspect", &name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if present.success() {
        return Ok(name);
    }
    let folder = BuildFolder::new(&name)?;
    std::fs::copy(binary, folder.0.join("testapp"))?;
    std::fs::write(
        folder.0.join("Dockerfile"),
        "FROM scratch\nCOPY testapp /testapp\nENTRYPOINT [\"/testapp\"]\n",
    )?;
    // The classic builder: BuildKit needs the buildx plugin, which is not everywhere.
    let built = Command::new("docker")
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "--quiet", "--tag", &name])
        .arg(&folder.0)
        .output()?;
    if built.status.success() {
        Ok(name)
    } else {
        Err(io::Error::other(
            String::from_utf8_lossy(&built.stderr).into_owned(),
        ))
    }
}

/// Removed with everything in it when dropped.
struct BuildFolder(PathBuf);

impl BuildFolder {
    fn new(name: &str) -> io::Result<BuildFolder> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = name.replace(':', "-");
        let unique = format!("{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path)?;
        Ok(BuildFolder(path))
    }
}

impl Drop for BuildFolder {
    fn drop(&mut self) {
        // What stays behind is a copy of a test binary in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
