//! The benchmark's command line.

use super::surrogate::Shift;

/// What is printed for `--help`.
pub const HELP: &str = "\
cargo bench -p lorasweep-planner --bench planner -- [OPTION VALUE]...

Without options, or with --seeds alone: the standard table. With others: one line of it, for
  --method NAME      grid, random, sobol or bayes (bayes)
  --settings YAML    more lines of the sweep file, for instance 'bayes: {lora_prior: false}'
  --batch N          trials proposed at a time (1)
  --trials N         trials of a sweep (32)
  --first N          the first instance (0)
  --instances N      how many (20)
  --seeds N          sweeps of each instance (10)
  --shift WHAT       rate=FACTOR or rank: moves the optimum away from where it usually is
  --warm WHAT        begin from a sweep of 24 trials over the same instance (same) or one shifted
                     like --shift
  --threads N        (all cores)
  --budget N         how soon sweeps of so many epochs in all come close, in --batch slots; with
                     --settings 'early_terminate: {...}'
  --rules yes        what each rule of early stops costs and saves
  --times yes        how long a proposal takes
  --table FILE       replay real runs instead: CSV with rank, learning_rate, eval_loss, and where
                     there are several model, batch_size, epochs and seed";

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Options {
    pub method: String,
    pub settings: String,
    pub batch: usize,
    pub trials: u32,
    pub first: u64,
    pub instances: u64,
    pub seeds: u64,
    pub shift: Shift,
    pub warm: Option<Shift>,
    pub threads: usize,
    pub budget: Option<u32>,
    pub rules: bool,
    pub times: bool,
    pub table: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            method: "bayes".to_owned(),
            settings: String::new(),
            batch: 1,
            trials: 32,
            first: 0,
            instances: 20,
            seeds: 10,
            shift: Shift::None,
            warm: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            budget: None,
            rules: false,
            times: false,
            table: None,
        }
    }
}

impl Options {
    /// From the arguments after the program's name; an error says what is wrong.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return Err(format!("`{}` needs a value", pair[0])) };
            let number = || value.parse::<u64>().map_err(|_| format!("{name}: `{value}`"));
            match name.as_str() {
                "--method" => options.method.clone_from(value),
                "--settings" => options.settings = format!("{value}\n"),
                "--batch" => options.batch = number()? as usize,
                "--trials" => options.trials = number()? as u32,
                "--first" => options.first = number()?,
                "--instances" => options.instances = number()?,
                "--seeds" => options.seeds = number()?,
                "--threads" => options.threads = number()?.max(1) as usize,
                "--budget" => options.budget = Some(number()? as u32),
                "--times" => options.times = true,
                "--rules" => options.rules = true,
                "--table" => options.table = Some(value.clone()),
                "--warm" if value == "same" => options.warm = Some(Shift::None),
                "--warm" => options.warm = Some(shift(value)?),
                "--shift" => options.shift = shift(value)?,
                _ => return Err(format!("`{name}` is not an option")),
            }
        }
        Ok(options)
    }
}

fn shift(text: &str) -> Result<Shift, String> {
    match text.strip_prefix("rate=").map(str::parse) {
        Some(Ok(factor)) => Ok(Shift::Rate(factor)),
        None if text == "rank" => Ok(Shift::LowRank),
        _ => Err(format!("--shift: `{text}`")),
    }
}
