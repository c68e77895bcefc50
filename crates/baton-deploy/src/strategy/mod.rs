//! Strategies: each only writes the plan.

pub(crate) mod blue_green;
