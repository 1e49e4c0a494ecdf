//! The single form and the batch form, which most cryptographic requests have.

use keyreeve_engine::Error;
use keyreeve_engine::ops::Each;
use keyreeve_http::{HttpCode, Problem};
use keyreeve_secret::SecretBuffer;
use keyreeve_wire::{Base64, Ciphertext, ItemError, SecretBase64};
use std::io::Write;

/// In which form a request came, which is the form of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Single,
    Batch,
}

/// The items of a request in either form.
pub(crate) fn gather<T, I, O>(
    field: &'static str,
    single: Option<T>,
    items: Option<Vec<I>>,
    one: impl Fn(T) -> O,
    each: impl Fn(I) -> O,
) -> Result<(Shape, Vec<O>), Problem> {
    match (single, items) {
        (Some(single), None) => Ok((Shape::Single, vec![one(single)])),
        (None, Some(items)) => Ok((Shape::Batch, items.into_iter().map(each).collect())),
        (None, None) => Err(Problem::invalid(format!("give `{field}`, or `items` for several"))),
        (Some(_), Some(_)) => Err(Problem::invalid(format!("give either `{field}` or `items`, not both"))),
    }
}

/// The only result of a single form.
pub(crate) fn only<T>(items: Each<T>) -> Result<T, Problem> {
    match items.into_iter().next() {
        Some(item) => item.map_err(Problem::from),
        None => Err(Problem::new(HttpCode::Internal, "an internal error occurred: the server's log tells more")),
    }
}

/// Why one item was not done.
pub(crate) fn item_error(error: &Error) -> ItemError {
    ItemError { code: error.code().name().to_owned(), detail: error.public().to_owned() }
}

/// A result as the two optional members it has on the wire.
pub(crate) fn split<T>(item: Result<T, Error>) -> (Option<T>, Option<ItemError>) {
    match item {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(item_error(&error))),
    }
}

/// Bytes around one value of an answer: names, punctuation, a version.
const FRAME: usize = 64;

/// The answer with ciphertexts, written at one go: the same JSON as [`keyreeve_wire::cipher::CiphertextReply`].
pub(crate) fn write_ciphertexts(shape: Shape, version: u32, items: &Each<Vec<u8>>) -> Result<Vec<u8>, Problem> {
    let length: usize = items.iter().flatten().map(|item| item.len() / 3 * 4 + FRAME).sum();
    let mut out = Vec::with_capacity(FRAME + length);
    // Writing into memory does not fail.
    let _ = write!(out, "{{\"version\":{version},");
    match shape {
        Shape::Single => ciphertext(items.first(), &mut out)?,
        Shape::Batch => {
            out.extend_from_slice(b"\"items\":[");
            for (place, item) in items.iter().enumerate() {
                out.extend_from_slice(if place == 0 { b"{" } else { b",{" });
                match item {
                    Ok(_) => ciphertext(Some(item), &mut out)?,
                    Err(error) => write_error(error, &mut out)?,
                }
                out.push(b'}');
            }
            out.push(b']');
        }
    }
    out.push(b'}');
    Ok(out)
}

fn internal() -> Problem {
    Problem::new(HttpCode::Internal, "an internal error occurred: the server's log tells more")
}

fn ciphertext(item: Option<&Result<Vec<u8>, Error>>, out: &mut Vec<u8>) -> Result<(), Problem> {
    let Some(Ok(bytes)) = item else { return Err(internal()) };
    out.extend_from_slice(b"\"ciphertext\":\"");
    Ciphertext::append(bytes, out);
    out.push(b'"');
    Ok(())
}

fn write_error(error: &Error, out: &mut impl Write) -> Result<(), Problem> {
    out.write_all(b"\"error\":").map_err(|_| internal())?;
    serde_json::to_writer(out, &item_error(error)).map_err(|_| internal())
}

