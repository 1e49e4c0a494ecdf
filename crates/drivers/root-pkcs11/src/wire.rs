//! What the server and its worker say to each other over a pipe.
//!
//! A frame is a length (4 bytes, little endian, at most [`FRAME_MAX`]) and so many bytes: a number (8 bytes) that a
//! reply repeats from its request, a code (1 byte), and the fields of what the code stands for. Numbers are little
//! endian; strings are a length (4 bytes) and bytes. Nothing may follow the last field.
//!
//! Both ends are the same program in the same version, and still neither trusts the other: the worker holds a library
//! of somebody else.

use std::io::{self, Read, Write};

use keyreeve_crypto::{HashAlgorithm, KeyAlgorithm, Purpose, SignatureScheme};
use keyreeve_secret::{SecretBuffer, SecretBytes};

use crate::survey::{Mechanism, Survey};

/// Longest message, plaintext or ciphertext in a request, in bytes.
pub const DATA_MAX: usize = 8 << 20;
/// Longest frame without its length, in bytes: one message and what is around it.
pub const FRAME_MAX: usize = DATA_MAX + (64 << 10);
/// Longest id of an object in a token, in bytes.
pub const ID_MAX: usize = 64;
/// Longest text in a frame, in bytes.
pub const TEXT_MAX: usize = 4096;
/// Most things in a list.
pub const LIST_MAX: usize = 200_000;

/// A frame that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What kind of key an object of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The key of a root: AES-256, encrypts and decrypts.
    Root,
    /// A key for callers.
    Key(KeyAlgorithm, Purpose),
}

/// An object of ours, by what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRef {
    /// Its `CKA_ID`.
    pub id: Vec<u8>,
    /// Its kind.
    pub kind: Kind,
}

/// What the worker needs to begin.
#[derive(Debug)]
pub struct Opening {
    /// Path of the vendor's library.
    pub library: String,
    /// Label of the token, or empty.
    pub label: String,
    /// Serial number of the token, or empty.
    pub serial: String,
    /// The user's PIN; without one nobody logs in.
    pub pin: Option<SecretBytes>,
    /// How many sessions.
    pub sessions: u8,
}

/// What is asked of the worker.
#[derive(Debug)]
pub enum Request {
    /// The first request, and only that. Answer: [`Reply::Opened`].
    Open(Opening),
    /// Ids of secret keys with this label. Answer: [`Reply::Ids`].
    Find(String),
    /// Makes a key with this label. Answer: [`Reply::Public`].
    Generate(KeyRef, String),
    /// Looks at a key. Answer: [`Reply::Public`].
    Look(KeyRef),
    /// Erases all objects of this id. Answer: [`Reply::Done`].
    Erase(Vec<u8>),
    /// Ids of secret and private keys that begin so. Answer: [`Reply::Ids`].
    List(Vec<u8>),
    /// AES-GCM. Answer: [`Reply::Bytes`].
    Seal(KeyRef, [u8; 12], Vec<u8>, SecretBytes),
    /// AES-GCM: additional data, and `nonce || ciphertext || tag`. Answer: [`Reply::Secret`].
    Unseal(KeyRef, Vec<u8>, Vec<u8>),
    /// The key of commitments, 32 bytes. Answer: [`Reply::Secret`].
    Derive(KeyRef),
    /// RSA-OAEP: hash, label, ciphertext. Answer: [`Reply::Secret`].
    Oaep(KeyRef, HashAlgorithm, Vec<u8>, Vec<u8>),
    /// A signature over a digest, or a message. Answer: [`Reply::Bytes`].
    Sign(KeyRef, SignatureScheme, Vec<u8>),
    /// An HMAC tag. Answer: [`Reply::Bytes`].
    Mac(KeyRef, Vec<u8>),
}

/// The public half of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicHalf {
    /// Of a symmetric key: none.
    None,
    /// `CKA_EC_POINT` as the token says it.
    Point(Vec<u8>),
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
}

/// Why the worker did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The token or its library does not work, or the token is not there.
    Unavailable,
    /// The ciphertext does not open.
    Input,
    /// The token does not do this.
    NotOffered,
    /// The key is not in the token.
    Missing,
    /// The PIN was refused: it is not tried again.
    Pin,
    /// The key could be taken out of the token, or is not what it should be.
    Exposed,
    /// The request makes no sense.
    Protocol,
}

