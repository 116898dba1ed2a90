//! Why the gate turned a request away: one variant per reason, each with what to do instead.

use crate::refusal::{Code, Refusal};

/// One reason for which a head or a body is not let through. The text is ours alone: it quotes nothing of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GateError {
    /// An empty line where a request line belongs (RFC 9112 section 2.2).
    #[error("empty line before the request line: start with the method")]
    LeadingLine,
    /// Not `METHOD target HTTP/1.x` (RFC 9112 section 3).
    #[error("malformed request line: send `METHOD target HTTP/1.1` with single spaces")]
    RequestLine,
    /// The method is not a token (RFC 9110 section 9.1) or has more than 32 bytes.
    #[error("method is not a token of at most 32 characters")]
    MethodInvalid,
    /// Methods are case-sensitive and registered in upper case.
    #[error("method in lower case: write it in upper case")]
    MethodCase,
    /// `CONNECT`: this is not a forward proxy.
    #[error("method `CONNECT` is not taken: request the path itself")]
    MethodConnect,
    /// Another version than HTTP/1.1 and HTTP/1.0.
    #[error("version is neither `HTTP/1.1` nor `HTTP/1.0`")]
    Version,
    /// The request line or the target in it is over the limit.
    #[error("url is too long: move data into the body")]
    UrlTooLong,
    /// The target is in none of the forms of RFC 9112 section 3.2 that a server takes.
    #[error("target starts neither with `/` nor with `http://` or `https://` and a host")]
    TargetForm,
    /// A fragment, which belongs to the client alone (RFC 9110 section 4.2.5).
    #[error("`#` in the target: percent-encode it as `%23` or leave the fragment out")]
    TargetFragment,
    /// A space, or two in a row.
    #[error("space in the target: percent-encode it as `%20`")]
    TargetSpace,
    /// A byte that RFC 3986 does not allow raw.
    #[error("character in the target that must be percent-encoded")]
    TargetByte,
    /// A raw byte above 0x7f in the request line.
    #[error("non-ascii byte in the request line: percent-encode it")]
    TargetNonAscii,
    /// `user:password@` in an absolute target (RFC 9110 section 4.2.4).
    #[error("user information in the target: send credentials in a header")]
    TargetUserinfo,
    /// An absolute target whose authority is not what `Host` says (RFC 9112 section 3.2.2).
    #[error("authority of the target differs from `Host`: send the same in both")]
    AuthorityMismatch,
    /// HTTP/1.1 or an absolute target without `Host` (RFC 9112 section 3.2).
    #[error("no `Host` header: send exactly one")]
    HostMissing,
    /// More than one `Host`.
    #[error("more than one `Host` header: send exactly one")]
    HostRepeated,
    /// Not `host` or `host:port`.
    #[error("`Host` is not a host name or address with an optional port")]
    HostInvalid,
    /// `user@` in `Host`.
    #[error("user information in `Host`: send credentials in a header of their own")]
    HostUserinfo,
    /// A line feed without a carriage return before it.
    #[error("line ends with a bare line feed: end lines with CRLF")]
    BareLf,
    /// A carriage return without a line feed after it.
    #[error("carriage return without a line feed: end lines with CRLF")]
    BareCr,
    /// NUL, vertical tab or another control character.
    #[error("control character in the head")]
    ControlByte,
    /// A field value with bytes above 0x7f (`obs-text`, RFC 9110 section 5.5).
    #[error("non-ascii byte in a header: encode the value in ascii")]
    FieldNonAscii,
    /// A line that starts with white space (`obs-fold`, RFC 9112 section 5.2).
    #[error("folded header line: put every header on one line")]
    FieldFolded,
    /// A line without a colon.
    #[error("header line without a colon")]
    FieldWithoutColon,
    /// The name is empty or not a token (RFC 9110 section 5.1).
    #[error("header name is not a token")]
    FieldName,
    /// White space between name and colon (RFC 9112 section 5.1).
    #[error("white space before the colon of a header: remove it")]
    FieldSpace,
    /// More fields than the limit.
    #[error("too many headers: send fewer")]
    FieldsTooMany,
    /// The fields together are over the limit.
    #[error("header block is too large: send less")]
    HeadTooLarge,
    /// Not a canonical decimal number: a sign, a leading zero, a prefix, or nothing (RFC 9110 section 8.6).
    #[error("`Content-Length` is not a plain decimal number without leading zeros")]
    LengthInvalid,
    /// A list in one line.
    #[error("`Content-Length` holds a list: send one number")]
    LengthList,
    /// Over 2^63 - 1.
    #[error("`Content-Length` is too large to be true")]
    LengthOverflow,
    /// More than one, equal ones too.
    #[error("more than one `Content-Length`: send exactly one")]
    LengthRepeated,
    /// Both ways of framing at once (RFC 9112 section 6.1).
    #[error("both `Content-Length` and `Transfer-Encoding`: send one of them")]
    LengthWithEncoding,
    /// Another coding than exactly `chunked`.
    #[error("`Transfer-Encoding` other than exactly `chunked`")]
    EncodingUnknown,
    /// More than one line.
    #[error("more than one `Transfer-Encoding`: send `chunked` once")]
    EncodingRepeated,
    /// HTTP/1.0 has no transfer codings (RFC 9112 section 6.1).
    #[error("`Transfer-Encoding` on HTTP/1.0: use HTTP/1.1")]
    EncodingInHttp10,
    /// A WebSocket upgrade that announces a body.
    #[error("upgrade request with a body: send it without one")]
    UpgradeWithBody,
    /// The head did not end in time.
    #[error("head took too long to arrive: send it at once")]
    HeadTimeout,
    /// A chunk's size is not a hexadecimal number (RFC 9112 section 7.1).
    #[error("chunk size is not a plain hexadecimal number")]
    ChunkSize,
    /// More than 16 digits, or over 2^63 - 1.
    #[error("chunk size is too large to be true")]
    ChunkOverflow,
    /// Chunk extensions (RFC 9112 section 7.1.1), which nobody needs and parsers disagree about.
    #[error("chunk extension: send chunks without extensions")]
    ChunkExtension,
    /// A chunk's size or data that does not end in CRLF.
    #[error("chunk size or data not followed by CRLF")]
    ChunkLineEnd,
    /// A trailer that would change framing or routing (RFC 9110 section 6.5.1).
    #[error("trailer that may only be a header")]
    TrailerForbidden,
    /// Trailers over 4 KiB.
    #[error("trailers are larger than 4 KiB: send less")]
    TrailersTooLarge,
}

