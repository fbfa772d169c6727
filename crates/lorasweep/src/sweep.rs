//! A sweep, from its file or from its results.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use reporter::Lang;
use spec::{SweepState, TrialConfig, TrialId};
use store::{Holder, Request, SweepFolder};

use crate::answers::{
    self, AnswerEvent, AnswerOptions, AnswerOutcome, Chat, DecodingOptions, WriterOptions,
};
use crate::check::{self, Findings};
use crate::error::Error;
use crate::export::options::{self, ExportOptions, Exported};
use crate::hub::Hub;
use crate::inputs::Settings;
use crate::inputs::sweep_file::{self, SweepFile};
use crate::inputs::view::{self, DataFindings, DataSet};
use crate::report::convert::{self, ConvertOptions, Converted};
use crate::report::explain::{self, Explanation};
use crate::report::side_by_side::SweepTrial;
use crate::report::status::{self, Status};
use crate::report::{Report, live};
use crate::run::external::ExternalTrials;
use crate::run::observer::{Notice, Observer};
use crate::run::{self, RunOptions, RunOutcome};
use crate::workers::{Workers, cluster};

/// A sweep: what is trained, where its results are, and what can be done with both.
///
/// ```
/// # fn main() -> Result<(), lorasweep::Error> {
/// # let dir = tempfile::tempdir().expect("a folder");
/// # let dir = dir.path();
/// let file = lorasweep::quickstart::write(dir)?;
/// let sweep = lorasweep::Sweep::open(file)?.with_results(dir.join("results"));
/// assert_eq!(sweep.name(), "quickstart");
/// let findings = sweep.check()?;
/// assert!(findings.refusal().is_none(), "it can run");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sweep {
    name: String,
    /// Of one that was opened by its results, what the folder keeps; absent where that cannot be read.
    file: Option<SweepFile>,
    /// Where the results folders of sweeps are.
    results: PathBuf,
    /// This sweep's own.
    folder: SweepFolder,
    workers: Workers,
}

impl Sweep {
    /// Where results go unless [`with_results`](Self::with_results) says otherwise.
    pub const RESULTS: &str = "results";

