//! Workers of the small world: they share the driver's thread and take a turn whenever it waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use spec::SaveStrategy;
use spec::Trainer;
use store::{SweepFolder, WorkerDir};
use worker::launch::{Handle, Hint, LaunchError, Launcher, Submission, WorkerCommand};
use worker::{Serve, ServeSettings, Turn};

use super::{FakeTrainer, Fuse, World};

pub struct FakeLauncher<T> {
    folder: SweepFolder,
    /// Makes a worker's trainer.
    make: Box<dyn Fn() -> T>,
    /// Whether a trainer took its whole process along.
    is_dead: fn(&T) -> bool,
    checkpoint_every: Duration,
    save_strategy: SaveStrategy,
    kill_after_turns: Vec<usize>,
    queue_after_turns: Vec<usize>,
    turns: usize,
    workers: BTreeMap<Handle, Process<T>>,
}

struct Process<T> {
    serve: Serve<T>,
    gone: Option<String>,
    is_queued: bool,
}

impl FakeLauncher<FakeTrainer> {
    pub fn new(folder: SweepFolder, world: &World) -> Self {
        let (capacity, fail) = (world.capacity, world.fail_shared_step);
        let fuse: Fuse = world.fuse.clone();
        let make = move || {
            let mut trainer = FakeTrainer::new(capacity, fuse.clone());
            trainer.fail_shared_step = fail;
            trainer
        };
        Self {
            is_dead: FakeTrainer::is_dead,
            checkpoint_every: world.checkpoint_every,
            save_strategy: world.save_strategy,
            kill_after_turns: world.kill_after_turns.clone(),
            queue_after_turns: world.queue_after_turns.clone(),
            ..Self::with(folder, Box::new(make))
        }
    }

    /// Occupied slots at each step, worker by worker.
    pub fn occupancy(&self) -> Vec<usize> {
        self.workers
            .values()
            .flat_map(|process| process.serve.trainer().occupancy.clone())
            .collect()
    }
}

impl<T: Trainer> FakeLauncher<T> {
    /// Workers with trainers of any kind, which save at their end alone.
    pub fn with(folder: SweepFolder, make: Box<dyn Fn() -> T>) -> Self {
        Self {
            folder,
            make,
            is_dead: |_| false,
            checkpoint_every: Duration::from_secs(3600),
            save_strategy: SaveStrategy::Best,
            kill_after_turns: Vec::new(),
            queue_after_turns: Vec::new(),
            turns: 0,
            workers: BTreeMap::new(),
        }
    }

    fn turn_of(&mut self, handle: &Handle) {
        let process = self.workers.get_mut(handle).expect("a process that was started");
        if process.gone.is_some() || process.is_queued {
            return;
        }
        self.turns += 1;
        if self.kill_after_turns.contains(&self.turns) {
            process.gone = Some("it was killed (signal 9)".into());
            return;
        }
        if self.queue_after_turns.contains(&self.turns) {
            process.is_queued = true;
            return;
        }
        match process.serve.turn() {
            Ok(_) if (self.is_dead)(process.serve.trainer()) => {
                process.gone = Some("it was killed (signal 9)".into());
            }
            Ok(Turn::Worked | Turn::Idle) => {}
            Ok(Turn::Ended) => process.gone = Some("it ended with code 0".into()),
            Err(error) => process.gone = Some(error.to_string()),
        }
    }
}

impl<T: Trainer> Launcher for FakeLauncher<T> {
    fn submit(&mut self, worker: &WorkerCommand) -> Result<Submission, LaunchError> {
        let seq = worker.args[0].to_str().unwrap().parse().unwrap();
        let dir = WorkerDir::open(self.folder.clone(), &worker.name, seq).unwrap();
        let trainer = (self.make)();
        let settings = ServeSettings {
            checkpoint_every: self.checkpoint_every,
            save_strategy: self.save_strategy,
            beat_every: Duration::MAX,
            stop: Arc::new(AtomicBool::new(false)),
        };
        let serve = Serve::begin(Box::new(trainer), dir, settings, Box::new(|| {})).unwrap();
        let handle = Handle(worker.name.clone());
        self.workers.insert(handle.clone(), Process { serve, gone: None, is_queued: false });
        Ok(Submission::Known(handle))
    }

    fn find(&mut self) -> Result<BTreeMap<String, Handle>, LaunchError> {
        Ok(BTreeMap::new())
    }

    fn poll(&mut self, workers: &[Handle]) -> Result<BTreeMap<Handle, Hint>, LaunchError> {
        let hint = |handle: &Handle| match &self.workers[handle] {
            Process { gone: Some(how), .. } => Hint::Gone { how: how.clone() },
            Process { is_queued: true, .. } => Hint::Queued { reason: "BeginTime".into() },
            Process { .. } => Hint::Running { place: "here".into() },
        };
        Ok(workers.iter().map(|handle| (handle.clone(), hint(handle))).collect())
    }

    fn nudge(&mut self, _: &Handle) -> Result<(), LaunchError> {
        Ok(())
    }

    fn wait(&mut self, _: Duration) {
        for handle in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.turn_of(&handle);
        }
    }

    fn kill(&mut self, worker: &Handle) -> Result<(), LaunchError> {
        let process = self.workers.get_mut(worker).expect("a process that was started");
        process.gone.get_or_insert_with(|| "it was killed".into());
        Ok(())
    }
}
