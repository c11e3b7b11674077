//! The decision whether messages pass the filter: whether the client connects through the relay.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::FilterMode;
use crate::lock::locked;

/// The time without a malformed message after which the filter goes off, when the connection breaks anyway.
const QUIET_TIME: Duration = Duration::from_secs(60 * 60);

/// The switch of one connection's filter.
#[derive(Debug)]
pub(super) struct FilterSwitch {
    /// The setting.
    mode: FilterMode,
    /// The filter is on: the next connect goes through the relay.
    on: AtomicBool,
    /// The time of the last malformed message, or of the last sign of one.
    last_sign: Mutex<Option<Instant>>,
    /// Tells that the connection has to be made anew, so that it passes the filter.
    reconnect: Notify,
}

impl FilterSwitch {
    pub(super) fn new(mode: FilterMode) -> Self {
        Self {
            mode,
            on: AtomicBool::new(mode == FilterMode::Always),
            last_sign: Mutex::default(),
            reconnect: Notify::new(),
        }
    }

    /// Whether the next connect goes through the filter.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Whether the filter may ever be on.
    pub(super) fn may_be_on(&self) -> bool {
        self.mode != FilterMode::Never
    }

    /// Notes that a message was mended or dropped.
    pub(super) fn note_malformed(&self) {
        *locked(&self.last_sign) = Some(Instant::now());
    }

    /// Notes that a message exceeded the limits of headers. If that switches the filter on, which is returned, the
    /// connection is to be made anew.
    pub(super) fn note_too_many_headers(&self) -> bool {
        self.note_malformed();
        let comes_on = self.mode == FilterMode::Auto && !self.on.swap(true, Ordering::AcqRel);
        if comes_on {
            self.reconnect.notify_one();
        }
        comes_on
    }

    /// Waits until the connection has to be made anew.
    pub(super) async fn reconnect_wanted(&self) {
        self.reconnect.notified().await;
    }

    /// Notes that the connection was lost, and whether a message may have been the cause. Returns true if that switched
    /// the filter on.
    pub(super) fn note_loss(&self, by_message: bool) -> bool {
        self.note_loss_at(Instant::now(), by_message)
    }

    fn note_loss_at(&self, now: Instant, by_message: bool) -> bool {
        if self.mode != FilterMode::Auto {
            return false;
        }
        let mut last_sign = locked(&self.last_sign);
        if by_message {
            *last_sign = Some(now);
            return !self.on.swap(true, Ordering::AcqRel);
        }
        if last_sign.is_none_or(|sign| now.saturating_duration_since(sign) >= QUIET_TIME) {
            self.on.store(false, Ordering::Release);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_on_by_a_message_and_goes_off_with_the_first_loss_after_an_hour_of_quiet() {
        let switch = FilterSwitch::new(FilterMode::Auto);
        let begun = Instant::now();
        let after = |minutes: u64| begun + Duration::from_secs(minutes * 60);
        assert!(!switch.note_loss_at(begun, false) && !switch.is_on());
        assert!(switch.note_loss_at(begun, true) && switch.is_on());
        assert!(!switch.note_loss_at(after(59), false) && switch.is_on());
        assert!(!switch.note_loss_at(after(59), true), "it is on already");
        assert!(!switch.note_loss_at(after(118), false) && switch.is_on());
        switch.note_loss_at(after(119), false);
        assert!(!switch.is_on());
    }

    #[test]
    fn always_and_never_stay() {
        let (always, never) = (FilterMode::Always, FilterMode::Never);
        let hours = |hours: u64| Instant::now() + Duration::from_secs(hours * 3600);
        for mode in [always, never] {
            let switch = FilterSwitch::new(mode);
            for (later, by_message) in [(0, true), (0, false), (2, false)] {
                switch.note_loss_at(hours(later), by_message);
                switch.note_too_many_headers();
                assert_eq!(switch.is_on(), mode == always);
            }
            assert_eq!(switch.may_be_on(), mode == always);
        }
    }

    #[tokio::test]
    async fn too_many_headers_have_the_connection_made_anew_once() {
        let switch = FilterSwitch::new(FilterMode::Auto);
        assert!(switch.note_too_many_headers());
        assert!(!switch.note_too_many_headers());
        assert!(switch.is_on());
        switch.reconnect_wanted().await;
        let again = tokio::time::timeout(Duration::from_millis(10), switch.reconnect_wanted());
        assert!(again.await.is_err(), "once");
    }
}