/// The answer with plaintexts, written at one go: the same JSON as [`keyreeve_wire::cipher::PlaintextReply`].
pub(crate) fn write_plaintexts(
    shape: Shape,
    items: &Each<(u32, keyreeve_secret::SecretBytes)>,
) -> Result<SecretBuffer, Problem> {
    let length: usize = items.iter().flatten().map(|(_, item)| item.len() / 3 * 4 + FRAME).sum();
    let mut out = SecretBuffer::with_capacity(FRAME + length);
    match shape {
        Shape::Single => plaintext(items.first(), &mut out)?,
        Shape::Batch => {
            out.extend_from_slice(b"{\"items\":[");
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                plaintext(Some(item), &mut out)?;
            }
            out.extend_from_slice(b"]}");
        }
    }
    Ok(out)
}

fn plaintext(
    item: Option<&Result<(u32, keyreeve_secret::SecretBytes), Error>>,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    match item.ok_or_else(internal)? {
        Ok((version, bytes)) => {
            out.extend_from_slice(b"{\"plaintext\":\"");
            SecretBase64::append(bytes.expose(), out);
            let _ = write!(out, "\",\"version\":{version}}}");
        }
        Err(error) => {
            out.push(b'{');
            write_error(error, out)?;
            out.push(b'}');
        }
    }
    Ok(())
}

/// Bytes as the wire has them.
pub(crate) fn base64(item: Result<Vec<u8>, Error>) -> (Option<Base64>, Option<ItemError>) {
    split(item.map(Base64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_engine::Code;
    use keyreeve_secret::SecretBytes;
    use keyreeve_wire::cipher::{CiphertextOutput, CiphertextReply, PlaintextOutput, PlaintextReply};

    fn failed() -> Error {
        Error::new(Code::DecryptionFailed, "quoted \"text\"\n")
    }

    #[test]
    fn ciphertexts_are_written_as_serde_would() {
        let reply = |ciphertext, items| CiphertextReply { version: 7, ciphertext, items };
        let single = reply(Some(Ciphertext(vec![1, 2, 3, 4])), None);
        let written = write_ciphertexts(Shape::Single, 7, &vec![Ok(vec![1, 2, 3, 4])]).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&single).unwrap());
        let outputs = vec![
            CiphertextOutput { ciphertext: Some(Ciphertext(vec![9; 70])), error: None },
            CiphertextOutput { ciphertext: None, error: Some(item_error(&failed())) },
        ];
        let written = write_ciphertexts(Shape::Batch, 7, &vec![Ok(vec![9; 70]), Err(failed())]).unwrap();
        let expected = serde_json::to_string(&reply(None, Some(outputs))).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn plaintexts_are_written_as_serde_would() {
        let secret = |text: &str| SecretBytes::copy_from(text.as_bytes());
        let wire = |text: &str| Some(SecretBase64(secret(text)));
        let single = PlaintextReply { plaintext: wire("hello"), version: Some(3), items: None };
        let written = write_plaintexts(Shape::Single, &vec![Ok((3, secret("hello")))]).unwrap();
        assert_eq!(written.expose(), serde_json::to_vec(&single).unwrap());
        let outputs = vec![
            PlaintextOutput { plaintext: wire(""), version: Some(1), error: None },
            PlaintextOutput { plaintext: None, version: None, error: Some(item_error(&failed())) },
            PlaintextOutput { plaintext: wire("b"), version: Some(2), error: None },
        ];
        let items = vec![Ok((1, secret(""))), Err(failed()), Ok((2, secret("b")))];
        let written = write_plaintexts(Shape::Batch, &items).unwrap();
        let batch = PlaintextReply { plaintext: None, version: None, items: Some(outputs) };
        assert_eq!(written.expose(), serde_json::to_vec(&batch).unwrap());
    }

    #[test]
    fn a_request_has_one_form() {
        let gather = |single: Option<u8>, items: Option<Vec<u8>>| gather("x", single, items, |x| x, |x| x);
        assert_eq!(gather(Some(1), None).unwrap(), (Shape::Single, vec![1]));
        assert_eq!(gather(None, Some(vec![1, 2])).unwrap(), (Shape::Batch, vec![1, 2]));
        assert!(gather(None, None).is_err() && gather(Some(1), Some(vec![])).is_err());
    }
}
