//! Resolves the paths of `file()` below the engine's own folder and the readable folders.
//!
//! The library ignores `user_files_path`, and a grant for the source FILE would allow more than `file()`: any table name
//! that is a path, `filesystem()`, `url('file://…')`. So it never gets that grant. A `file('…')` in the place of a table
//! becomes a `url()` of this process, below which the file is served to that query alone. The file is resolved here,
//! component by component and without following symbolic links.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use globset::GlobMatcher;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use mpsync_core::error::{Context, Result};

use crate::exception::{Exception, code};
use crate::files::pattern::{is_pattern, matcher};
use crate::files::sandbox_dir::{self, NewFile};
use crate::statement::lexer::quoted;
use crate::statement::policy::FileUse;

/// The route below which files are served to the engine's own queries.
pub(crate) const ROUTE: &str = "/_files/";
/// The most files that one pattern may match.
const FILES_MAX: usize = 10_000;
/// Characters that are not escaped in a URL's path: none that `url()` interprets as a pattern or as the end of the path.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'=');

/// A folder of `file()`.
struct Root {
    /// Its name in URLs and messages.
    name: String,
    path: PathBuf,
    writable: bool,
}

/// The folders of `file()`: the engine's own first, readable and writable; the others readable.
pub(crate) struct FileRoots {
    roots: Vec<Root>,
}

/// A file below one of the roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileLocation {
    root: usize,
    parts: Vec<String>,
}

impl FileRoots {
    /// Opens the folders; fails if one does not exist.
    pub(crate) fn new(own: &Path, readable: &[PathBuf]) -> Result<Self> {
        let root = |name: String, path: &Path, writable| -> Result<Root> {
            let path = path
                .canonicalize()
                .context(|| format!("resolving the folder {} for file()", path.display()))?;
            Ok(Root {
                name,
                path,
                writable,
            })
        };
        let mut roots = vec![root("user_files".to_owned(), own, true)?];
        for (i, path) in readable.iter().enumerate() {
            roots.push(root(format!("readable_{i}"), path, false)?);
        }
        Ok(Self { roots })
    }

    /// Parses a path. A relative path is below the engine's own folder. Pure: the file system is not accessed.
    fn place(&self, path: &str) -> Result<FileLocation, Exception> {
        let text = Path::new(path);
        let (root, below) = if text.is_absolute() {
            let found = self
                .roots
                .iter()
                .enumerate()
                .find_map(|(i, root)| Some((i, text.strip_prefix(&root.path).ok()?)));
            found.ok_or_else(|| {
                let roots: Vec<_> = self
                    .roots
                    .iter()
                    .map(|r| r.path.display().to_string())
                    .collect();
                Exception::denied(format!(
                    "file(): {path} is not below {}",
                    roots.join(" or ")
                ))
            })?
        } else {
            (0, text)
        };
        let below = below.to_str().unwrap_or(path);
        let parts: Vec<String> = below
            .split('/')
            .filter(|p| !matches!(*p, "" | "."))
            .map(str::to_owned)
            .collect();
        let goes_up = path.split(['/', ',', '{', '}']).any(|piece| piece == "..");
        if parts.is_empty() || goes_up {
            return Err(Exception::denied(format!(
                "file(): {path} must name a file, without `..`"
            )));
        }
        if path.contains("::") || path.bytes().any(|b| b < 0x20 || b == b'\\') {
            return Err(Exception::denied(format!(
                "file(): {} is not a plain path: no control characters, backslashes or archives (`::`)",
                path.escape_debug()
            )));
        }
        Ok(FileLocation { root, parts })
    }

    /// Replaces each `file()` by a `url()` of this process below `base`. Returns the number of files.
    pub(crate) fn replace(
        &self,
        text: &mut Vec<u8>,
        uses: &[FileUse],
        base: &str,
    ) -> Result<usize, Exception> {
        let mut count = 0;
        // From the end, so that a replacement does not shift earlier ones.
        for found in uses.iter().rev() {
            let place = self.place(&found.path)?;
            let places = if found.writes {
                self.check_writable(&place)?;
                vec![place]
            } else {
                self.expand(place)?
            };
            count += places.len();
            let urls: Vec<String> = places.iter().map(|p| self.url_path(p)).collect();
            let url = match urls.as_slice() {
                [one] => format!("{base}{one}"),
                many => format!("{base}{{{}}}", many.join(",")),
            };
            text.splice(found.literal.clone(), quoted(&url).into_bytes());
            text.splice(found.name.clone(), *b"url");
        }
        Ok(count)
    }

    fn check_writable(&self, place: &FileLocation) -> Result<(), Exception> {
        let path = place.parts.join("/");
        if !self.roots[place.root].writable {
            return Err(Exception::denied(format!(
                "file(): {path} is in a read-only folder"
            )));
        }
        if is_pattern(&path) {
            return Err(Exception::bad_arguments(format!(
                "file(): {path} is a pattern; a write needs the name of one file"
            )));
        }
        match self.open(place) {
            Ok(_) => Err(Exception::new(
                code::FILE_ALREADY_EXISTS,
                "FILE_ALREADY_EXISTS",
                format!("file(): {path} exists already and is not overwritten"),
            )),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(not_opened(&path, &e)),
        }
    }

