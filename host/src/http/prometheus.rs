//! Rendering of a host's status as Prometheus reads it: the OpenMetrics text format.
//!
//! No label grows with traffic: a guest's name, and words of which there are a few.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::connection::{ConnectionCounters, ConnectionState, MalformedCause};
use crate::message::OutcomeKind;
use crate::metrics::{Distribution, GuestStats};
use crate::policy::Grant;
use crate::status::{GuestStatus, HostStatus};

/// The prefix of every name.
const PREFIX: &str = "wharf";

/// A host's status, as a collector.
#[derive(Debug)]
struct StatusCollector(HostStatus);

/// Renders a host's status.
///
/// # Errors
/// A figure is no text, which none is.
pub(super) fn render(status: HostStatus) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(StatusCollector(status)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl StatusCollector {
    fn guests(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, of) in COUNTERS {
            family(to, name, help, MetricType::Counter, |to| {
                self.0
                    .guests
                    .iter()
                    .try_for_each(|guest| counter(to, &labels(guest), of(&guest.stats)))
            })?;
        }
        self.outcomes(to)?;
        self.denials(to)?;
        for (name, help, label, cases) in LABELLED_COUNTERS {
            family(to, name, help, MetricType::Counter, |to| {
                self.0.guests.iter().try_for_each(|guest| {
                    let guest_label = ("guest", guest.name.as_str());
                    let each = |(word, of): &Case| {
                        counter(to, &[guest_label, (label, word)], of(&guest.stats))
                    };
                    cases.iter().try_for_each(each)
                })
            })?;
        }
        for (name, help, of) in GAUGES {
            family(to, name, help, MetricType::Gauge, |to| {
                self.0
                    .guests
                    .iter()
                    .try_for_each(|guest| gauge(to, &labels(guest), of(guest)))
            })?;
        }
        self.canaries(to)?;
        self.handling(to)
    }

    fn outcomes(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Messages by what became of them";
        family(to, "guest_messages", help, MetricType::Counter, |to| {
            self.0.guests.iter().try_for_each(|guest| {
                let outcomes =
                    OutcomeKind::ALL.map(|kind| (kind.label(), guest.stats.outcome(kind)));
                let dropped = ("dropped", guest.stats.dropped);
                let mut all = outcomes.into_iter().chain([dropped]);
                all.try_for_each(|(word, count)| {
                    counter(
                        to,
                        &[("guest", guest.name.as_str()), ("outcome", word)],
                        count,
                    )
                })
            })
        })
    }

    fn denials(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Operations that were denied, by the grant that is missing";
        family(to, "guest_denials", help, MetricType::Counter, |to| {
            self.0.guests.iter().try_for_each(|guest| {
                Grant::ALL.into_iter().try_for_each(|grant| {
                    let labels = [("guest", guest.name.as_str()), ("grant", grant.label())];
                    counter(to, &labels, guest.stats.denied(grant))
                })
            })
        })
    }

    fn handling(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time from taking a message to its outcome";
        family(
            to,
            "guest_handling_seconds",
            help,
            MetricType::Histogram,
            |to| {
                self.0.guests.iter().try_for_each(|guest| {
                    let Distribution {
                        buckets,
                        sum_seconds,
                    } = &guest.handling;
                    let count = guest.handling.count();
                    let labels = labels(guest);
                    to.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                        *sum_seconds,
                        count,
                        buckets,
                        None,
                    )
                })
            },
        )
    }

    /// The figures of canaries.
    fn canaries(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let canaries = || {
            self.0
                .guests
                .iter()
                .filter_map(|guest| Some((guest.name.as_str(), guest.canary.as_ref()?)))
        };
        let help = "The part of the guest's messages that its canary gets, from 0 to 1";
        family(to, "guest_canary_share", help, MetricType::Gauge, |to| {
            canaries().try_for_each(|(name, canary)| {
                to.encode_family(&[("guest", name)])?
                    .encode_gauge(&canary.share.get())
            })
        })?;
        let help =
            "Messages of the guest's canary, by what became of them. Begins anew with each canary";
        family(
            to,
            "guest_canary_messages",
            help,
            MetricType::Counter,
            |to| {
                canaries().try_for_each(|(name, canary)| {
                    let outcomes = [("handled", canary.handled), ("failed", canary.failed)];
                    let each = |(outcome, count)| {
                        counter(to, &[("guest", name), ("outcome", outcome)], count)
                    };
                    outcomes.into_iter().try_for_each(each)
                })
            },
        )
    }
}

impl Collector for StatusCollector {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        family(&mut to, "build", "What runs here", MetricType::Info, |to| {
            to.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
        })?;
        if let Some((state, counters)) = &self.0.connection {
            connection(&mut to, state, counters)?;
        }
        self.guests(&mut to)
    }
}

