//! Compares logs: each appends the same batches in turn, so that changes of the machine's speed affect all of them.

#![allow(dead_code)] // each benchmark uses only a part of it

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// An error of a log.
pub type Failed = Box<dyn std::error::Error>;

/// Appends a batch.
pub type Append<'a> = Box<dyn FnMut(&[Vec<u8>]) -> Result<(), Failed> + 'a>;

/// Something that appends a batch of records durably.
pub struct Subject<'a> {
    /// What the table calls it.
    pub name: String,
    /// Appends a batch.
    pub append: Append<'a>,
}

impl<'a> Subject<'a> {
    /// A subject with a name.
    pub fn new(
        name: impl Into<String>,
        append: impl FnMut(&[Vec<u8>]) -> Result<(), Failed> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            append: Box::new(append),
        }
    }
}

/// The number of turns.
const ROUNDS: u32 = 10;

/// Measures batches of `count` records of `bytes` each for about `seconds` per subject, and prints a table. The ratios are those to the
/// first subject.
///
/// # Errors
/// If a subject fails.
pub fn compare(
    subjects: &mut [Subject<'_>],
    count: usize,
    bytes: usize,
    seconds: f64,
) -> Result<(), Failed> {
    let batch: Vec<Vec<u8>> = (0..count).map(|n| vec![n as u8 ^ 0x55; bytes]).collect();
    let turn = Duration::from_secs_f64(seconds / f64::from(ROUNDS));
    let mut times = vec![Vec::new(); subjects.len()];
    let mut cpu = vec![Duration::ZERO; subjects.len()];
    for subject in &mut *subjects {
        for _ in 0..20 {
            (subject.append)(&batch)?;
        }
    }
    for _ in 0..ROUNDS {
        for (n, subject) in subjects.iter_mut().enumerate() {
            let (began, cpu_began) = (Instant::now(), cpu_time()?);
            while began.elapsed() < turn {
                let began = Instant::now();
                (subject.append)(&batch)?;
                times[n].push(began.elapsed());
            }
            cpu[n] += cpu_time()?.saturating_sub(cpu_began);
        }
    }
    println!(
        "{:>30}{:>12}{:>8}{:>12}{:>12}{:>8}",
        format!("{count} of {bytes} bytes"),
        "CPU us",
        "",
        "p99 us",
        "p50 us",
        ""
    );
    let mut first = None;
    for ((subject, mut times), cpu) in subjects.iter().zip(times).zip(cpu) {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
        let cpu = cpu.as_secs_f64() * 1e6 / times.len() as f64;
        let (cpu_base, wall_base) = *first.get_or_insert((cpu, at(50)));
        println!(
            "{:>30}{cpu:>12.1}{:>8}{:>12.0}{:>12.0}{:>8}",
            subject.name,
            format!("x{:.2}", cpu / cpu_base),
            at(99),
            at(50),
            format!("x{:.2}", at(50) / wall_base),
        );
    }
    Ok(())
}

/// The CPU time of all threads of the process.
fn cpu_time() -> Result<Duration, Failed> {
    Ok(Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))?)
}
