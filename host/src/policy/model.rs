//! The policy against a model of it that is slow and obvious: it tries every subject.

use proptest::prelude::*;
use proptest::sample::select;

use super::{Action, Policy, ReplySubjects};
use crate::config::{GuestSettings, SubjectGrant};
use crate::fuzz::{kind_of, lines};

/// Parts of subjects: plain ones, wildcards, none at all, and the beginnings of subjects that are nobody's to name.
const TOKENS: [&str; 14] = [
    "a", "b", "*", ">", "", "größe", "a*", "$", "$JS", "_INBOX", "_INBOXES", "wharf", "admin",
    "admins",
];

/// Prefixes, of which the configuration would refuse some: the policy does not depend on that.
const PREFIXES: [&str; 12] = [
    "",
    "a.",
    "a",
    "größe.",
    "$",
    "$JS.",
    "_INBOX.",
    "_INB",
    "wharf.",
    "wharf.ad",
    "wharf.admin.",
    "*.",
];

/// Whether a message on this subject, which has no wildcards, reaches a subscription to this pattern.
fn reaches(subject: &[&str], pattern: &[&str]) -> bool {
    match (subject, pattern) {
        ([], []) => true,
        ([_, ..], [">"]) => true,
        ([_, subject @ ..], ["*", pattern @ ..]) => reaches(subject, pattern),
        ([one, subject @ ..], [other, pattern @ ..]) if one == other => reaches(subject, pattern),
        _ => false,
    }
}

/// Every subject of up to so many of these tokens.
fn all_subjects<'a>(tokens: &[&'a str], most: usize) -> Vec<Vec<&'a str>> {
    let mut all = Vec::new();
    let mut longest = vec![Vec::new()];
    for _ in 0..most {
        longest = longest
            .iter()
            .flat_map(|begin: &Vec<&str>| {
                tokens
                    .iter()
                    .map(move |token| [&begin[..], &[*token]].concat())
            })
            .collect();
        all.extend(longest.iter().cloned());
    }
    all
}

/// Whether every subject that reaches `other` also reaches `pattern`, where `other` may have wildcards.
fn covers(pattern: &str, other: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let other: Vec<&str> = other.split('.').collect();
    let is_wildcard = |token: &&str| matches!(*token, "*" | ">");
    // Whatever else there is, is like a token of which none of them knows.
    let mut tokens: Vec<&str> = pattern.iter().chain(&other).copied().collect();
    tokens.retain(|token| !is_wildcard(token));
    tokens.push("unknown");
    tokens.sort_unstable();
    tokens.dedup();
    let most = pattern.len().max(other.len()) + 1;
    all_subjects(&tokens, most)
        .iter()
        .filter(|subject| reaches(subject, &other))
        .all(|subject| reaches(subject, &pattern))
}

/// Whether the server, or a host, takes orders on the subject.
fn takes_orders(subject: &str) -> bool {
    let tokens: Vec<&str> = subject.split('.').collect();
    tokens[0].starts_with('$') || tokens.starts_with(&["wharf", "admin"])
}

fn is_reserved(subject: &str) -> bool {
    takes_orders(subject) || subject.split('.').next() == Some("_INBOX")
}

fn is_granted(grants: &[SubjectGrant], prefix: &str, subject: &str) -> bool {
    let granted = |grant: &SubjectGrant| match grant.ignore_prefix {
        true => grant.subject.clone(),
        false => prefix.to_owned() + &grant.subject,
    };
    !is_reserved(subject) && grants.iter().any(|grant| covers(&granted(grant), subject))
}