    /// Returns the files that a location matches. Fails if there is none. Blocks.
    fn expand(&self, place: FileLocation) -> Result<Vec<FileLocation>, Exception> {
        let pattern = place.parts.join("/");
        if !is_pattern(&pattern) {
            self.open(&place).map_err(|e| not_opened(&pattern, &e))?;
            return Ok(vec![place]);
        }
        let fixed: Vec<String> = place
            .parts
            .iter()
            .take_while(|part| !is_pattern(part))
            .cloned()
            .collect();
        let depth_max = if pattern.contains("**") {
            usize::MAX
        } else {
            place.parts.len()
        };
        let mut search = Search {
            root: &self.roots[place.root].path,
            matcher: matcher(&pattern)?,
            depth_max,
            found: Vec::new(),
        };
        search
            .folder(&fixed)
            .map_err(|e| not_opened(&pattern, &e))?;
        let mut found = search.found;
        if found.is_empty() {
            return Err(missing(&pattern));
        }
        if found.len() > FILES_MAX {
            return Err(Exception::bad_arguments(format!(
                "file(): more than {FILES_MAX} files match {pattern}; use a narrower pattern"
            )));
        }
        found.sort();
        let place = |parts| FileLocation {
            root: place.root,
            parts,
        };
        Ok(found.into_iter().map(place).collect())
    }

    fn url_path(&self, place: &FileLocation) -> String {
        let encoded = place
            .parts
            .iter()
            .map(|part| utf8_percent_encode(part, KEPT).to_string());
        std::iter::once(self.roots[place.root].name.clone())
            .chain(encoded)
            .collect::<Vec<_>>()
            .join("/")
    }

    /// Parses a URL's path, without [`ROUTE`] and the query's tag.
    pub(crate) fn place_of_url(&self, path: &str) -> Option<FileLocation> {
        let mut parts = path
            .split('/')
            .map(|p| percent_decode_str(p).decode_utf8().map(String::from));
        let name = parts.next()?.ok()?;
        let root = self.roots.iter().position(|r| r.name == name)?;
        let parts: Vec<String> = parts.collect::<Result<_, _>>().ok()?;
        let is_plain =
            |p: &String| !matches!(p.as_str(), "" | "." | "..") && !p.contains(['/', '\0']);
        (!parts.is_empty() && parts.iter().all(is_plain)).then_some(FileLocation { root, parts })
    }

    /// Opens a file for reading. Blocks.
    pub(crate) fn open(&self, place: &FileLocation) -> io::Result<File> {
        sandbox_dir::open(&self.roots[place.root].path, &place.parts)
    }

    /// Creates a file that does not exist yet. Blocks.
    pub(crate) fn create(&self, place: &FileLocation) -> io::Result<NewFile> {
        let root = &self.roots[place.root];
        if !root.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        sandbox_dir::create(&root.path, &place.parts)
    }
}

/// A search for matching files. Symbolic links are skipped.
struct Search<'a> {
    root: &'a Path,
    matcher: GlobMatcher,
    depth_max: usize,
    found: Vec<Vec<String>>,
}

