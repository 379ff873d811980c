//! Process: memory, processor time and open files, as the kernel sees this process.
//!
//! Read from `/proc/self`; where there is none, these metrics are absent.

use std::fs;

use couplet_proto::metric::Metric;

use super::table::PROCESS;

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    cpu_secs: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    /// When it started, in seconds after the machine.
    started_secs: f64,
}

/// What holds now, with the metric it is; what the kernel does not say is left out.
pub(super) fn figures() -> Vec<(&'static Metric, f64)> {
    let usage = usage();
    let of = |name: &str| match name {
        "process_cpu_seconds_total" => Some(usage?.cpu_secs),
        "process_resident_memory_bytes" => Some(usage?.resident_bytes),
        "process_virtual_memory_bytes" => Some(usage?.virtual_bytes),
        "process_threads" => Some(usage?.threads),
        "process_start_time_seconds" => Some(usage?.started_secs + booted_secs()?),
        "process_open_fds" => open_files().map(float),
        "process_max_fds" => open_files_max().map(float),
        _ => None,
    };
    let figures = PROCESS
        .iter()
        .filter_map(|metric| Some((metric, of(metric.name)?)));
    figures.collect()
}

/// How many files and sockets this process may have open at once.
pub(crate) fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn usage() -> Option<Usage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    parse(
        &stat,
        &fs::read_to_string("/proc/self/status").ok()?,
        ticks_per_sec(),
    )
}

/// `proc(5)`: the name of the program stands in parentheses and may hold anything.
fn parse(stat: &str, status: &str, ticks_per_sec: f64) -> Option<Usage> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok().map(f64::from);
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
            .map(float)
    };
    Some(Usage {
        // Fields 14 and 15 of the whole line, and the first after the name is field 3.
        cpu_secs: (ticks(11)? + ticks(12)?) / ticks_per_sec,
        resident_bytes: of("VmRSS:")? * 1024.0,
        virtual_bytes: of("VmSize:")? * 1024.0,
        threads: of("Threads:")?,
        started_secs: float(fields.get(19)?.parse().ok()?) / ticks_per_sec,
    })
}

/// When the machine started, in seconds since 1970.
fn booted_secs() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok().map(float)
}

/// The unit of processor time: entry 17 (`AT_CLKTCK`) of what the kernel tells every program.
fn ticks_per_sec() -> f64 {
    const WORD: usize = size_of::<usize>();
    const AT_CLKTCK: usize = 17;
    let table = fs::read("/proc/self/auxv").unwrap_or_default();
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes);
    let entry = table
        .chunks_exact(2 * WORD)
        .find(|entry| word(&entry[..WORD]) == AT_CLKTCK);
    entry.map_or(100.0, |entry| float(word(&entry[WORD..]) as u64))
}

fn open_files() -> Option<u64> {
    // Since Linux 6.2 the folder's size is the number; before, it is 0 and counting is all.
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size);
    }
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

/// Metrics are floats; what is measured here stays far below 2^53.
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_hold_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 1 0 250 50 0 0 20 0 4 0 100 1 2";
        let status = "Name:\tcouplet\nVmSize:\t    2000 kB\nVmRSS:\t    1000 kB\nThreads:\t4\n";
        let expected = Usage {
            cpu_secs: 3.0,
            resident_bytes: 1_024_000.0,
            virtual_bytes: 2_048_000.0,
            threads: 4.0,
            started_secs: 1.0,
        };
        assert_eq!(parse(stat, status, 100.0), Some(expected));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_measured() {
        let usage = usage().expect("Linux has /proc");
        assert!(usage.resident_bytes > 100_000.0, "{usage:?}");
        assert!(ticks_per_sec() >= 1.0);
        assert!(open_files().expect("counted") > 2);
        assert!(open_files_max().expect("a limit") > 2);
        let names: Vec<&str> = figures().iter().map(|(metric, _)| metric.name).collect();
        let all: Vec<&str> = PROCESS.iter().map(|metric| metric.name).collect();
        assert_eq!(names, all);
    }
}
