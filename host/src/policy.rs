//! The policy: what a guest may do.
//!
//! Pure: no NATS, no WebAssembly, no waiting. Every grant is turned once into the subjects that travel on the wire, and
//! every question is asked about such a subject, so that a prefix cannot be used to get around a grant.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{BucketAccess, GuestSettings, SubjectGrant};
use crate::listed::listed;
use crate::protocol::reserved::{is_reserved, takes_orders};
use crate::protocol::subject::{Pattern, on_wire, quoted};

/// The rights of one guest.
#[derive(Debug)]
pub(crate) struct Policy {
    /// The guest's name.
    guest: String,
    /// The prefix of the guest's subjects.
    prefix: String,
    /// Subjects, as they travel, that it may publish on.
    publish: Vec<Pattern>,
    /// Subjects, as they travel, that it may send requests to.
    request: Vec<Pattern>,
    /// Subjects, as they travel, that it may subscribe itself to.
    subscribe: Vec<Pattern>,
    /// Rights to buckets, by name.
    buckets: BTreeMap<String, BucketAccess>,
    /// Subjects that answers may go to.
    replies: ReplySubjects,
}

/// The subjects that answers may go to, whoever asks for them there. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct ReplySubjects(Arc<[Pattern]>);

impl ReplySubjects {
    pub(crate) fn new(subjects: &[String]) -> Self {
        Self(subjects.iter().cloned().map(Pattern::new).collect())
    }

    /// True if an answer may go there. It goes with the host's rights: never to where the server or a host takes orders.
    pub(crate) fn covers(&self, subject: &str) -> bool {
        !takes_orders(subject) && self.0.iter().any(|pattern| pattern.covers(subject))
    }
}

/// An action of a guest on a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Publish,
    Request,
    Subscribe,
}

impl Action {
    /// The grant that the action takes.
    const fn grant(self) -> Grant {
        match self {
            Self::Publish => Grant::Publish,
            Self::Request => Grant::Request,
            Self::Subscribe => Grant::Subscribe,
        }
    }
}

listed! {
    /// The grants of a guest, as denials are told by them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Grant {
        /// To publish on a subject.
        Publish,
        /// To send requests to a subject.
        Request,
        /// To subscribe itself to a subject.
        Subscribe,
        /// To use a bucket at all.
        Bucket,
        /// To write to a bucket.
        BucketWrite,
        /// To change a bucket's settings.
        BucketSettings,
    }
}

impl Grant {
    /// The key of a guest's settings that grants it.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Request => "request",
            Self::Subscribe => "may_subscribe",
            Self::Bucket | Self::BucketWrite | Self::BucketSettings => "buckets",
        }
    }

    /// The words for what a guest may do by it: `publish on`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Publish => "publish on",
            Self::Request => "send requests to",
            Self::Subscribe => "subscribe itself to",
            Self::Bucket => "use bucket",
            Self::BucketWrite => "write to bucket",
            Self::BucketSettings => "change the settings of bucket",
        }
    }

    /// The name of its count in `/metrics`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Request => "request",
            Self::Subscribe => "subscribe",
            Self::Bucket => "bucket",
            Self::BucketWrite => "bucket_write",
            Self::BucketSettings => "settings",
        }
    }
}

/// A denial: no grant covers the action. Says which grant is missing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Denied {
    /// The grant that is missing, by which denials are counted.
    pub(crate) grant: Grant,
    /// The denial as a sentence: the guest, the action, its object and the reason.
    words: String,
}