impl Search<'_> {
    fn folder(&mut self, parts: &[String]) -> io::Result<()> {
        // Checks that no component is a link.
        sandbox_dir::folder(self.root, parts, false)?;
        for entry in std::fs::read_dir(self.root.join(parts.join("/")))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = entry.file_type()?;
            let mut below = parts.to_vec();
            below.push(name);
            if kind.is_dir() && below.len() < self.depth_max {
                self.folder(&below)?;
            } else if kind.is_file() && self.matcher.is_match(below.join("/")) {
                self.found.push(below);
                if self.found.len() > FILES_MAX {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Returns the URL below which the files of this query are served.
pub(crate) fn base(address: SocketAddr, tag: &str) -> String {
    format!("http://{address}{ROUTE}{tag}/")
}

/// Gives a written file its name. Blocks.
pub(crate) fn name(file: NewFile) -> Result<(), Exception> {
    file.finish().map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Exception::new(
            code::FILE_ALREADY_EXISTS,
            "FILE_ALREADY_EXISTS",
            "file(): another query has written a file of that name in the meantime",
        ),
        _ => Exception::internal(format!("file(): cannot store the written file: {e}")),
    })
}

fn missing(path: &str) -> Exception {
    Exception::new(
        code::FILE_DOESNT_EXIST,
        "FILE_DOESNT_EXIST",
        format!("file(): {path} does not exist"),
    )
}

fn not_opened(path: &str, error: &io::Error) -> Exception {
    match error.kind() {
        io::ErrorKind::NotFound => missing(path),
        _ => Exception::denied(format!(
            "file(): cannot open {path}, or a symbolic link is on its path: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        files: FileRoots,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().expect("a folder");
        let (own, archive) = (folder.path().join("own"), folder.path().join("archive"));
        for path in [
            "own/a.csv",
            "own/b.csv",
            "own/deep/er/c.csv",
            "archive/x.csv",
            "outside.csv",
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, "1\n").expect("a file");
        }
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(folder.path().join(to), own.join(at)).expect("a link");
        };
        link("outside.csv", "link.csv");
        link("archive", "linked");
        let files = FileRoots::new(&own, &[archive]).expect("roots");
        Fixture { folder, files }
    }

    fn replaced(fixture: &Fixture, path: &str, writes: bool) -> Result<String, u32> {
        let text = format!("file('{path}')");
        let uses = [FileUse {
            name: 0..4,
            literal: 5..text.len() - 1,
            path: path.to_owned(),
            writes,
        }];
        let mut text = text.into_bytes();
        let replaced = fixture.files.replace(&mut text, &uses, "B/");
        replaced.map_err(|e| e.code)?;
        Ok(String::from_utf8(text).expect("text"))
    }

    #[test]
    fn path_becomes_a_url_below_the_folder() {
        let fixture = fixture();
        let root = fixture.folder.path().canonicalize().expect("a folder");
        let read = |path: &str| replaced(&fixture, path, false);
        assert_eq!(read("a.csv").as_deref(), Ok("url('B/user_files/a.csv')"));
        assert_eq!(
            read("./deep//er/c.csv").as_deref(),
            Ok("url('B/user_files/deep/er/c.csv')")
        );
        let absolute = root.join("archive/x.csv");
        assert_eq!(
            read(absolute.to_str().expect("text")).as_deref(),
            Ok("url('B/readable_0/x.csv')")
        );
        assert_eq!(
            read("{a,b}.csv").as_deref(),
            Ok("url('B/{user_files/a.csv,user_files/b.csv}')")
        );
        assert_eq!(
            read("**/c.csv").as_deref(),
            Ok("url('B/user_files/deep/er/c.csv')")
        );
        assert_eq!(read("?.csv"), read("*.csv"));
    }

    #[test]
    fn no_path_escapes_the_folders() {
        let fixture = fixture();
        let root = fixture.folder.path().canonicalize().expect("a folder");
        let outside = root.join("outside.csv");
        for path in [
            outside.to_str().expect("text"),
            "../outside.csv",
            "deep/../../outside.csv",
            "{a,../outside}.csv",
            "{.,x}{.,y}/outside.csv",
            "link.csv",
            "linked/x.csv",
            "/etc/passwd",
            "a.zip :: ../outside.csv",
            "a.csv\\x00",
            "",
            ".",
            "..",
            "/",
        ] {
            let refused = replaced(&fixture, path, false).expect_err(path);
            assert!(matches!(refused, 497 | 107), "{path}: {refused}");
        }
        // Patterns skip links.
        assert_eq!(replaced(&fixture, "l*.csv", false), Err(107));
        assert_eq!(replaced(&fixture, "link*/x.csv", false), Err(107));
        for path in [
            "user_files/../a.csv",
            "user_files/%2e%2e/outside.csv",
            "user_files/x%2f..%2fy",
            "user_files",
            "other/a.csv",
        ] {
            assert_eq!(fixture.files.place_of_url(path), None, "{path}");
        }
    }

    #[test]
    fn only_the_own_folder_is_writable_and_nothing_is_overwritten() {
        let fixture = fixture();
        let root = fixture.folder.path().canonicalize().expect("a folder");
        assert_eq!(
            replaced(&fixture, "new/n.csv", true).as_deref(),
            Ok("url('B/user_files/new/n.csv')")
        );
        assert_eq!(
            replaced(&fixture, "a.csv", true),
            Err(code::FILE_ALREADY_EXISTS)
        );
        assert_eq!(replaced(&fixture, "*.csv", true), Err(code::BAD_ARGUMENTS));
        let archive = root.join("archive/n.csv");
        assert_eq!(
            replaced(&fixture, archive.to_str().expect("text"), true),
            Err(code::ACCESS_DENIED)
        );

        let place = fixture
            .files
            .place_of_url("user_files/new/n.csv")
            .expect("a place");
        drop(fixture.files.create(&place).expect("begun"));
        let names = || {
            std::fs::read_dir(root.join("own/new"))
                .expect("a folder")
                .count()
        };
        assert_eq!(names(), 0, "an unfinished file is deleted");
        fixture
            .files
            .create(&place)
            .expect("begun")
            .finish()
            .expect("finished");
        assert_eq!(names(), 1);
        let second = fixture.files.create(&place).expect("begun").finish();
        assert_eq!(
            second.map_err(|e| e.kind()),
            Err(io::ErrorKind::AlreadyExists)
        );
        assert_eq!(names(), 1);
        let elsewhere = fixture
            .files
            .place_of_url("readable_0/n.csv")
            .expect("a place");
        assert!(fixture.files.create(&elsewhere).is_err());
        let through_link = fixture
            .files
            .place_of_url("user_files/linked/n.csv")
            .expect("a place");
        assert!(fixture.files.create(&through_link).is_err());
    }
}