/// Asks about texts that nobody meant as subjects. Where trying every subject would take too long, only what has no
/// wildcards is compared.
pub(crate) fn fuzz(input: &[u8]) -> u64 {
    const MAX_TOKENS: usize = 3;
    let [
        host_prefix,
        own_prefix,
        behind_prefix,
        as_it_is,
        reply,
        subject,
    ] = lines(input);
    let mut settings = GuestSettings::new("a.wasm");
    settings.prefix = (own_prefix != "-").then(|| own_prefix.clone());
    settings.publish = vec![
        SubjectGrant::new(&*behind_prefix),
        SubjectGrant::new(&*as_it_is).without_prefix(),
    ];
    let prefix = settings.prefix.clone().unwrap_or(host_prefix.clone());
    let replies = ReplySubjects::new(std::slice::from_ref(&reply));
    let policy = Policy::new("g", &settings, &host_prefix, replies);
    let (may_publish, may_answer) = (
        policy.check(Action::Publish, &subject),
        policy.check_reply(&subject),
    );
    for denied in [&may_publish, &may_answer]
        .into_iter()
        .filter_map(|it| it.as_ref().err())
    {
        let words = denied.to_string();
        assert!(
            words.len() < 2000 && !words.contains(char::is_control),
            "{words:?}"
        );
    }
    assert!(!is_reserved(&subject) || may_publish.is_err());
    assert!(!takes_orders(&subject) || may_answer.is_err());
    let granted = [prefix + &behind_prefix, as_it_is];
    let tokens = |text: &str| text.split('.').count();
    let is_pattern = |text: &str| !text.split('.').rev().skip(1).any(|token| token == ">");
    let all = [&granted[0], &granted[1], &reply, &subject];
    let is_literal = !subject.split('.').any(|token| matches!(token, "*" | ">"));
    let is_small = all.iter().all(|text| tokens(text) <= MAX_TOKENS);
    if all.iter().all(|text| is_pattern(text)) && (is_literal || is_small) {
        let is_covered = |pattern: &str| match is_literal {
            true => reaches(
                &subject.split('.').collect::<Vec<_>>(),
                &pattern.split('.').collect::<Vec<_>>(),
            ),
            false => covers(pattern, &subject),
        };
        let is_granted = granted.iter().any(|it| is_covered(it)) && !is_reserved(&subject);
        assert_eq!(may_publish.is_ok(), is_granted);
        let is_reply = is_covered(&reply) && !takes_orders(&subject);
        assert_eq!(may_answer.is_ok(), is_reply || is_granted);
    }
    let wildcards = all.map(|text| (tokens(text).min(4), text.contains('*'), text.contains('>')));
    kind_of(&(
        may_publish.is_ok(),
        may_answer.is_ok(),
        is_reserved(&subject),
        wildcards,
    ))
}

/// A text that may be a subject or a pattern, or none. Mostly of few tokens, or hardly any would be granted.
fn subject() -> impl Strategy<Value = String> {
    let few = select(&TOKENS[..4]);
    let token = prop_oneof![3 => few, 1 => select(&TOKENS)];
    prop::collection::vec(token, 1..4).prop_map(|tokens| tokens.join("."))
}

fn prefix() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), select(&PREFIXES)]
}

/// A pattern that can be granted, or subscribed to: `>` stands at its end only.
fn pattern() -> impl Strategy<Value = String> {
    subject().prop_filter("`>` comes last", |text| {
        let mut tokens = text.split('.').rev().skip(1);
        !tokens.any(|token| token == ">")
    })
}

fn grants() -> impl Strategy<Value = Vec<SubjectGrant>> {
    let grant = (pattern(), any::<bool>()).prop_map(|(subject, ignore_prefix)| {
        let grant = SubjectGrant::new(subject);
        if ignore_prefix {
            grant.without_prefix()
        } else {
            grant
        }
    });
    prop::collection::vec(grant, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn what_a_guest_may_do_is_what_the_model_says(
        publish in grants(),
        request in grants(),
        may_subscribe in grants(),
        host_prefix in prefix(),
        own_prefix in prop::option::of(prefix()),
        replies in prop::collection::vec(pattern(), 0..3),
        subject in pattern(),
    ) {
        let mut settings = GuestSettings::new("a.wasm");
        settings.prefix = own_prefix.map(str::to_owned);
        settings.publish = publish.clone();
        settings.request = request.clone();
        settings.may_subscribe = may_subscribe.clone();
        let policy = Policy::new("g", &settings, host_prefix, ReplySubjects::new(&replies));
        let prefix = own_prefix.unwrap_or(host_prefix);
        for (action, grants) in [
            (Action::Publish, &publish),
            (Action::Request, &request),
            (Action::Subscribe, &may_subscribe),
        ] {
            let expected = is_granted(grants, prefix, &subject);
            prop_assert_eq!(policy.check(action, &subject).is_ok(), expected, "{:?}", action);
        }
        let is_reply = !takes_orders(&subject) && replies.iter().any(|to| covers(to, &subject));
        let expected = is_reply || is_granted(&publish, prefix, &subject);
        prop_assert_eq!(policy.check_reply(&subject).is_ok(), expected);
    }

    #[test]
    fn nothing_reserved_is_ever_granted_whatever_is_put_before_it(
        grants in grants(),
        prefix in prefix(),
        subject in subject(),
    ) {
        let mut settings = GuestSettings::new("a.wasm");
        settings.publish = grants.clone();
        settings.request = grants.clone();
        settings.may_subscribe = grants;
        let replies = ReplySubjects::new(&[">".to_owned()]);
        let policy = Policy::new("g", &settings, prefix, replies);
        let travelling = format!("{prefix}{subject}");
        for subject in [&subject, &travelling] {
            for action in [Action::Publish, Action::Request, Action::Subscribe] {
                prop_assert!(!is_reserved(subject) || policy.check(action, subject).is_err());
            }
            prop_assert!(!takes_orders(subject) || policy.check_reply(subject).is_err());
        }
    }
}
