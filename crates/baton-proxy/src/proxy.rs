//! The handle that the control plane holds.

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {}
