//! What a person reads.
//!
//! | module | renders |
//! | --- | --- |
//! | [`out`] | standard output: text or JSON lines, color or none |
//! | [`progress`] | a deploy while it goes on: a live step list on a terminal, plain lines elsewhere |
//! | [`plan`] | what a deploy will do: steps, notices, figures |
//! | [`receipt`] | the proof at its end |
//! | [`failure`] | why a release did not come up: probes, exit, last log lines |
//! | [`status`] | the table of `baton status` |
//! | [`lists`] | releases, receipts, events, log lines |
//! | [`table`], [`units`], [`paint`] | columns; durations and bytes; color |
//!
//! Everything but [`out`] and [`progress`] is a pure function to text.

pub mod canary;
pub mod failure;
pub mod lists;
pub mod out;
pub mod paint;
pub mod plan;
pub mod progress;
pub mod receipt;
pub mod status;
pub mod table;
pub mod units;

pub use out::Out;
pub use paint::Paint;
