//! Why a message is refused.

/// Each variant is one rule; `status` is what a client is answered (an upstream's bad answer is a 502),
/// `section` where the rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 9112 §6.1, §6.3.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndTransferEncoding,
}
