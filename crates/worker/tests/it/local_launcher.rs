//! Child processes keep the launchers' contract.

use std::path::Path;

use store::SweepFolder;
use tempfile::TempDir;
use worker::launch::Launcher;
use worker::launch::local::LocalLauncher;

use crate::contract::launcher::World;
use crate::launcher_contract;

struct Here(TempDir);

impl World for Here {
    const OUTLIVED: bool = false;

    fn new() -> Self {
        Self(TempDir::new().expect("there is room for temporary files"))
    }

    fn launcher(&self) -> Box<dyn Launcher> {
        Box::new(LocalLauncher::new(SweepFolder::at(self.0.path())))
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }
}

launcher_contract!(Here);
