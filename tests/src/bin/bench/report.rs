//! The figures, and how they are printed.

use anyhow::Result;
use serde_json::json;

/// Who handles the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An async-nats program.
    Native,
    /// A guest whose instances are used again.
    Reused,
    /// A guest that gets a fresh instance for every message.
    Fresh,
    /// A guest whose instances are used again, on a host whose messages pass the filter for malformed ones.
    Filtered,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Native, Self::Reused, Self::Fresh, Self::Filtered];

    /// As scripts know it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Reused => "reused",
            Self::Fresh => "fresh",
            Self::Filtered => "filtered",
        }
    }

    /// As people know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native async-nats handler",
            Self::Reused => "guest, instances reused",
            Self::Fresh => "guest, a fresh instance each",
            Self::Filtered => "guest, reused, with the filter",
        }
    }

    /// Where it listens.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::Native => "bench.native",
            Self::Reused => "bench.reused",
            Self::Fresh => "bench.fresh",
            Self::Filtered => "bench.filtered",
        }
    }
}

/// What was measured of one handler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) kind: Kind,
    pub(crate) messages_per_second: f64,
    pub(crate) cpu_micros_per_message: Option<f64>,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
}

/// The medians of all rounds, each column by itself.
pub(crate) fn medians(rounds: &[Figure]) -> Vec<Figure> {
    let of = |kind| {
        let rounds: Vec<_> = rounds.iter().filter(|figure| figure.kind == kind).collect();
        let column =
            |value: fn(&Figure) -> f64| median(rounds.iter().map(|figure| value(figure)).collect());
        let cpu = rounds
            .iter()
            .filter_map(|figure| figure.cpu_micros_per_message)
            .collect::<Vec<_>>();
        Figure {
            kind,
            messages_per_second: column(|figure| figure.messages_per_second),
            cpu_micros_per_message: (!cpu.is_empty()).then(|| median(cpu)),
            p50_micros: column(|figure| figure.p50_micros),
            p99_micros: column(|figure| figure.p99_micros),
        }
    };
    Kind::ALL.into_iter().map(of).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn table(figures: &[Figure]) -> Result<()> {
    println!(
        "{:<30} {:>11} {:>16} {:>9} {:>9}",
        "128 bytes, 256 in flight", "messages/s", "CPU µs/message", "p50 µs", "p99 µs"
    );
    for figure in figures {
        let cpu = figure
            .cpu_micros_per_message
            .map_or_else(|| "unknown".to_owned(), |cpu| format!("{cpu:.2}"));
        let Figure {
            kind,
            messages_per_second,
            p50_micros,
            p99_micros,
            ..
        } = figure;
        println!(
            "{:<30} {messages_per_second:>11.0} {cpu:>16} {p50_micros:>9.0} {p99_micros:>9.0}",
            kind.name()
        );
    }
    println!(
        "p50 and p99 are round trips with one message in flight; the CPU is that of the handler's process."
    );
    Ok(())
}

pub(crate) fn json(figures: &[Figure]) -> Result<()> {
    let figures = figures.iter().map(|figure| {
        let value = json!({
            "messages_per_second": figure.messages_per_second,
            "cpu_micros_per_message": figure.cpu_micros_per_message,
            "p50_micros": figure.p50_micros,
            "p99_micros": figure.p99_micros,
        });
        (figure.kind.key().to_owned(), value)
    });
    println!(
        "{}",
        serde_json::to_string_pretty(&figures.collect::<serde_json::Map<_, _>>())?
    );
    Ok(())
}
