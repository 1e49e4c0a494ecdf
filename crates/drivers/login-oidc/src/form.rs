//! Bodies of `application/x-www-form-urlencoded`, made in memory that is wiped.

use keyreeve_secret::SecretBuffer;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends a text in the form's encoding (WHATWG URL, section 5.2; RFC 6749, appendix B).
pub(crate) fn encode(out: &mut SecretBuffer, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(byte),
            b' ' => out.push(b'+'),
            other => {
                out.push(b'%');
                out.push(HEX[usize::from(other >> 4)]);
                out.push(HEX[usize::from(other & 15)]);
            }
        }
    }
}

/// Pairs of names and values.
pub(crate) struct Form(SecretBuffer);

impl Form {
    pub(crate) fn new() -> Self {
        Self(SecretBuffer::with_capacity(1024))
    }

    pub(crate) fn pair(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        encode(&mut self.0, name);
        self.0.push(b'=');
        encode(&mut self.0, value);
    }

    /// The HTTP library takes its bodies as they are; what it does with them is its own.
    pub(crate) fn body(self) -> Vec<u8> {
        self.0.finish().declassify("the body of a request over TLS")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_end_themselves() {
        let mut form = Form::new();
        form.pair("code", "a&b=c+d e%41é");
        form.pair("empty", "");
        assert_eq!(form.body(), b"code=a%26b%3Dc%2Bd+e%2541%C3%A9&empty=");
    }
}
