//! Whose a results folder is: this sweep's, another one's, or somebody else's.

use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::identity::{Differences, Identity};
use crate::lock::DriverLock;
use crate::{atomic, layout, own_files, report_files};

/// Moves the folder of the sweep `name` aside to the first free `<name>.old-<n>` and returns
/// where it is now; `None` when there was none. Refused while another process drives the sweep.
pub fn set_aside(results: &Path, name: &str) -> Result<Option<PathBuf>, StoreError> {
    let root = results.join(name);
    if !root.exists() {
        return Ok(None);
    }
    let _lock = DriverLock::acquire(&root)?;
    let mut n = 1;
    let aside = loop {
        let candidate = results.join(format!("{name}.old-{n}"));
        if !candidate.exists() {
            break candidate;
        }
        n += 1;
    };
    atomic::rename(&root, &aside)?;
    Ok(Some(aside))
}

/// The sweep's folder to which `path` belongs: which lorasweep writes by itself, below a name of its own.
pub fn sweep_that_keeps(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    // The last part may be missing, or a link that is judged elsewhere.
    let parent = absolute.parent().and_then(|parent| parent.canonicalize().ok());
    let resolved = match (parent, absolute.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => absolute,
    };
    let is_own = |root: &&Path| {
        let below = resolved.strip_prefix(root).ok().and_then(|below| below.iter().next());
        let is_named = below.is_none_or(|name| name.to_str().is_some_and(layout::is_sweep_file));
        is_named && own_files::is_file(&layout::resolved_json(root))
    };
    resolved.ancestors().find(is_own).map(Path::to_path_buf)
}

/// Makes sure that `root` holds this sweep, or nothing yet. Settings outside the identity (the
/// report's thresholds, comments) follow the sweep file. What extends the sweep is returned, a line
/// each, and written by [`write_identity`] only once it is journalled.
pub(crate) fn claim(
    root: &Path,
    identity: &Identity,
    written: &str,
) -> Result<Vec<String>, StoreError> {
    let extended = match refuse_different(root, identity) {
        Ok(extended) => extended,
        Err(StoreError::NotASweep { .. }) => {
            refuse_occupied(root, written)?;
            report_files::begin(root)?;
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    if extended.is_empty() {
        write_identity(root, identity, written)?;
    }
    Ok(extended)
}

/// Writes what the sweep is. From here on the folder is a sweep's, and what has its names is ours.
pub(crate) fn write_identity(
    root: &Path,
    identity: &Identity,
    written: &str,
) -> Result<(), StoreError> {
    own_files::check_place(root, &layout::resolved_json(root))?;
    identity.write(root)?;
    atomic::write_own(root, &layout::sweep_yaml(root), written.as_bytes())
}

/// An error when the folder `root`, which holds no sweep, has something where a sweep's files would
/// be: that is somebody else's. The sweep file itself may lie there.
pub(crate) fn refuse_occupied(root: &Path, written: &str) -> Result<(), StoreError> {
    let is_sweep_file = |path: &Path| {
        *path == layout::sweep_yaml(root)
            && (written.is_empty()
                || own_files::read(path).is_ok_and(|it| it == written.as_bytes()))
    };
    let mut places = layout::NAMES.iter().map(|name| root.join(name));
    match places.find(|path| path.symlink_metadata().is_ok() && !is_sweep_file(path)) {
        Some(path) => Err(StoreError::Occupied { path }),
        None => Ok(()),
    }
}

/// An error when the folder holds another sweep; what extends the one that it holds, a line each.
pub(crate) fn refuse_different(
    root: &Path,
    identity: &Identity,
) -> Result<Vec<String>, StoreError> {
    let Differences { refused, extended } = identity.differences_from(&Identity::read(root)?);
    if refused.is_empty() {
        Ok(extended)
    } else {
        Err(StoreError::DifferentSweep { path: root.to_path_buf(), differences: refused })
    }
}
