//! The interfaces that this host offers: one table, read by the linker, by the check of a component, and by
//! `wharf inspect`.

use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::WasiView;
use wasmtime_wasi_config::WasiConfig;

use super::bindings;
use super::filesystem::{self, FilesystemView};
use super::import_context::CtxView;
use crate::policy::Grant;

/// An interface that guests may import, or that the host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The name without the version: `wharf:nats/pubsub`. A name that ends in `/` stands for all interfaces of a package.
    pub name: &'static str,
    /// The versions that there are: a whole version, or one that ends in a dot for all that begin with it.
    pub versions: &'static str,
    /// The side that has it.
    pub role: InterfaceRole,
    /// The purpose, in words.
    pub words: &'static str,
    /// The keys of a guest's settings that grant it, or fill it. Empty where it takes none.
    pub keys: &'static [&'static str],
}

/// The side that has an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceRole {
    /// The host offers it, and guests may import it.
    Offered,
    /// Guests export it, and the host calls it.
    Called,
}

const OURS: &str = "0.2.0";
/// Patch versions of WASI 0.2 stand in for one another.
const WASI: &str = "0.2.";
const OUTPUT: &str = "its output becomes log lines";
const TRAP: &str = "there, and a trap when called";

/// All interfaces, more special names before more general ones.
pub const INTERFACES: [Interface; 19] = [
    offered(
        "wharf:nats/pubsub",
        OURS,
        "publishes, requests, subscribes",
        &[
            Grant::Publish.key(),
            Grant::Request.key(),
            Grant::Subscribe.key(),
        ],
    ),
    offered(
        "wharf:nats/jetstream",
        OURS,
        "stores messages in streams",
        &[Grant::Publish.key()],
    ),
    offered(
        "wharf:nats/keyvalue",
        OURS,
        "keeps values in buckets",
        &[Grant::Bucket.key()],
    ),
    offered("wharf:nats/types", OURS, "the types of the others", &[]),
    called("wharf:nats/handler", "handles messages"),
    called(
        "wharf:nats/lifecycle",
        "is called when it goes into and out of service",
    ),
    offered(
        "wasi:config/store",
        "0.2.0-rc.1",
        "reads its settings",
        &["config"],
    ),
    offered(
        "wasi:cli/environment",
        WASI,
        "reads its environment",
        &["env"],
    ),
    offered("wasi:cli/stdin", WASI, "there, and empty", &[]),
    offered("wasi:cli/stdout", WASI, OUTPUT, &[]),
    offered("wasi:cli/stderr", WASI, OUTPUT, &[]),
    offered(
        "wasi:cli/",
        WASI,
        "a program's arguments, exit and terminal",
        &[],
    ),
    offered("wasi:filesystem/", WASI, "files, in directories", &["dirs"]),
    offered("wasi:clocks/", WASI, "clocks", &[]),
    offered("wasi:random/", WASI, "random numbers", &[]),
    offered("wasi:io/", WASI, "streams, for the other interfaces", &[]),
    offered("wasi:sockets/", WASI, "there, and always refused", &[]),
    offered("wasi:http/types", WASI, TRAP, &[]),
    offered("wasi:http/outgoing-handler", WASI, TRAP, &[]),
];

const fn offered(
    name: &'static str,
    versions: &'static str,
    words: &'static str,
    keys: &'static [&'static str],
) -> Interface {
    Interface {
        name,
        versions,
        role: InterfaceRole::Offered,
        words,
        keys,
    }
}

const fn called(name: &'static str, words: &'static str) -> Interface {
    Interface {
        name,
        versions: OURS,
        role: InterfaceRole::Called,
        words,
        keys: &[],
    }
}

