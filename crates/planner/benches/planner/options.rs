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
  --threads N        (all cores)
  --table FILE       replay real runs instead: CSV with model, learning_rate, lora_rank, test_nll";

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
    pub threads: usize,
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
            threads: std::thread::available_parallelism().map_or(1, usize::from),
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
                "--table" => options.table = Some(value.clone()),
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