impl Policy {
    /// The rights that a guest's settings grant. `host_prefix` stands in where the guest has no prefix of its own.
    pub(crate) fn new(
        guest: &str,
        settings: &GuestSettings,
        host_prefix: &str,
        replies: ReplySubjects,
    ) -> Self {
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
            replies,
            prefix,
        }
    }

    /// The prefix of the guest's subjects.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Checks whether the guest may do this with a subject, as it travels on the wire.
    ///
    /// # Errors
    /// No grant covers it.
    pub(crate) fn check(&self, action: Action, subject: &str) -> Result<(), Denied> {
        let grants = match action {
            Action::Publish => &self.publish,
            Action::Request => &self.request,
            Action::Subscribe => &self.subscribe,
        };
        let grant = action.grant();
        if is_reserved(subject) {
            let why = "subjects that begin with `$`, `_INBOX.` or `wharf.admin.` are the server's and the host's own, and \
                       no grant covers them";
            return Err(self.denied(grant, subject, why));
        }
        if grants.iter().any(|grant| grant.covers(subject)) {
            return Ok(());
        }
        let key = grant.key();
        let why = format!("its settings lack a `{key}` grant that covers it");
        Err(self.denied(grant, subject, &why))
    }

    /// Checks whether the guest's answer to a message may go to this subject, which the sender chose.
    ///
    /// # Errors
    /// Neither the host's settings nor a grant to publish covers it.
    pub(crate) fn check_reply(&self, subject: &str) -> Result<(), Denied> {
        if self.replies.covers(subject) || self.check(Action::Publish, subject).is_ok() {
            return Ok(());
        }
        let why = match takes_orders(subject) {
            true => "it is a subject for orders, not one to wait on",
            false => "neither `[host] replies` nor a `publish` grant of its settings covers it",
        };
        let (guest, object) = (&self.guest, quoted(subject));
        Err(Denied {
            grant: Grant::Publish,
            words: format!("guest {guest:?} may not answer on {object}: {why}"),
        })
    }

    /// The guest's rights to a bucket.
    ///
    /// # Errors
    /// It has none.
    pub(crate) fn bucket(&self, bucket: &str) -> Result<BucketAccess, Denied> {
        let access = self.buckets.get(bucket).copied();
        let why = "its settings lack it under `buckets`";
        access.ok_or_else(|| self.denied(Grant::Bucket, bucket, why))
    }

    /// The denial of other settings than the host's for a bucket.
    pub(crate) fn settings_are_the_hosts(&self, bucket: &str) -> Denied {
        let why = "the host's configuration has them";
        self.denied(Grant::BucketSettings, bucket, why)
    }

    /// The denial of a write to a bucket that is granted for reading.
    pub(crate) fn read_only(&self, bucket: &str) -> Denied {
        let why = "its settings grant it as \"read\", not as \"read-write\"";
        self.denied(Grant::BucketWrite, bucket, why)
    }

    fn denied(&self, grant: Grant, object: &str, why: &str) -> Denied {
        let (guest, object) = (&self.guest, quoted(object));
        let words = format!("guest {guest:?} may not {} {object}: {why}", grant.words());
        Denied { grant, words }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) use model::fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(prefix: Option<&str>, publish: Vec<SubjectGrant>) -> Policy {
        let mut settings = GuestSettings::new("a.wasm");
        settings.prefix = prefix.map(str::to_owned);
        settings.publish = publish;
        Policy::new("g", &settings, "host.", inboxes())
    }

    fn inboxes() -> ReplySubjects {
        ReplySubjects::new(&["_INBOX.>".to_owned()])
    }

    #[test]
    fn an_answer_goes_to_inboxes_and_to_what_the_guest_may_publish_on() {
        let none = policy(None, vec![]);
        let granted = policy(None, vec!["answers.*".into()]);
        for policy in [&none, &granted] {
            assert!(policy.check_reply("_INBOX.a.b").is_ok());
            for subject in ["victim.a", "answers.a", "$KV.b.k", "wharf.admin.h.load"] {
                assert!(policy.check_reply(subject).is_err(), "{subject}");
            }
        }
        assert!(granted.check_reply("host.answers.a").is_ok());
        assert!(none.check_reply("host.answers.a").is_err());
        let everywhere = ReplySubjects::new(&[">".to_owned()]);
        assert!(everywhere.covers("victim.a"));
        assert!(!everywhere.covers("$KV.b.k") && !everywhere.covers("wharf.admin.h.load"));
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
            Policy::new("g", &settings, prefix, inboxes())
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
