//! Writes safetensors files that the umask, not the library, decides the permissions of.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::path::Path;

use safetensors::{SafeTensorError, View};

/// Writes the tensors into the file `path`. The library writes through a temporary file that only
/// its owner may read; it has the permissions of the files beside it.
pub(crate) fn write<S, V>(
    tensors: Vec<(S, V)>,
    metadata: Option<HashMap<String, String>>,
    path: &Path,
) -> Result<(), SafeTensorError>
where
    S: AsRef<str> + Ord + Display,
    V: View,
{
    let permissions = File::create(path)?.metadata()?.permissions();
    safetensors::serialize_to_file(tensors, metadata, path)?;
    Ok(std::fs::set_permissions(path, permissions)?)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_has_the_permissions_of_any_new_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let (plain, tensors) = (dir.path().join("plain"), dir.path().join("tensors"));
        std::fs::write(&plain, "").expect("written");
        write(Vec::<(String, safetensors::tensor::TensorView<'_>)>::new(), None, &tensors)
            .expect("written");
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode();
        assert_eq!(mode(&tensors), mode(&plain));
    }
}
