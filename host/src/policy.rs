//! May this guest do that?
//!
//! Pure: no NATS, no WebAssembly, no waiting. Every grant is turned once into the subjects that travel on the wire, and
//! every question is asked about such a subject, so that a prefix cannot be used to get around a grant.

use std::collections::BTreeMap;

use crate::config::{BucketAccess, GuestSettings, SubjectGrant};
use crate::protocol::reserved::is_reserved;
use crate::protocol::subject::{Pattern, on_wire, quoted};

/// What one guest may do.
#[derive(Debug)]
pub(crate) struct Policy {
    guest: String,
    prefix: String,
    publish: Vec<Pattern>,
    request: Vec<Pattern>,
    subscribe: Vec<Pattern>,
    buckets: BTreeMap<String, BucketAccess>,
}

/// What a guest wants to do with a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Publish,
    Request,
    Subscribe,
}

impl Action {
    /// The key of the guest's settings that grants it, and the words for it.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Publish => ("publish", "publish on"),
            Self::Request => ("request", "send requests to"),
            Self::Subscribe => ("may_subscribe", "subscribe itself to"),
        }
    }
}

/// What the grants of a guest are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    Publish,
    Request,
    Subscribe,
    /// A bucket, at all.
    Bucket,
    /// A bucket, for writing.
    BucketWrite,
    /// A bucket's settings.
    Settings,
}

impl From<Action> for Grant {
    fn from(action: Action) -> Self {
        match action {
            Action::Publish => Self::Publish,
            Action::Request => Self::Request,
            Action::Subscribe => Self::Subscribe,
        }
    }
}

/// The grants do not cover it. Says which grant is missing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Denied {
    pub(crate) grant: Grant,
    words: String,
}

impl Denied {
    fn new(grant: impl Into<Grant>, words: String) -> Self {
        Self {
            grant: grant.into(),
            words,
        }
    }
}

impl Policy {
    /// `host_prefix` stands in where the guest has no prefix of its own.
    pub(crate) fn new(guest: &str, settings: &GuestSettings, host_prefix: &str) -> Self {
        let prefix = settings
            .prefix
            .clone()
            .unwrap_or_else(|| host_prefix.to_owned());
        let patterns = |grants: &[SubjectGrant]| {
            let pattern = |grant: &SubjectGrant| {
                Pattern::new(if grant.ignore_prefix {
                    grant.subject.clone()
                } else {
                    on_wire(&prefix, &grant.subject)
                })
            };
            grants.iter().map(pattern).collect()
        };
        Self {
            guest: guest.to_owned(),
            publish: patterns(&settings.publish),
            request: patterns(&settings.request),
            subscribe: patterns(&settings.may_subscribe),
            buckets: settings.buckets.clone(),
            prefix,
        }
    }

    /// What is put before the guest's subjects.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// May the guest do this with a subject, as it travels on the wire?
    pub(crate) fn check(&self, action: Action, subject: &str) -> Result<(), Denied> {
        let (grants, (key, words)) = match action {
            Action::Publish => (&self.publish, action.words()),
            Action::Request => (&self.request, action.words()),
            Action::Subscribe => (&self.subscribe, action.words()),
        };
        if is_reserved(subject) {
            return Err(Denied::new(
                action,
                format!(
                    "guest {:?} may not {words} {}: subjects that begin with `$`, `_INBOX.` or `wharf.admin.` are \
                     the server's and the host's own, and no grant covers them",
                    self.guest,
                    quoted(subject)
                ),
            ));
        }
        if grants.iter().any(|grant| grant.covers(subject)) {
            return Ok(());
        }
        Err(Denied::new(
            action,
            format!(
                "guest {:?} may not {words} {}: its settings lack a `{key}` grant that covers it",
                self.guest,
                quoted(subject)
            ),
        ))
    }

    /// May the guest read this bucket, and write to it?
    pub(crate) fn bucket(&self, bucket: &str) -> Result<BucketAccess, Denied> {
        self.buckets.get(bucket).copied().ok_or_else(|| {
            Denied::new(
                Grant::Bucket,
                format!(
                    "guest {:?} may not use bucket {}: its settings lack it under `buckets`",
                    self.guest,
                    quoted(bucket)
                ),
            )
        })
    }

