//! One run of one target.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::mutate::{Random, mutate};

/// A fuzz target.
pub(super) struct Target {
    /// The target's name, which is also that of the folder with its corpus.
    pub(super) name: &'static str,
    /// Tries one input, and panics where a promise does not hold. Returns what kind of input it was.
    pub(super) run: fn(&[u8]) -> u64,
    /// Texts that mean something to the target.
    pub(super) words: &'static [&'static str],
}

/// The seed of the moment that each target is run for with all other tests.
const TEST_SEED: u64 = 1;

/// The executions of that moment.
const TEST_EXECUTIONS: u64 = 2_000;

/// The time of a run, unless told otherwise.
const DEFAULT_TIME: Duration = Duration::from_secs(60);

/// The most inputs that mutations start from.
const MAX_CORPUS: usize = 8192;

/// The longest time that one execution may take. Ten times what the slowest takes in the development build.
const MAX_EXECUTION_TIME: Duration = Duration::from_secs(1);

/// The times that an execution is repeated that took longer.
const MAX_SLOW: u32 = 3;

/// The end of a run.
#[derive(Debug, Clone, Copy)]
enum Limit {
    /// After so many executions.
    Executions(u64),
    /// After so long.
    Time(Duration),
}

/// One run of a target.
struct Fuzzer<'a> {
    /// The target.
    target: &'a Target,
    /// The number that all inputs follow from.
    seed: u64,
    /// The generator of this run.
    random: Random,
    /// Inputs that mutations start from: the kept ones, and those that told of something new.
    corpus: Vec<Vec<u8>>,
    /// The kinds of inputs that there have been.
    kinds: HashSet<u64>,
    /// Executions so far.
    executions: u64,
}

/// Runs a target for a moment, as a part of the tests.
pub(super) fn run_for_a_moment(target: &Target) {
    Fuzzer::new(target, TEST_SEED).run(Limit::Executions(TEST_EXECUTIONS));
}

/// Runs a target as `cargo xtask fuzz` says, through the environment.
#[expect(
    clippy::print_stderr,
    reason = "whoever runs it by hand wants to see how far it came"
)]
pub(super) fn run_as_told(target: &Target) {
    let number = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        )
    };
    let limit = match (
        number("WHARF_FUZZ_EXECUTIONS"),
        number("WHARF_FUZZ_SECONDS"),
    ) {
        (Some(executions), _) => Limit::Executions(executions),
        (None, Some(seconds)) => Limit::Time(Duration::from_secs(seconds)),
        (None, None) => Limit::Time(DEFAULT_TIME),
    };
    let seed = number("WHARF_FUZZ_SEED").unwrap_or_else(rand::random);
    let begun = Instant::now();
    let mut fuzzer = Fuzzer::new(target, seed);
    eprintln!(
        "{}: seed {seed}, {} inputs kept",
        target.name,
        fuzzer.corpus.len()
    );
    fuzzer.run(limit);
    eprintln!(
        "{}: {} executions in {:.1?}, {} kinds of inputs",
        target.name,
        fuzzer.executions,
        begun.elapsed(),
        fuzzer.kinds.len()
    );
}

impl<'a> Fuzzer<'a> {
    fn new(target: &'a Target, seed: u64) -> Self {
        Self {
            target,
            seed,
            random: Random(seed),
            corpus: kept(target.name),
            kinds: HashSet::new(),
            executions: 0,
        }
    }

    fn run(&mut self, limit: Limit) {
        let begun = Instant::now();
        for input in self.corpus.clone() {
            self.execute(&input);
        }
        while match limit {
            Limit::Executions(most) => self.executions < most,
            Limit::Time(most) => begun.elapsed() < most,
        } {
            let base = self.random.pick(&self.corpus);
            let mut input = base.cloned().unwrap_or_default();
            mutate(
                &mut input,
                &mut self.random,
                &self.corpus,
                self.target.words,
            );
            if self.execute(&input) && self.corpus.len() < MAX_CORPUS {
                self.corpus.push(input);
            }
        }
    }

    /// Executes the target once. True if the input was of a kind that is new.
    fn execute(&mut self, input: &[u8]) -> bool {
        self.executions += 1;
        let mut slow = 0;
        loop {
            let begun = Instant::now();
            let executed = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
            let took = begun.elapsed();
            match executed {
                // Others may have had the processor meanwhile, but not each time.
                Ok(_) if took > MAX_EXECUTION_TIME && slow < MAX_SLOW => slow += 1,
                Ok(_) if took > MAX_EXECUTION_TIME => {
                    self.fail(input, &format!("it took {took:?}"))
                }
                Ok(kind) => return self.kinds.insert(kind),
                Err(_panicked) => self.fail(input, "it panicked, see above"),
            }
        }
    }

    /// Reports an input that fails, and keeps it in a file.
    fn fail(&self, input: &[u8], why: &str) -> ! {
        let Target { name, .. } = self.target;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
        let file = folder.join(format!("{name}-{:016x}", kind_of(&input)));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input));
        let file = match written {
            Ok(()) => file.display().to_string(),
            Err(error) => format!("no file, as {error}"),
        };
        panic!(
            "fuzz target {name}, seed {}, execution {}: {why}.\nThe input is {:?}\n({file}). It belongs into \
             host/fuzz/{name} once it is mended.",
            self.seed,
            self.executions,
            input.escape_ascii().to_string(),
        );
    }
}

/// The inputs that are kept for a target, in the order of their names.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(name);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry of the folder").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).expect("a kept input"))
        .collect()
}

/// A number for a kind of input: the same for what hashes the same.
pub(crate) fn kind_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// An input as lines of text, of which each has a meaning to the target. What is no UTF-8 is replaced.
pub(crate) fn lines<const N: usize>(input: &[u8]) -> [String; N] {
    let text = String::from_utf8_lossy(input).into_owned();
    let mut lines = text.splitn(N, '\n').map(str::to_owned);
    std::array::from_fn(|_| lines.next().unwrap_or_default())
}