    /// Opens a sweep by its file or by its results folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        if path.is_dir() { Self::open_results(path) } else { Self::open_file(path) }
    }

    /// Opens a sweep file. Its results are in the folder of its name in `results`.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        sweep_file::load(path.as_ref()).map(Self::of_file)
    }

    /// A sweep file that is in memory; paths in it are relative to the folder of `path`, where no file
    /// needs to be.
    ///
    /// ```
    /// let text = "name: mine\nmethod: grid\nmodel: base\ndata: {train: train.jsonl}\n";
    /// let error = lorasweep::Sweep::parse(text, "mine.yaml").unwrap_err();
    /// assert!(error.to_string().contains("mine.yaml:1:1"), "{error}");
    /// ```
    pub fn parse(text: impl Into<String>, path: impl AsRef<Path>) -> Result<Self, Error> {
        sweep_file::parse(text.into(), path.as_ref()).map(Self::of_file)
    }

    fn of_file(file: SweepFile) -> Self {
        let (name, results) = (file.sweep.name.clone(), PathBuf::from(Self::RESULTS));
        let folder = SweepFolder::at(results.join(&name));
        Self { name, file: Some(file), results, folder, workers: Workers::default() }
    }

    /// Opens a sweep by its results folder. What needs the sweep file takes the copy that the folder
    /// keeps, with paths relative to where the file was.
    pub fn open_results(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self::of_folder(SweepFolder::open(folder.as_ref())?))
    }

    fn of_folder(folder: SweepFolder) -> Self {
        // `.` has a name too.
        let whole = folder.path().file_name().is_none().then(|| folder.path().canonicalize().ok());
        let folder = whole.flatten().map_or(folder, SweepFolder::at);
        let path = folder.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let results = path.parent().unwrap_or(path).to_path_buf();
        // One that cannot be read is refused where it is needed.
        let file = sweep_file::kept_in(&folder).ok();
        Self { name, file, results, folder, workers: Workers::default() }
    }

    /// The sweeps with results that `path` means: a sweep file, whose results are in `results`, a
    /// sweep's results folder, or a folder of such.
    pub fn find(path: &Path, results: &Path) -> Result<Vec<Self>, Error> {
        if path.is_file() {
            let sweep = Self::open_file(path)?.with_results(results);
            SweepFolder::open(sweep.folder.path())?;
            return Ok(vec![sweep]);
        }
        if let Ok(folder) = SweepFolder::open(path) {
            return Ok(vec![Self::of_folder(folder)]);
        }
        let folders = SweepFolder::all_in(path)?;
        if folders.is_empty() {
            return Err(Error::NoSweepAt { path: path.to_path_buf() });
        }
        Ok(folders.into_iter().map(Self::of_folder).collect())
    }

    /// Where results go, in a folder of the sweep's name.
    #[must_use]
    pub fn with_results(mut self, results: impl AsRef<Path>) -> Self {
        self.results = results.as_ref().to_path_buf();
        self.folder = SweepFolder::at(self.results.join(&self.name));
        self
    }

    /// Which program its workers are.
    #[must_use]
    pub fn with_workers(mut self, workers: Workers) -> Self {
        self.workers = workers;
        self
    }

    /// Its name; of one that was opened by its results, that of the folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its results folder, whether or not it is there yet.
    pub const fn folder(&self) -> &SweepFolder {
        &self.folder
    }

    /// The resolved sweep; `None` for one that was opened by its results where those keep no sweep
    /// file that can be read.
    pub fn resolved(&self) -> Option<&spec::Sweep> {
        self.file.as_ref().map(|file| &file.sweep)
    }

    /// Gets the base model onto this machine where the file names it as on a hub: from the cache, or
    /// downloaded, and `tell` is called for each file. [`check`](Self::check), [`data`](Self::data) and
    /// [`run`](Self::run) do so themselves, the first two in silence.
    pub fn fetch_model(&mut self, mut tell: impl FnMut(&str)) -> Result<(), Error> {
        match &mut self.file {
            Some(file) => fetch_model(file, &mut tell),
            None => Ok(()),
        }
    }

    /// Everything that can be known before training: work, memory, disk, and what is wrong.
    pub fn check(&self) -> Result<Findings, Error> {
        let file = self.file_to_launch(&mut |_| {})?;
        check::check(&file, &self.results, &self.workers, false)
    }

    /// The same, and how long the sweep will take: a few steps are trained to measure that, once for
    /// each model and machine.
    pub fn check_with_time(&self) -> Result<Findings, Error> {
        let file = self.file_to_launch(&mut |_| {})?;
        check::check(&file, &self.results, &self.workers, true)
    }

    /// What the model will see: the rows' lengths, what is doubtful about them, and row `number` of
    /// `set`, counted from 1.
    pub fn data(&self, set: DataSet, number: usize) -> Result<DataFindings, Error> {
        view::look(&self.file_with_model(&mut |_| {})?.sweep, set, number)
    }

    /// Runs the sweep, or resumes it, and writes its report. It trains in worker processes: see
    /// [`Workers`].
    ///
    /// ```standalone_crate
    /// use lorasweep::{RunEnd, Sweep};
    /// use lorasweep::spec::{Event, SweepState};
    ///
    /// fn main() -> Result<std::process::ExitCode, lorasweep::Error> {
    ///     if let Some(code) = lorasweep::worker_main_if_asked() {
    ///         return Ok(code);
    ///     }
    ///     let dir = tempfile::tempdir().expect("a folder");
    ///     lorasweep::quickstart::write(&dir)?;
    ///     let text = "
    /// name: two
    /// method: grid
    /// metric: {name: eval_loss, goal: minimize}
    /// parameters: {learning_rate: {values: [0.001, 0.003]}}
    /// model: quickstart/base
    /// data: {train: quickstart/train.jsonl, validation: quickstart/validation.jsonl}
    /// train: {rank: 4, lora_alpha: 8, batch_size: 64, epochs: 1, max_seq_len: 32}
    /// executor: {device: cpu}
    /// ";
    ///     let sweep = Sweep::parse(text, dir.path().join("two.yaml"))?.with_results(&dir);
    ///     let mut evaluations = 0;
    ///     let outcome = sweep.run(&mut |event: &Event, _: &SweepState| {
    ///         evaluations += usize::from(matches!(event, Event::Evaluated { .. }));
    ///     })?;
    ///     assert_eq!(outcome.end, RunEnd::Finished);
    ///     assert!(evaluations >= 2 && outcome.report.is_ok());
    ///     Ok(std::process::ExitCode::SUCCESS)
    /// }
    /// ```
    pub fn run(&self, observer: &mut dyn Observer) -> Result<RunOutcome, Error> {
        self.run_with(&RunOptions::default(), observer)
    }

    /// The same, with options.
    pub fn run_with(
        &self,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> Result<RunOutcome, Error> {
        let tell = &mut |text: &str| observer.notice(&Notice::Download(text));
        let file = self.file_to_launch(tell)?;
        run::run(&file, &self.results, &self.workers, options, observer)
    }

    /// The trials of a sweep that another program trains (`executor: {type: external}`).
    pub fn external_trials(&self) -> Result<ExternalTrials<'_>, Error> {
        self.refuse_other_folder()?;
        ExternalTrials::new(self.file()?.into_owned(), &self.results)
    }

    /// Reads a trial to train beside those that are proposed: a JSON object with a value for each
    /// parameter that the sweep varies. [`RunOptions::add`] and [`request`](Self::request) take it.
    pub fn trial_of(&self, json: &str) -> Result<TrialConfig, Error> {
        spec::trial_of(json, &self.file()?.sweep).map_err(Error::Sweep)
    }

    /// Asks something of a sweep that has begun: the process that runs it sees to it, or else the next
    /// one.
    pub fn request(&self, request: &Request) -> Result<(), Error> {
        let folder = SweepFolder::open(self.folder.path())?;
        self.refuse_other_folder()?;
        Ok(folder.request(request)?)
    }

    /// How far the sweep is, also while another process runs it.
    pub fn status(&self) -> Result<Status, Error> {
        status::look(&self.folder)
    }

    /// Everything that happened to the sweep so far.
    pub fn state(&self) -> Result<SweepState, Error> {
        Ok(SweepFolder::open(self.folder.path())?.state()?)
    }

    /// The process that runs the sweep, if there is one.
    pub fn holder(&self) -> Result<Option<Holder>, Error> {
        Ok(self.folder.holder()?)
    }

    /// Asks the processes of the sweep to save and end, wherever they run.
    pub fn cancel(&self) -> Result<(), Error> {
        Ok(SweepFolder::open(self.folder.path())?.cancel()?)
    }

    /// Ends the sweep's jobs that are left on a cluster; `cancelled` is called for each with its number, its
    /// worker, and its state before.
    pub fn cancel_jobs(&self, cancelled: &mut dyn FnMut(&str, &str, &str)) -> Result<(), Error> {
        cluster::cancel_jobs(&self.folder, cancelled)
    }

    /// What was expected of each trial when it was proposed, what came, and which parameters matter.
    pub fn explain(&self) -> Result<Explanation, Error> {
        let file = self.file()?;
        let folder = SweepFolder::open(self.folder.path())?;
        Ok(explain::explain(&file.sweep, &folder.events()?))
    }

    /// What the sweep has found so far, in English.
    pub fn report(&self) -> Result<Report, Error> {
        self.report_in(Lang::En)
    }

    /// The same in another language.
    pub fn report_in(&self, lang: Lang) -> Result<Report, Error> {
        Report::of(SweepFolder::open(self.folder.path())?, lang)
    }

    /// Makes the report's page of what the journal holds at each call; while the sweep runs, the page
    /// loads itself again.
    pub fn pages(
        &self,
        lang: Lang,
    ) -> Result<impl Fn() -> Result<String, Error> + Send + use<>, Error> {
        let folder = self.folder.clone();
        let settings = Settings::of(&folder.identity()?)?;
        Ok(move || live::page_now(&folder, &settings, lang, folder.holder()?.is_some()))
    }

    /// Writes the report's page while the sweep runs, before it is written by itself.
    pub fn write_page(&self, lang: Lang) -> Result<(), Error> {
        let settings = Settings::of(&self.folder.identity()?)?;
        // What stays in its place is named by what follows the sweep.
        live::write(&self.folder, &settings, lang).map(|_| ())
    }

    /// Answers prompts with a trial's adapter and with the base model, on the CPU; `tell` is called for each
    /// answer as it is written.
    pub fn answer(
        &self,
        options: &AnswerOptions,
        tell: &mut dyn FnMut(&AnswerEvent<'_>),
    ) -> Result<AnswerOutcome, Error> {
        answers::answer(&SweepFolder::open(self.folder.path())?, options, tell)
    }

    /// Begins a conversation with a trial's adapter, or with the base model, on the CPU.
    pub fn chat(&self, writer: WriterOptions, decoding: DecodingOptions) -> Result<Chat, Error> {
        Chat::open(&SweepFolder::open(self.folder.path())?, writer, decoding)
    }

    /// Exports a trial's adapter, or a model with the adapter merged into it.
    pub fn export(&self, options: &ExportOptions) -> Result<Exported, Error> {
        options::export(&SweepFolder::open(self.folder.path())?, options)
    }

    /// Writes the results in the form of other tools; `written` is called for each when it is there.
    pub fn convert(
        &self,
        options: &ConvertOptions,
        written: &mut dyn FnMut(Converted<'_>),
    ) -> Result<(), Error> {
        convert::convert(&SweepFolder::open(self.folder.path())?, options, written)
    }

    /// One of its trials, or the one that the report chose, to [`compare`](crate::compare) it.
    pub fn trial(&self, number: Option<TrialId>) -> Result<SweepTrial, Error> {
        SweepTrial::of(&self.folder, number)
    }

    /// Its file; of one that was opened by its results, the sweep file as it was when it ran last.
    fn file(&self) -> Result<Cow<'_, SweepFile>, Error> {
        match &self.file {
            Some(file) => Ok(Cow::Borrowed(file)),
            None => sweep_file::kept_in(&self.folder).map(Cow::Owned),
        }
    }

    /// A launch works in the folder of the sweep's name. Results that were renamed, also those that
    /// `--fresh` has put aside, would be left behind and begun anew beside them.
    fn refuse_other_folder(&self) -> Result<(), Error> {
        // One whose file cannot be read is refused where that is needed.
        let Ok(file) = self.file() else { return Ok(()) };
        let name = &file.sweep.name;
        if self.folder.path() == self.results.join(name) {
            return Ok(());
        }
        Err(Error::RenamedResults { path: self.folder.path().to_path_buf(), name: name.clone() })
    }

    fn file_to_launch(&self, tell: &mut dyn FnMut(&str)) -> Result<SweepFile, Error> {
        self.refuse_other_folder()?;
        self.file_with_model(tell)
    }

    fn file_with_model(&self, tell: &mut dyn FnMut(&str)) -> Result<SweepFile, Error> {
        let mut file = self.file()?.into_owned();
        fetch_model(&mut file, tell)?;
        Ok(file)
    }
}

fn fetch_model(file: &mut SweepFile, tell: &mut dyn FnMut(&str)) -> Result<(), Error> {
    if let Some(name) = &file.sweep.hub {
        file.sweep.model = Hub::from_environment()?.model(name, tell)?;
    }
    Ok(())
}
