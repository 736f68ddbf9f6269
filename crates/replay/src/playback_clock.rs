//! The time at which a message is due, by its event time. Pure: the clock is an argument.

use std::time::Duration;

use mpsync_core::error::Error;

/// The pace of event time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as the target accepts messages.
    Max,
    /// A multiple of real time.
    Times(f64),
}

impl std::str::FromStr for Speed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.trim_end_matches('x').parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
            _ => Err(Error::usage(format!(
                "invalid speed `{}`: expected a number such as 1, 10 or 0.5, or max",
                text.escape_debug()
            ))),
        }
    }
}

/// Paces messages by event time. Every message is due by its distance from the first, so there is no
/// drift; after a stall, overdue messages leave at once until the pace is met again.
#[derive(Debug, Clone, Copy)]
pub struct PlaybackClock {
    speed: Speed,
    anchor: Option<(i64, Duration)>,
}

impl PlaybackClock {
    /// Returns a clock that starts with the first message.
    #[must_use]
    pub fn new(speed: Speed) -> Self {
        Self {
            speed,
            anchor: None,
        }
    }

    /// Returns the wait before a message of this event time (nanoseconds since 1970) is sent, `elapsed`
    /// after the start; zero if it is due or overdue.
    #[inline]
    pub fn wait(&mut self, event_nanos: i64, elapsed: Duration) -> Duration {
        self.due(event_nanos, elapsed)
            .map_or(Duration::ZERO, |due| due.saturating_sub(elapsed))
    }

    /// Returns how far a message of this event time is behind the pace.
    pub fn lag(&mut self, event_nanos: i64, elapsed: Duration) -> Duration {
        self.due(event_nanos, elapsed)
            .map_or(Duration::ZERO, |due| elapsed.saturating_sub(due))
    }

    #[inline]
    fn due(&mut self, event_nanos: i64, elapsed: Duration) -> Option<Duration> {
        let Speed::Times(times) = self.speed else {
            return None;
        };
        let (first, started) = *self.anchor.get_or_insert((event_nanos, elapsed));
        let distance =
            Duration::from_nanos(u64::try_from(event_nanos.saturating_sub(first)).unwrap_or(0));
        // A span that overflows a duration is never due.
        let distance =
            Duration::try_from_secs_f64(distance.as_secs_f64() / times).unwrap_or(Duration::MAX);
        Some(started.saturating_add(distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: i64 = 1_000_000_000;

    #[test]
    fn speed_divides_the_distance_of_event_times() {
        let mut playback_clock = PlaybackClock::new(Speed::Times(10.0));
        let started = Duration::from_secs(3);
        assert_eq!(playback_clock.wait(100 * SEC, started), Duration::ZERO);
        assert_eq!(
            playback_clock.wait(110 * SEC, started),
            Duration::from_secs(1)
        );
        assert_eq!(
            playback_clock.wait(110 * SEC, started + Duration::from_millis(400)),
            Duration::from_millis(600)
        );
    }

    #[test]
    fn late_sends_do_not_accumulate_and_a_stall_is_caught_up() {
        let mut playback_clock = PlaybackClock::new(Speed::Times(1.0));
        let mut clock = Duration::ZERO;
        for n in 0..1000 {
            clock += playback_clock.wait(n * SEC, clock);
            // Every send takes its time.
            clock += Duration::from_millis(3);
        }
        assert_eq!(clock, Duration::from_millis(999_003));
        clock += Duration::from_mins(1);
        for n in 1000..1060 {
            assert_eq!(playback_clock.wait(n * SEC, clock), Duration::ZERO);
        }
        assert_eq!(
            playback_clock.lag(1000 * SEC, clock),
            Duration::from_millis(59_003)
        );
        assert_eq!(
            playback_clock.wait(1061 * SEC, clock),
            Duration::from_millis(1_997)
        );
    }

    #[test]
    fn full_speed_neither_waits_nor_lags() {
        let mut playback_clock = PlaybackClock::new("max".parse().unwrap());
        assert_eq!(playback_clock.wait(5 * SEC, Duration::ZERO), Duration::ZERO);
        assert_eq!(
            playback_clock.lag(0, Duration::from_secs(9)),
            Duration::ZERO
        );
        assert!("fast".parse::<Speed>().is_err() && "0".parse::<Speed>().is_err());
        assert_eq!("10x".parse::<Speed>().unwrap(), Speed::Times(10.0));
    }
}