/// The worker's answer.
#[derive(Debug)]
pub enum Reply {
    /// The token is open.
    Opened(Box<Survey>),
    /// It was done.
    Done,
    /// About a key.
    Public(PublicHalf),
    /// A result that is no secret.
    Bytes(Vec<u8>),
    /// A result that is one.
    Secret(SecretBytes),
    /// Ids of objects.
    Ids(Vec<Vec<u8>>),
    /// It was not done, and why in words for the log.
    Failed(Failure, String),
    /// About no request (number 0): the token is about to be shown the PIN (true), or did not refuse it (false). A
    /// worker that ends in between may have used up a try.
    Login(bool),
}

/// Writes a frame: a length and `body`.
///
/// # Errors
/// As the pipe; [`io::ErrorKind::InvalidInput`] above [`FRAME_MAX`].
pub fn write_frame(pipe: &mut impl Write, body: &SecretBytes) -> io::Result<()> {
    let len = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_MAX);
    let len = len.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    pipe.write_all(&len.to_le_bytes())?;
    pipe.write_all(body.expose())?;
    pipe.flush()
}

/// Reads a frame; `None` at the end of the stream.
///
/// # Errors
/// As the pipe; [`io::ErrorKind::InvalidData`] if a longer frame is announced.
pub fn read_frame(pipe: &mut impl Read) -> io::Result<Option<SecretBytes>> {
    let mut len = [0; 4];
    match pipe.read_exact(&mut len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let len = u32::from_le_bytes(len) as usize;
    if len > FRAME_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    SecretBytes::try_init_with(len, |body| pipe.read_exact(body)).map(Some)
}

struct Out(SecretBuffer);

impl Out {
    fn new(number: u64, code: u8, room: usize) -> Self {
        let mut out = Self(SecretBuffer::with_capacity(room.saturating_add(256)));
        out.u64(number);
        out.u8(code);
        out
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // What is longer than a frame is refused when the frame is written.
        self.0.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        let end = (0..=TEXT_MAX.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
        self.bytes(text.get(..end.unwrap_or(0)).unwrap_or_default().as_bytes());
    }

    fn key(&mut self, key: &KeyRef) {
        self.bytes(&key.id);
        let (algorithm, purpose) = match key.kind {
            Kind::Root => (0, 0),
            Kind::Key(algorithm, purpose) => (algorithm.code(), purpose.code()),
        };
        self.u8(algorithm);
        self.u8(purpose);
    }

    fn list(&mut self, list: &[Vec<u8>]) {
        self.u64(list.len() as u64);
        list.iter().for_each(|item| self.bytes(item));
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[value]| value)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let len = u32::from_le_bytes(self.array()?) as usize;
        if len > max { Err(Malformed) } else { self.take(len) }
    }

    fn vec(&mut self) -> Result<Vec<u8>, Malformed> {
        self.bytes(DATA_MAX).map(<[u8]>::to_vec)
    }

    fn secret(&mut self) -> Result<SecretBytes, Malformed> {
        self.bytes(DATA_MAX).map(SecretBytes::copy_from)
    }

    fn id(&mut self) -> Result<Vec<u8>, Malformed> {
        self.bytes(ID_MAX).map(<[u8]>::to_vec)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        std::str::from_utf8(self.bytes(TEXT_MAX)?).map(str::to_owned).map_err(|_| Malformed)
    }

    fn key(&mut self) -> Result<KeyRef, Malformed> {
        let id = self.id()?;
        let kind = match (self.u8()?, self.u8()?) {
            (0, 0) => Kind::Root,
            (algorithm, purpose) => Kind::Key(
                KeyAlgorithm::from_code(algorithm).map_err(|_| Malformed)?,
                Purpose::from_code(purpose).map_err(|_| Malformed)?,
            ),
        };
        Ok(KeyRef { id, kind })
    }

    fn count(&mut self, least: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u64()?).map_err(|_| Malformed)?;
        // No more than can still follow: a count alone must not make anybody reserve memory.
        if count > LIST_MAX || count > self.0.len() / least { Err(Malformed) } else { Ok(count) }
    }

    fn end<T>(self, value: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(value) } else { Err(Malformed) }
    }
}