type Stat = fn(&GuestStats) -> u64;
type Case = (&'static str, Stat);

const COUNTERS: [(&str, &str, Stat); 7] = [
    (
        "guest_messages_received",
        "Messages that arrived for the guest",
        |guest| guest.received,
    ),
    ("guest_instances_made", "Instances made", |guest| {
        guest.instances_made
    }),
    (
        "guest_instances_reused",
        "Messages given to an instance that had handled one before",
        |guest| guest.instances_reused,
    ),
    (
        "guest_memory_refused",
        "Times that the guest was refused more memory",
        |guest| guest.memory_refused,
    ),
    (
        "guest_log_lines_dropped",
        "Log lines by the guest or on it that were above its limits",
        |guest| guest.log_lines_dropped,
    ),
    (
        "guest_files_refused",
        "Calls on files beyond the guest's limits of descriptors and disk",
        |guest| guest.files_refused,
    ),
    (
        "guest_canaries_rolled_back",
        "Canaries rolled back because they failed too often",
        |guest| guest.canaries_rolled_back,
    ),
];

const LABELLED_COUNTERS: [(&str, &str, &str, &[Case]); 2] = [
    (
        "guest_traps",
        "Messages whose handler was ended, by why",
        "kind",
        &[
            ("trap", |guest| guest.traps_of_code),
            ("memory", |guest| guest.traps_of_memory),
            ("exit", |guest| guest.traps_by_exit),
            ("panic", |guest| guest.traps_by_panic),
            ("timeout", |guest| guest.timed_out),
        ],
    ),
    (
        "guest_replies",
        "Replies and error answers, by whether they could be sent",
        "result",
        &[
            ("sent", |guest| guest.replied),
            ("failed", |guest| guest.replies_failed),
        ],
    ),
];

type Now = fn(&GuestStatus) -> u64;

const GAUGES: [(&str, &str, Now); 8] = [
    (
        "guest_queue_messages",
        "Messages that wait for an instance",
        |guest| guest.queued as u64,
    ),
    (
        "guest_queue_bytes",
        "Bytes that the waiting messages hold",
        |guest| guest.queued_bytes as u64,
    ),
    (
        "guest_in_flight",
        "Messages that are being handled",
        |guest| guest.in_flight,
    ),
    ("guest_instances", "Instances that there are", |guest| {
        guest.instances
    }),
    (
        "guest_memory_bytes",
        "Bytes that the guest's instances take",
        |guest| guest.memory_bytes,
    ),
    (
        "guest_descriptors",
        "Descriptors that the guest has open",
        |guest| guest.descriptors,
    ),
    (
        "guest_file_calls",
        "Calls on files that are under way",
        |guest| guest.file_calls,
    ),
    (
        "guest_disk_bytes",
        "Bytes by which the guest has made its directories grow",
        |guest| guest.disk_bytes,
    ),
];

type ConnectionStat = fn(&ConnectionCounters) -> u64;

const CONNECTION_COUNTERS: [(&str, &str, ConnectionStat); 11] = [
    (
        "connection_connects",
        "Connects that succeeded, the first included",
        |all| all.connects,
    ),
    ("connection_reconnects", "Connects after the first", |all| {
        all.connects.saturating_sub(1)
    }),
    (
        "connection_disconnects",
        "Times that the connection was lost",
        |all| all.disconnects,
    ),
    (
        "connection_slow_consumers",
        "Messages dropped because a subscription's queue was full, at least",
        |all| all.slow_consumers,
    ),
    (
        "connection_server_errors",
        "Errors that the server reported",
        |all| all.server_errors,
    ),
    (
        "connection_lame_ducks",
        "Servers that announced their end",
        |all| all.lame_ducks,
    ),
    ("connection_messages_in", "Messages received", |all| {
        all.messages_in
    }),
    ("connection_bytes_in", "Bytes of their payloads", |all| {
        all.bytes_in
    }),
    ("connection_messages_out", "Messages sent", |all| {
        all.messages_out
    }),
    ("connection_bytes_out", "Bytes of their payloads", |all| {
        all.bytes_out
    }),
    (
        "connection_filter_activations",
        "Times that the filter for malformed messages was switched on",
        |all| all.filter_activations,
    ),
];

fn connection(
    to: &mut DescriptorEncoder<'_>,
    state: &ConnectionState,
    counters: &ConnectionCounters,
) -> fmt::Result {
    let states = [
        ("connected", matches!(state, ConnectionState::Connected)),
        (
            "disconnected",
            matches!(state, ConnectionState::Disconnected),
        ),
        ("lost", matches!(state, ConnectionState::Lost(_))),
        ("closed", matches!(state, ConnectionState::Closed)),
    ];
    let help = "1 for the state that the connection is in, 0 for the others";
    family(to, "connection_state", help, MetricType::Gauge, |to| {
        states
            .iter()
            .try_for_each(|(word, is_it)| gauge(to, &[("state", *word)], u64::from(*is_it)))
    })?;
    for (name, help, of) in CONNECTION_COUNTERS {
        family(to, name, help, MetricType::Counter, |to| {
            to.encode_counter::<NoLabelSet, _, f64>(&of(counters), None)
        })?;
    }
    filter(to, counters)
}

/// The figures of the filter for malformed messages.
fn filter(to: &mut DescriptorEncoder<'_>, counters: &ConnectionCounters) -> fmt::Result {
    let help = "1 while the filter for malformed messages is on, else 0";
    family(to, "connection_filter", help, MetricType::Gauge, |to| {
        to.encode_gauge(&u64::from(counters.filter_is_on))
    })?;
    let help = "Messages that no client could read, by what was done with them and by cause";
    let name = "connection_malformed_messages";
    family(to, name, help, MetricType::Counter, |to| {
        MalformedCause::ALL.into_iter().try_for_each(|cause| {
            let outcome = if cause.is_dropped() {
                "dropped"
            } else {
                "mended"
            };
            let labels = [("outcome", outcome), ("cause", cause.label())];
            counter(to, &labels, counters.malformed.of(cause))
        })
    })
}

fn family(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    samples(&mut to.encode_descriptor(name, help, None, kind)?)
}

fn labels(guest: &GuestStatus) -> [(&'static str, &str); 1] {
    [("guest", guest.name.as_str())]
}

fn counter(to: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    to.encode_family(labels)?
        .encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn gauge(to: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    to.encode_family(labels)?.encode_gauge(&value)
}