    /// Why a guest may not give a bucket other settings than the host's.
    pub(crate) fn settings_are_the_hosts(&self, bucket: &str) -> Denied {
        Denied::new(
            Grant::Settings,
            format!(
                "guest {:?} may not change the settings of bucket {}: the host's configuration has them",
                self.guest,
                quoted(bucket)
            ),
        )
    }

    /// Why a bucket that is granted for reading may not be written to.
    pub(crate) fn read_only(&self, bucket: &str) -> Denied {
        Denied::new(
            Grant::BucketWrite,
            format!(
                "guest {:?} may not write to bucket {}: its settings grant it as \"read\", not as \"read-write\"",
                self.guest,
                quoted(bucket)
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(prefix: Option<&str>, publish: Vec<SubjectGrant>) -> Policy {
        let mut settings = GuestSettings::new("a.wasm");
        settings.prefix = prefix.map(str::to_owned);
        settings.publish = publish;
        Policy::new("g", &settings, "host.")
    }

    #[test]
    fn a_denial_stays_short_whatever_it_is_about() {
        let long = "\u{1}".repeat(1 << 20);
        let policy = policy(None, vec![]);
        let denials = [
            policy.check(Action::Publish, &long).expect_err("denied"),
            policy
                .check(Action::Publish, &format!("${long}"))
                .expect_err("denied"),
            policy.bucket(&long).expect_err("denied"),
            policy.read_only(&long),
            policy.settings_are_the_hosts(&long),
        ];
        for denied in denials {
            assert!(denied.to_string().len() < 1000, "{denied}");
        }
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let denied = policy(None, vec![])
            .check(Action::Publish, "a")
            .expect_err("nothing is granted");
        assert!(denied.to_string().contains("`publish`"), "{denied}");
    }

    #[test]
    fn a_grant_means_the_subject_behind_the_prefix() {
        let own = policy(Some("own."), vec!["a.>".into()]);
        assert!(own.check(Action::Publish, "own.a.b").is_ok());
        assert!(own.check(Action::Publish, "a.b").is_err());
        let host = policy(None, vec!["a".into()]);
        assert!(host.check(Action::Publish, "host.a").is_ok());
        let bare = policy(None, vec![SubjectGrant::new("a").without_prefix()]);
        assert!(bare.check(Action::Publish, "a").is_ok());
        assert!(bare.check(Action::Publish, "host.a").is_err());
    }

    #[test]
    fn no_wildcard_covers_the_servers_own_subjects() {
        let all = policy(Some(""), vec![">".into(), "*.>".into()]);
        for subject in [
            "$JS.API.STREAM.DELETE.x",
            "$KV.b.k",
            "$SYS.x",
            "_INBOX.abc.1",
            "_INBOX",
            "$x",
        ] {
            assert!(all.check(Action::Publish, subject).is_err(), "{subject}");
        }
        assert!(all.check(Action::Publish, "_INBOXES.a").is_ok());
    }

    #[test]
    fn no_grant_and_no_prefix_leads_to_the_hosts_own_subjects() {
        let with = |prefix, grant: SubjectGrant| {
            let mut settings = GuestSettings::new("a.wasm");
            settings.publish = vec![grant.clone()];
            settings.request = vec![grant.clone()];
            settings.may_subscribe = vec![grant];
            Policy::new("g", &settings, prefix)
        };
        let as_it_is = SubjectGrant::new(">").without_prefix();
        let policies = [
            with("", ">".into()),
            with("", as_it_is),
            with("wharf.", ">".into()),
            with("wharf.admin.", ">".into()),
            with("wharf.ad", ">".into()),
        ];
        for policy in policies {
            for action in [Action::Publish, Action::Request, Action::Subscribe] {
                for subject in [
                    "wharf.admin.h.load",
                    "wharf.admin.>",
                    "wharf.admin",
                    "wharf.admin.*.list",
                ] {
                    assert!(policy.check(action, subject).is_err(), "{subject}");
                }
            }
        }
        assert!(
            with("", ">".into())
                .check(Action::Publish, "wharf.admins.a")
                .is_ok()
        );
        assert!(
            with("", ">".into())
                .check(Action::Publish, "a.wharf.admin.b")
                .is_ok()
        );
    }
}
