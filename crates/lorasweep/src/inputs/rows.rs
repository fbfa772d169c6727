//! The rows of a sweep, with the tokens of large files kept between starts.

use std::path::{Path, PathBuf};

use data::PreparedData;
use spec::{DataSettings, TrainSettings};

use crate::error::Error;

/// Reads and tokenises a sweep's rows for the model in `model`.
pub fn prepare(
    settings: &DataSettings,
    model: &Path,
    train: &TrainSettings,
) -> Result<PreparedData, Error> {
    let cache = cache().map(|cache| cache.join("tokens"));
    let length = train.max_seq_len as usize;
    data::prepare_cached(settings, model, length, cache.as_deref()).map_err(Error::Data)
}

/// The folder of what is kept for this machine; `None` where there is no home.
pub fn cache() -> Option<PathBuf> {
    cache_of(&|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

/// `$LORASWEEP_CACHE`, or a folder among the user's caches.
fn cache_of(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let own = variable("LORASWEEP_CACHE").map(PathBuf::from);
    let caches = || {
        let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
        caches.or_else(|| Some(Path::new(&variable("HOME")?).join(".cache")))
    };
    own.or_else(|| Some(caches()?.join("lorasweep")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_lies_among_the_users_caches_unless_a_variable_names_it() {
        let folder = |variables: &[(&str, &str)]| {
            cache_of(&|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            })
        };
        let home = ("HOME", "/me");
        assert_eq!(folder(&[home]), Some("/me/.cache/lorasweep".into()));
        assert_eq!(folder(&[home, ("XDG_CACHE_HOME", "/x")]), Some("/x/lorasweep".into()));
        assert_eq!(folder(&[home, ("LORASWEEP_CACHE", "/c")]), Some("/c".into()));
        assert_eq!(folder(&[]), None);
    }
}
