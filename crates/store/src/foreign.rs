//! What is not lorasweep's: why a path is neither read nor written, and what stays as it is.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Why a path within a results folder is neither read nor written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOurs {
    /// A symbolic link.
    #[error("it is a symbolic link, and lorasweep follows none among its own files")]
    Link,
    /// A FIFO, socket or device.
    #[error("it is neither a file nor a folder")]
    Special,
    /// A folder where a file belongs.
    #[error("it is a folder")]
    Folder,
    /// A file where a folder belongs.
    #[error("it is not a folder")]
    NoFolder,
    /// What lorasweep never writes there.
    #[error("it holds something that lorasweep did not write")]
    Content,
}

impl From<NotOurs> for io::Error {
    fn from(reason: NotOurs) -> Self {
        Self::new(ErrorKind::InvalidInput, reason)
    }
}

/// Whether an error says that something else lies where a file of ours belongs.
pub(crate) fn is_not_ours(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    inner.is::<NotOurs>()
}

/// A file, link or device that is not lorasweep's, in a folder of its.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its path below the folder.
    pub name: PathBuf,
    /// Why it is not.
    pub reason: &'static str,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.name.display(), self.reason)
    }
}

/// What stays as it is where a file would have been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The file or folder.
    pub path: PathBuf,
    /// Why lorasweep does not touch it.
    pub reason: String,
}

impl Kept {
    /// A file that is not as lorasweep wrote it by the manifest `name`, or has no such manifest
    /// beside it.
    pub(crate) fn not_as_written(path: PathBuf, name: &str, has_manifest: bool) -> Self {
        let reason = if has_manifest {
            format!(
                "by `{name}`, the list of what lorasweep wrote, it did not write this, or it was \
                 changed since"
            )
        } else {
            format!(
                "nothing shows that lorasweep wrote it: `{name}`, the list of what it wrote, is not \
                 there (copies often leave hidden files out)"
            )
        };
        Self { path, reason }
    }
}