impl Request {
    /// The body of a frame.
    pub fn encode(&self, number: u64) -> SecretBytes {
        let begin = |code, room| Out::new(number, code, room);
        let out = match self {
            Self::Open(opening) => opening.encode(begin(1, 1024)),
            Self::Find(label) => encoded(begin(2, label.len()), |out| out.text(label)),
            Self::Generate(key, label) => encoded(begin(3, label.len()), |out| {
                out.key(key);
                out.text(label);
            }),
            Self::Look(key) => encoded(begin(4, 0), |out| out.key(key)),
            Self::Erase(id) => encoded(begin(5, 0), |out| out.bytes(id)),
            Self::List(prefix) => encoded(begin(6, 0), |out| out.bytes(prefix)),
            Self::Seal(key, nonce, aad, plaintext) => encoded(begin(7, aad.len() + plaintext.len()), |out| {
                out.key(key);
                out.0.extend_from_slice(nonce);
                out.bytes(aad);
                out.bytes(plaintext.expose());
            }),
            Self::Unseal(key, aad, sealed) => encoded(begin(8, aad.len() + sealed.len()), |out| {
                out.key(key);
                out.bytes(aad);
                out.bytes(sealed);
            }),
            Self::Derive(key) => encoded(begin(9, 0), |out| out.key(key)),
            Self::Oaep(key, hash, label, text) => encoded(begin(10, label.len() + text.len()), |out| {
                out.key(key);
                out.u8(hash.code());
                out.bytes(label);
                out.bytes(text);
            }),
            Self::Sign(key, scheme, input) => encoded(begin(11, input.len()), |out| {
                out.key(key);
                out.u8(scheme.code());
                out.bytes(input);
            }),
            Self::Mac(key, data) => encoded(begin(12, data.len()), |out| {
                out.key(key);
                out.bytes(data);
            }),
        };
        out.0.finish()
    }

    /// Reads the body of a frame: the number and the request.
    ///
    /// # Errors
    /// [`Malformed`] for everything that [`encode`](Self::encode) does not write.
    pub fn decode(body: &[u8]) -> Result<(u64, Self), Malformed> {
        let mut input = In(body);
        let number = input.u64()?;
        let request = match input.u8()? {
            1 => Self::Open(Opening::decode(&mut input)?),
            2 => Self::Find(input.text()?),
            3 => Self::Generate(input.key()?, input.text()?),
            4 => Self::Look(input.key()?),
            5 => Self::Erase(input.id()?),
            6 => Self::List(input.id()?),
            7 => Self::Seal(input.key()?, input.array()?, input.vec()?, input.secret()?),
            8 => Self::Unseal(input.key()?, input.vec()?, input.vec()?),
            9 => Self::Derive(input.key()?),
            10 => Self::Oaep(
                input.key()?,
                HashAlgorithm::from_code(input.u8()?).map_err(|_| Malformed)?,
                input.vec()?,
                input.vec()?,
            ),
            11 => {
                Self::Sign(input.key()?, SignatureScheme::from_code(input.u8()?).map_err(|_| Malformed)?, input.vec()?)
            }
            12 => Self::Mac(input.key()?, input.vec()?),
            _ => return Err(Malformed),
        };
        input.end((number, request))
    }
}

fn encoded(mut out: Out, fields: impl FnOnce(&mut Out)) -> Out {
    fields(&mut out);
    out
}

impl Opening {
    fn encode(&self, out: Out) -> Out {
        encoded(out, |out| {
            out.text(&self.library);
            out.text(&self.label);
            out.text(&self.serial);
            out.u8(u8::from(self.pin.is_some()));
            if let Some(pin) = &self.pin {
                out.bytes(pin.expose());
            }
            out.u8(self.sessions);
        })
    }

    fn decode(input: &mut In<'_>) -> Result<Self, Malformed> {
        let (library, label, serial) = (input.text()?, input.text()?, input.text()?);
        let pin = match input.u8()? {
            0 => None,
            1 => Some(SecretBytes::copy_from(input.bytes(TEXT_MAX)?)),
            _ => return Err(Malformed),
        };
        Ok(Self { library, label, serial, pin, sessions: input.u8()? })
    }
}

