//! Why a message is refused.

/// Each variant is one rule; [`status`](Refusal::status) is what a client is answered (an upstream's bad
/// answer is a 502), [`section`](Refusal::section) where the rule stands. After any refusal the connection
/// is closed: where the message ends is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    // -- lines ------------------------------------------------------------------------------------
    #[error("a line ends in LF without CR")]
    BareLineFeed,
    #[error("CR without LF")]
    BareCarriageReturn,
    #[error("a control byte")]
    ControlByte,
    #[error("more than one empty line before the request line")]
    LeadingEmptyLines,
    #[error("a field line starts with white space (line folding is obsolete)")]
    FoldedLine,

    // -- first line -------------------------------------------------------------------------------
    #[error("the request line is not `METHOD target HTTP/1.1`")]
    InvalidRequestLine,
    #[error("the method is not a token")]
    InvalidMethod,
    #[error("CONNECT is not offered here")]
    Connect,
    #[error("an HTTP version other than 1.0 and 1.1")]
    UnsupportedVersion,
    #[error("the status line is not `HTTP/1.1 200 Reason`")]
    InvalidStatusLine,

    // -- target and Host --------------------------------------------------------------------------
    #[error("the request target is longer than the limit")]
    TargetTooLong,
    #[error(
        "the request target has the wrong form for its method, or a byte that must be percent-encoded"
    )]
    InvalidTarget,
    #[error("HTTP/1.1 without Host")]
    MissingHost,
    #[error("more than one Host")]
    RepeatedHost,
    #[error("Host is not `name`, `name:port`, or an address")]
    InvalidHost,
    #[error("the absolute target names another host than Host")]
    ContradictingHost,

    // -- fields -----------------------------------------------------------------------------------
    #[error("the head is larger than the limit")]
    HeadTooLarge,
    #[error("the head has more fields than the limit")]
    TooManyFields,
    #[error("a field line without a colon")]
    MissingColon,
    #[error("white space between a field name and its colon")]
    SpaceBeforeColon,
    #[error("a field name is not a token")]
    InvalidFieldName,
    #[error(
        "a field name with `_` that many servers take for one with `-` (framing, X-Forwarded-*)"
    )]
    DisguisedField,
    #[error("Connection is not a list of tokens, or is repeated too often")]
    InvalidConnection,
    #[error("Connection names a field that is meant for everyone")]
    NominatedEndToEnd,
    #[error("Expect asks for something other than 100-continue")]
    UnknownExpectation,

    // -- framing ----------------------------------------------------------------------------------
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndTransferEncoding,
    #[error("Content-Length is not one decimal number")]
    InvalidLength,
    #[error("more than one Content-Length")]
    RepeatedLength,
    #[error("Content-Length is larger than 2^63-1")]
    LengthOverflow,
    #[error("Transfer-Encoding is something other than a single `chunked`")]
    UnknownTransferEncoding,
    #[error("more than one Transfer-Encoding")]
    RepeatedTransferEncoding,
    #[error("Transfer-Encoding in HTTP/1.0")]
    TransferEncodingInHttp10,
    #[error("a response that cannot have content announces some")]
    ForbiddenContent,

    // -- chunked ----------------------------------------------------------------------------------
    #[error("a chunk size is not hexadecimal")]
    InvalidChunkSize,
    #[error("a chunk size is larger than 2^63-1 or has more than 16 digits")]
    ChunkSizeOverflow,
    #[error("a chunk extension is malformed")]
    InvalidChunkExtension,
    #[error("chunk extensions are larger than the limit")]
    ChunkExtensionTooLarge,
    #[error("chunk data is not followed by CRLF")]
    MissingChunkEnd,
    #[error("the trailer section is larger than the limit")]
    TrailersTooLarge,
    #[error("a field that may not be sent as a trailer")]
    ForbiddenTrailer,
}

impl Refusal {
    /// The status that a client is answered with, before its connection is closed.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::UnknownExpectation => 417,
            Self::HeadTooLarge | Self::TooManyFields | Self::TrailersTooLarge => 431,
            // RFC 9110 §9.1: a method that no resource here implements.
            Self::Connect => 501,
            Self::UnsupportedVersion => 505,
            // RFC 9112 §6.1 would have 501 for an unknown transfer coding. A coding that is not known
            // means that the end of the message is not known: 400, like every other doubt about framing.
            _ => 400,
        }
    }

    /// Where the rule stands.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::BareLineFeed | Self::BareCarriageReturn | Self::LeadingEmptyLines => {
                "RFC 9112 §2.2"
            }
            Self::ControlByte => "RFC 9110 §5.5",
            Self::FoldedLine => "RFC 9112 §5.2",
            Self::InvalidRequestLine => "RFC 9112 §3",
            Self::InvalidMethod => "RFC 9110 §9.1",
            Self::Connect => "RFC 9110 §9.3.6",
            Self::UnsupportedVersion => "RFC 9112 §2.3",
            Self::InvalidStatusLine => "RFC 9112 §4",
            Self::TargetTooLong => "RFC 9112 §3",
            Self::InvalidTarget => "RFC 9112 §3.2",
            Self::MissingHost | Self::RepeatedHost => "RFC 9112 §3.2",
            Self::InvalidHost => "RFC 9110 §7.2",
            Self::ContradictingHost => "RFC 9112 §3.2.2",
            Self::HeadTooLarge | Self::TooManyFields => "RFC 9110 §5.4",
            Self::MissingColon | Self::SpaceBeforeColon => "RFC 9112 §5.1",
            Self::InvalidFieldName => "RFC 9110 §5.1",
            Self::DisguisedField => "RFC 3875 §4.1.18",
            Self::InvalidConnection | Self::NominatedEndToEnd => "RFC 9110 §7.6.1",
            Self::UnknownExpectation => "RFC 9110 §10.1.1",
            Self::LengthAndTransferEncoding | Self::TransferEncodingInHttp10 => "RFC 9112 §6.1",
            Self::InvalidLength | Self::LengthOverflow => "RFC 9110 §8.6",
            Self::RepeatedLength => "RFC 9112 §6.3",
            Self::UnknownTransferEncoding | Self::RepeatedTransferEncoding => "RFC 9112 §6.3",
            Self::ForbiddenContent => "RFC 9112 §6.3",
            Self::InvalidChunkSize | Self::ChunkSizeOverflow | Self::MissingChunkEnd => {
                "RFC 9112 §7.1"
            }
            Self::InvalidChunkExtension | Self::ChunkExtensionTooLarge => "RFC 9112 §7.1.1",
            Self::TrailersTooLarge => "RFC 9112 §7.1.2",
            Self::ForbiddenTrailer => "RFC 9110 §6.5.1",
        }
    }
}
