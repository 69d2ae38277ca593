//! ICMP types, and which of them are queries that a flow can carry (RFC 792, RFC 5508).

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Source quench (deprecated, RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Redirect.
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// Whether a message of this type embeds the packet that caused it (RFC 1812 section 4.3.2.7).
#[inline(always)]
pub const fn is_error(icmp_type: u8) -> bool {
    matches!(icmp_type, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

#[cfg(test)]
mod tests {
    #[test]
    fn errors() {
        let errors: Vec<u8> = (0..=255).filter(|t| super::is_error(*t)).collect();
        assert_eq!(errors, [3, 4, 5, 11, 12]);
    }
}
