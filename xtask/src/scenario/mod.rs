//! The stories: what both ends do at which time, and the verdict expected; one entry each, by family.

mod apart;
mod close;
mod close_waits;
mod cork;
mod discarded;
mod innocent;
mod limits;
mod loopback;
mod more;
mod nagle;
mod opening;
mod random;
mod rows;
mod story;
mod threads;
mod urgent;
mod ways;

pub(crate) use apart::{attached_mid_hold, losses_forced, losses_random, under_load};
pub(crate) use loopback::TWENTY_ROUNDS;
pub(crate) use nagle::HEADER_AND_BODY;
pub(crate) use random::{
    MANY as MANY_CLOSES, WAYS as RANDOM_WAYS, many_closes, random, random_close, random_ways,
};
pub(crate) use story::{
    Active, Answer, Expect, Expected, ExpectedClose, Link, Opener, Question, Step, Story, Syn, Then,
};
pub(crate) use ways::{CANNOT, MAY, WAYS};

/// The random schedules during which events are lost.
pub(crate) const LOSSES_RANDOM: &str = "losses_random";
/// The random schedules that are under way while tcptrace attaches.
pub(crate) const UNDER_LOAD: &str = "attached_under_load";
/// The stories that need a tcptrace of their own.
pub(crate) const APART: [&str; 4] =
    ["attached_mid_hold", "losses_forced", LOSSES_RANDOM, UNDER_LOAD];

/// All hand-made stories but those that need a tcptrace of their own.
pub(crate) fn all() -> Vec<Story> {
    let mut stories = nagle::stories();
    stories.extend(cork::stories());
    stories.extend(more::stories());
    stories.extend(threads::stories());
    stories.extend(loopback::stories());
    stories.extend(discarded::stories());
    stories.extend(limits::stories());
    stories.extend(ways::stories());
    stories.extend(urgent::stories());
    stories.extend(rows::stories());
    stories.extend(opening::stories());
    stories.extend(innocent::stories());
    stories.extend(close::stories());
    stories.extend(close_waits::stories());
    stories
}