impl Interface {
    /// Finds the interface of a full name, such as `wasi:io/streams@0.2.6`, whatever its version.
    #[must_use]
    pub fn named(full_name: &str) -> Option<&'static Self> {
        let name = full_name
            .split_once('@')
            .map_or(full_name, |(name, _)| name);
        INTERFACES
            .iter()
            .find(|interface| match interface.name.ends_with('/') {
                true => name.starts_with(interface.name),
                false => name == interface.name,
            })
    }

    fn has_version(&self, version: &str) -> bool {
        match self.versions.ends_with('.') {
            true => version.starts_with(self.versions),
            false => version == self.versions,
        }
    }
}

/// Finds the interface that a component's import is, if this host offers it in that version.
pub(crate) fn find(import: &str) -> Option<&'static Interface> {
    let (_, version) = import.split_once('@')?;
    Interface::named(import).filter(|interface| {
        interface.role == InterfaceRole::Offered && interface.has_version(version)
    })
}

/// The reason for which a component with an import that is not offered is no guest.
pub(crate) fn refusal(import: &str) -> String {
    const PACKAGE: &str = "wharf:nats/";
    if !import.starts_with(PACKAGE) {
        return format!("it imports {import}, which this host does not offer");
    }
    let ours = INTERFACES.iter().filter(|interface| {
        interface.role == InterfaceRole::Offered && interface.name.starts_with(PACKAGE)
    });
    let names: Vec<_> = ours
        .map(|interface| interface.name.trim_start_matches(PACKAGE))
        .collect();
    format!(
        "it imports {import}; this host offers version {OURS} of {}",
        names.join(", ")
    )
}

/// Names [`CtxView`] to the linker.
struct Nats;

impl HasData for Nats {
    type Data<'a> = CtxView<'a>;
}

/// Gives a linker every interface of the table that is offered, but for `wasi:http`, which a component gets in the shape in
/// which it imports it: see [`super::http`].
pub(crate) fn link<T: WasiView + Send + 'static>(
    linker: &mut Linker<T>,
    config: fn(&mut T) -> WasiConfig<'_>,
    view: fn(&mut T) -> CtxView<'_>,
    files: fn(&mut T) -> FilesystemView<'_>,
) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    filesystem::link(linker, files)?;
    wasmtime_wasi_config::add_to_linker(linker, config)?;
    bindings::types::add_to_linker::<T, Nats>(linker, view)?;
    bindings::pubsub::add_to_linker::<T, Nats>(linker, view)?;
    bindings::jetstream::add_to_linker::<T, Nats>(linker, view)?;
    bindings::keyvalue::add_to_linker::<T, Nats>(linker, view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_versions_of_wasi_stand_in_for_one_another_and_versions_of_ours_do_not() {
        for import in [
            "wharf:nats/pubsub@0.2.0",
            "wasi:cli/stderr@0.2.3",
            "wasi:cli/terminal-output@0.2.9",
            "wasi:io/streams@0.2.0",
            "wasi:config/store@0.2.0-rc.1",
            "wasi:http/types@0.2.4",
        ] {
            assert!(find(import).is_some(), "{import}");
        }
        for import in [
            "wharf:nats/pubsub@0.2.1",
            "wharf:nats/pubsub",
            "wharf:nats/pubsubs@0.2.0",
            "wharf:nats/handler@0.2.0",
            "wasi:io/streams@0.3.0",
            "wasi:config/store@0.2.0",
            "wasi:http/incoming-handler@0.2.0",
            "wasi:nn/tensor@0.2.0",
        ] {
            assert_eq!(find(import), None, "{import}");
        }
    }

    #[test]
    fn a_refusal_says_what_there_is_instead() {
        let words = refusal("wharf:nats/pubsub@0.1.0");
        let all = "version 0.2.0 of pubsub, jetstream, keyvalue, types";
        assert!(words.contains(all), "{words}");
        assert!(refusal("x:y/z@1.0.0").contains("does not offer"));
    }

    #[test]
    fn no_interface_hides_behind_a_more_general_one() {
        for (at, interface) in INTERFACES.iter().enumerate() {
            let named = Interface::named(interface.name);
            assert_eq!(named, Some(&INTERFACES[at]), "{}", interface.name);
        }
    }
}
