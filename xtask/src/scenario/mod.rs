//! The stories: what both ends do at which time, and the verdict expected; one entry each, by family.

mod cork;
mod innocent;
mod more;
mod nagle;
mod random;
mod story;

pub(crate) use random::random;
pub(crate) use story::{Expected, Link, Step, Story, Syn, Then};

/// All hand-made stories.
pub(crate) fn all() -> Vec<Story> {
    let mut stories = nagle::stories();
    stories.extend(cork::stories());
    stories.extend(more::stories());
    stories.extend(innocent::stories());
    stories
}