impl Reply {
    /// The body of a frame.
    pub fn encode(&self, number: u64) -> SecretBytes {
        let begin = |code, room| Out::new(number, code, room);
        let out = match self {
            Self::Opened(survey) => survey.encode(begin(1, 8192)),
            Self::Done => begin(2, 0),
            Self::Public(half) => encoded(begin(3, 1200), |out| match half {
                PublicHalf::None => out.u8(0),
                PublicHalf::Point(point) => {
                    out.u8(1);
                    out.bytes(point);
                }
                PublicHalf::Rsa(modulus, exponent) => {
                    out.u8(2);
                    out.bytes(modulus);
                    out.bytes(exponent);
                }
            }),
            Self::Bytes(bytes) => encoded(begin(4, bytes.len()), |out| out.bytes(bytes)),
            Self::Secret(secret) => encoded(begin(5, secret.len()), |out| out.bytes(secret.expose())),
            Self::Ids(ids) => encoded(begin(6, ids.len() * 48), |out| out.list(ids)),
            Self::Failed(failure, text) => encoded(begin(7, text.len()), |out| {
                out.u8(failure.code());
                out.text(text);
            }),
            Self::Login(begins) => encoded(begin(8, 1), |out| out.u8(u8::from(*begins))),
        };
        out.0.finish()
    }

    /// Reads the body of a frame: the number and the reply.
    ///
    /// # Errors
    /// [`Malformed`] for everything that [`encode`](Self::encode) does not write.
    pub fn decode(body: &[u8]) -> Result<(u64, Self), Malformed> {
        let mut input = In(body);
        let number = input.u64()?;
        let reply = match input.u8()? {
            1 => Self::Opened(Box::new(Survey::decode(&mut input)?)),
            2 => Self::Done,
            3 => Self::Public(match input.u8()? {
                0 => PublicHalf::None,
                1 => PublicHalf::Point(input.vec()?),
                2 => PublicHalf::Rsa(input.vec()?, input.vec()?),
                _ => return Err(Malformed),
            }),
            4 => Self::Bytes(input.vec()?),
            5 => Self::Secret(input.secret()?),
            6 => {
                let count = input.count(4)?;
                Self::Ids((0..count).map(|_| input.id()).collect::<Result<_, _>>()?)
            }
            7 => Self::Failed(Failure::from_code(input.u8()?)?, input.text()?),
            8 => Self::Login(match input.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed),
            }),
            _ => return Err(Malformed),
        };
        input.end((number, reply))
    }
}

impl Failure {
    const ALL: [Self; 7] =
        [Self::Unavailable, Self::Input, Self::NotOffered, Self::Missing, Self::Pin, Self::Exposed, Self::Protocol];

    fn code(self) -> u8 {
        match self {
            Self::Unavailable => 1,
            Self::Input => 2,
            Self::NotOffered => 3,
            Self::Missing => 4,
            Self::Pin => 5,
            Self::Exposed => 6,
            Self::Protocol => 7,
        }
    }

    fn from_code(code: u8) -> Result<Self, Malformed> {
        Self::ALL.into_iter().find(|failure| failure.code() == code).ok_or(Malformed)
    }
}

impl Survey {
    fn encode(&self, out: Out) -> Out {
        encoded(out, |out| {
            for text in self.texts() {
                out.text(text);
            }
            out.u64(self.slot);
            out.u8(self.flags);
            out.u64(self.mechanisms.len() as u64);
            for mechanism in &self.mechanisms {
                out.u64(mechanism.code);
                out.u64(mechanism.min);
                out.u64(mechanism.max);
                out.u8(mechanism.uses);
            }
            out.u8(self.oaep);
            out.u8(u8::from(self.validation.is_some()));
            if let Some(validation) = self.validation {
                out.u64(validation);
            }
        })
    }

