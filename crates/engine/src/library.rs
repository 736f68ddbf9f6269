//! The location of the engine's library.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use mpsync_core::error::{Error, Result};

use crate::ffi::Library;

/// The release of the library that this program is made for and tested with.
pub const LIBRARY_RELEASE: &str = "26.7.3-stable.1";

/// The environment variable that names the library's file.
pub const LIBRARY_VARIABLE: &str = "MPSYNC_LIBCHDB";

/// Returns the path of the library: `MPSYNC_LIBCHDB`, or else a file in the user's cache folder.
///
/// # Errors
///
/// Fails if there is no such file; the hint names the command that fetches it.
pub fn library_path() -> Result<PathBuf> {
    let path = match std::env::var_os(LIBRARY_VARIABLE) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => cached_path()?,
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::engine(format!("the ClickHouse library is not at {}", path.display()))
        .with_hint(format!("`just tools` (or `npx --yes rust-just tools`) fetches it; {LIBRARY_VARIABLE} names another place")))
}

fn cached_path() -> Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .ok_or_else(|| {
            Error::engine("neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder")
        })?;
    let name = if cfg!(target_os = "macos") {
        "libchdb.dylib"
    } else {
        "libchdb.so"
    };
    let folder = cache
        .join("mpsync")
        .join(format!("libchdb-{LIBRARY_RELEASE}"));
    // The package for macOS has the file name of Linux.
    Ok([name, "libchdb.so"]
        .map(|n| folder.join(n))
        .into_iter()
        .find(|p| p.is_file())
        .unwrap_or(folder.join("libchdb.so")))
}

/// Loads the library once per process; the first path wins.
pub(crate) fn load(path: &Path) -> Result<&'static Library> {
    static LOADED: Mutex<Option<&'static Library>> = Mutex::new(None);
    let mut loaded = LOADED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(library) = *loaded {
        return Ok(library);
    }
    let library = Library::load(path)?;
    *loaded = Some(library);
    Ok(library)
}