impl GateError {
    /// The code of the refusal that the client is told.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::UrlTooLong => Code::UrlTooLong,
            Self::FieldsTooMany | Self::HeadTooLarge | Self::TrailersTooLarge => Code::HeadTooLarge,
            Self::HeadTimeout => Code::RequestTimeout,
            Self::MethodConnect => Code::MethodNotAllowed,
            Self::LeadingLine
            | Self::RequestLine
            | Self::MethodInvalid
            | Self::MethodCase
            | Self::Version
            | Self::TargetForm
            | Self::TargetFragment
            | Self::TargetSpace
            | Self::TargetByte
            | Self::TargetNonAscii
            | Self::TargetUserinfo
            | Self::AuthorityMismatch
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::HostUserinfo
            | Self::BareLf
            | Self::BareCr
            | Self::ControlByte
            | Self::FieldNonAscii
            | Self::FieldFolded
            | Self::FieldWithoutColon
            | Self::FieldName
            | Self::FieldSpace
            | Self::LengthInvalid
            | Self::LengthList
            | Self::LengthOverflow
            | Self::LengthRepeated
            | Self::LengthWithEncoding
            | Self::EncodingUnknown
            | Self::EncodingRepeated
            | Self::EncodingInHttp10
            | Self::UpgradeWithBody
            | Self::ChunkSize
            | Self::ChunkOverflow
            | Self::ChunkExtension
            | Self::ChunkLineEnd
            | Self::TrailerForbidden => Code::RequestInvalid,
        }
    }
}

impl From<GateError> for Refusal {
    fn from(error: GateError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