    fn decode(input: &mut In<'_>) -> Result<Self, Malformed> {
        let mut survey = Self::default();
        for text in survey.texts_mut() {
            *text = input.text()?;
        }
        survey.slot = input.u64()?;
        survey.flags = input.u8()?;
        let count = input.count(25)?;
        for _ in 0..count {
            let (code, min, max) = (input.u64()?, input.u64()?, input.u64()?);
            survey.mechanisms.push(Mechanism { code, min, max, uses: input.u8()? });
        }
        survey.oaep = input.u8()?;
        survey.validation = match input.u8()? {
            0 => None,
            1 => Some(input.u64()?),
            _ => return Err(Malformed),
        };
        Ok(survey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> KeyRef {
        KeyRef { id: vec![7; 36], kind: Kind::Key(KeyAlgorithm::EcP384, Purpose::Sign) }
    }

    fn requests() -> Vec<Request> {
        let root = KeyRef { id: b"root".to_vec(), kind: Kind::Root };
        let secret = || SecretBytes::copy_from(b"secret");
        let opening = |pin| Opening {
            library: "/usr/lib/x.so".to_owned(),
            label: "label".to_owned(),
            serial: String::new(),
            pin,
            sessions: 4,
        };
        vec![
            Request::Open(opening(Some(secret()))),
            Request::Open(opening(None)),
            Request::Find("keyreeve-root".to_owned()),
            Request::Generate(key(), "label".to_owned()),
            Request::Look(root.clone()),
            Request::Erase(vec![1]),
            Request::List(vec![]),
            Request::Seal(root.clone(), [3; 12], b"aad".to_vec(), secret()),
            Request::Unseal(root, vec![], vec![9; 40]),
            Request::Derive(key()),
            Request::Oaep(key(), HashAlgorithm::Sha384, b"l".to_vec(), vec![1; 256]),
            Request::Sign(key(), SignatureScheme::EcdsaSha384, vec![2; 48]),
            Request::Mac(key(), b"data".to_vec()),
        ]
    }

    fn replies() -> Vec<Reply> {
        let survey = Survey {
            model: "model".to_owned(),
            flags: 3,
            mechanisms: vec![Mechanism { code: 0x1087, min: 16, max: 32, uses: 3 }],
            validation: Some(1),
            ..Survey::default()
        };
        let mut replies = vec![
            Reply::Opened(Box::new(survey)),
            Reply::Done,
            Reply::Public(PublicHalf::None),
            Reply::Public(PublicHalf::Point(vec![4; 67])),
            Reply::Public(PublicHalf::Rsa(vec![1; 256], vec![1, 0, 1])),
            Reply::Bytes(vec![1, 2, 3]),
            Reply::Secret(SecretBytes::copy_from(b"secret")),
            Reply::Ids(vec![vec![1], vec![2; 36]]),
            Reply::Login(false),
            Reply::Login(true),
        ];
        replies.extend(Failure::ALL.map(|failure| Reply::Failed(failure, "why".to_owned())));
        replies
    }

    /// Every cut and every addition is no frame; `read` gives the number if there is one, and what it would be written
    /// as.
    fn nothing_else_is_read(body: &SecretBytes, read: impl Fn(&[u8]) -> Option<(u64, SecretBytes)>) {
        let (number, again) = read(body.expose()).unwrap();
        assert_eq!(number, 77);
        assert!(again.ct_eq(body.expose()), "{:?}", hex::encode(body.expose()));
        for cut in 0..body.len() {
            assert!(read(&body.expose()[..cut]).is_none());
        }
        assert!(read(&[body.expose(), b"\0"].concat()).is_none());
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for request in requests() {
            nothing_else_is_read(&request.encode(77), |body| {
                Request::decode(body).ok().map(|(number, request)| (number, request.encode(number)))
            });
        }
        for reply in replies() {
            nothing_else_is_read(&reply.encode(77), |body| {
                Reply::decode(body).ok().map(|(number, reply)| (number, reply.encode(number)))
            });
        }
    }

    #[test]
    fn frames_are_bounded() {
        let mut pipe = Vec::new();
        write_frame(&mut pipe, &SecretBytes::copy_from(b"body")).unwrap();
        assert!(read_frame(&mut pipe.as_slice()).unwrap().unwrap().ct_eq(b"body"));
        assert!(read_frame(&mut &pipe[..6]).is_err(), "cut short");
        assert!(read_frame(&mut &b""[..]).unwrap().is_none());
        assert!(read_frame(&mut &[0xff; 8][..]).is_err(), "four gigabytes");
        let long = SecretBytes::init_with(FRAME_MAX + 1, |_| ());
        assert!(write_frame(&mut io::sink(), &long).is_err());
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(body: Vec<u8>, code in 0u8..16) {
            let _ = Request::decode(&body);
            let _ = Reply::decode(&body);
            let body = [&[0; 8][..], &[code], &body].concat();
            if let Ok((number, request)) = Request::decode(&body) {
                prop_assert!(request.encode(number).ct_eq(&body));
            }
            if let Ok((number, reply)) = Reply::decode(&body) {
                prop_assert!(reply.encode(number).ct_eq(&body));
            }
        }
    }
}
