//! Settings: as they are written, then as they are meant.
//!
//! There are three ways in: `wharf.toml`, the settings file of the Go connector, and the environment. Each is read into
//! typed values; everything that is wrong is noted with its location and reported at once.
//!
//! | file | what |
//! |---|---|
//! | `load.rs` | files and the environment → [`Config`], or all problems |
//! | `*_settings.rs`, `ratio.rs` | settings as they are meant: valid, with defaults |
//! | `file.rs`, `*_section.rs` | `wharf.toml` and its sections |
//! | `settings_file.rs` | the settings file of the Go connector |
//! | `layer.rs` | the connection's settings as each way in gives them, and how the three become one |
//! | `value.rs`, `expand.rs` | values of a TOML document |
//! | `parse.rs`, `server_url.rs` | values that are written as text |
//! | `problem.rs` | problems and their locations |
//! | `protected_paths.rs` | files and directories that no guest may have |

mod bucket_section;
mod bucket_settings;
mod canary_section;
mod canary_settings;
mod connection_settings;
mod environment;
mod expand;
mod file;
#[cfg(test)]
mod fuzzed_settings;
mod guest_section;
mod guest_settings;
mod host_settings;
mod layer;
mod load;
mod parse;
mod problem;
mod protected_paths;
mod ratio;
mod server_url;
mod settings_file;
mod value;

pub use crate::component::{ComponentSource, parse_object};
pub use bucket_settings::{BucketSettings, Storage};
pub use canary_settings::CanarySettings;
pub use connection_settings::{Auth, ConnectionSettings, FilterMode, Secret, Servers, TlsSettings};
#[cfg(test)]
pub(crate) use fuzzed_settings::fuzz;
pub use guest_settings::{
    BucketAccess, DirectoryAccess, DirectoryGrant, GuestSettings, Instances, Limits, MAX_INSTANCES,
    Serializer, SubjectGrant, SubscriptionSettings,
};
pub use host_settings::{AdminSettings, HostSettings, HttpSettings, OtlpSettings};
pub use load::{Config, Sources};
pub(crate) use parse::check_otlp_endpoint;
pub use parse::{
    parse_bucket_grant, parse_duration, parse_grant, parse_guest_name, parse_host_name,
    parse_queue, parse_subject, parse_subscription,
};
pub use problem::{ConfigErrors, Location, Locations, Problem};
pub(crate) use protected_paths::{Place, ProtectedPaths};
pub use ratio::Ratio;
pub use server_url::{parse_servers, redact_server};
