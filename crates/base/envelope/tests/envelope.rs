//! What an envelope promises: every file that is not exactly what was written is refused, and told why.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};

use keyreeve_crypto::random::Random;
use keyreeve_envelope::{
    CHUNK_SIZE, CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, EnvelopeError, FileHeader, HEADER_MAX, Header, Opener, Sealer,
    StreamError, TAG_LEN, WRAPPED_KEY_MAX, decrypt_stream, encrypt_stream, read_header,
};
use keyreeve_secret::SecretBytes;
use proptest::prelude::*;

const CHUNK: usize = CHUNK_SIZE_MIN as usize;
const SEALED: usize = CHUNK + TAG_LEN;

fn data_key() -> SecretBytes {
    SecretBytes::copy_from(&[0x42; 32])
}

fn context() -> BTreeMap<String, String> {
    [("bucket", "räume"), ("path", "/a")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn header_with_salt(salt: u8) -> Header {
    Header::with_parts(CHUNK_SIZE_MIN, [salt; 32], vec![0xab; 100], context()).unwrap()
}

fn header() -> Header {
    header_with_salt(1)
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn encrypted_as(header: Header, plain: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    assert_eq!(encrypt_stream(&data_key(), header, plain, &mut file, |_| ()).unwrap(), plain.len() as u64);
    file
}

fn encrypted(len: usize) -> Vec<u8> {
    encrypted_as(header(), &plaintext(len))
}

/// The plaintext that was let out, and the outcome.
fn decrypted(file: &[u8]) -> (Vec<u8>, Result<u64, EnvelopeError>) {
    let mut reader = Cursor::new(file);
    let mut out = Vec::new();
    let outcome = read_header(&mut reader).and_then(|h| decrypt_stream(&data_key(), &h, &mut reader, &mut out, |_| ()));
    let outcome = outcome.map_err(|error| match error {
        StreamError::Envelope(error) => error,
        other => panic!("{other}"),
    });
    (out, outcome)
}

/// The refusal, after checking that nothing but a genuine beginning of the plaintext was let out.
fn refusal(file: &[u8], len: usize) -> EnvelopeError {
    let (out, outcome) = decrypted(file);
    assert!(plaintext(len).starts_with(&out), "something else than the plaintext was let out");
    outcome.unwrap_err()
}

#[test]
fn every_length_around_the_chunk_boundaries_round_trips() {
    let around = |n: usize| [n - 1, n, n + 1];
    let lengths =
        [0, 1, 2, 15, 16, 17].into_iter().chain(around(CHUNK)).chain(around(2 * CHUNK)).chain(around(5 * CHUNK));
    for len in lengths {
        let file = encrypted(len);
        let (out, outcome) = decrypted(&file);
        assert_eq!(outcome, Ok(len as u64));
        assert_eq!(out, plaintext(len));
        let (parsed, front) = FileHeader::decode(&file).unwrap();
        assert_eq!((parsed.header(), front), (&header(), header().encoded_len()));
        assert_eq!(header().file_len(len as u64), Ok(file.len() as u64), "{len}");
        assert_eq!(parsed.plaintext_len(file.len() as u64), Ok(len as u64));
    }
}

#[test]
fn lengths_that_no_file_has_are_told() {
    let (parsed, front) = FileHeader::decode(&encrypted(0)).unwrap();
    let front = front as u64;
    assert_eq!(parsed.plaintext_len(front - 1), Err(EnvelopeError::HeaderCut));
    for (rest, chunk) in [(0, 0), (15, 0), (SEALED + 1, 1), (SEALED + 16, 1), (3 * SEALED + 5, 3)] {
        assert_eq!(parsed.plaintext_len(front + rest as u64), Err(EnvelopeError::Cut { chunk }), "{rest}");
    }
    assert_eq!(header().file_len(u64::MAX), Err(EnvelopeError::TooLong));
    assert!(header().file_len((1 << 32) * CHUNK as u64).is_ok());
    assert_eq!(header().file_len((1 << 32) * CHUNK as u64 + 1), Err(EnvelopeError::TooLong));
}

#[test]
fn every_flipped_bit_is_noticed() {
    for len in [0, 1, 40, CHUNK + 3] {
        let file = encrypted(len);
        let front = header().encoded_len();
        // All of the header and of the short chunks; in the long chunk its ends.
        let dull = front + 40..front + SEALED - 20;
        for place in (0..file.len()).filter(|place| len <= CHUNK || !dull.contains(place)) {
            for bit in 0..8 {
                let mut bad = file.clone();
                bad[place] ^= 1 << bit;
                let error = refusal(&bad, len);
                let body = place.checked_sub(front).map(|offset| (offset / SEALED) as u64);
                match (error, body) {
                    (EnvelopeError::Altered { chunk } | EnvelopeError::CutOrAltered { chunk }, Some(in_chunk)) => {
                        assert_eq!(chunk, in_chunk, "bit {bit} of byte {place}");
                    }
                    (other, Some(_)) => panic!("bit {bit} of byte {place}: {other}"),
                    (EnvelopeError::Altered { .. } | EnvelopeError::CutOrAltered { .. }, None) => {
                        panic!("bit {bit} of header byte {place} was noticed in the payload only");
                    }
                    (_, None) => {}
                }
            }
        }
    }
}

#[test]
fn a_header_tells_what_is_wrong_with_it() {
    let file = encrypted(10);
    let with = |place: usize, byte: u8| {
        let mut bad = file.clone();
        bad[place] = byte;
        refusal(&bad, 10)
    };
    let front = header().encoded_len();
    assert_eq!(with(0, b'K'), EnvelopeError::NotAnEnvelope);
    assert_eq!(with(9, 2), EnvelopeError::Version(2));
    assert_eq!(with(11, 7), EnvelopeError::Suite(7));
    assert_eq!(with(14, 0x11), EnvelopeError::ChunkSize(0x1100));
    assert_eq!(with(14, 0x20), EnvelopeError::HeaderAltered);
    assert_eq!(with(16, 1), EnvelopeError::HeaderLength);
    assert_eq!(with(20, 0xee), EnvelopeError::WrongKey);
    assert_eq!(with(60, 0xee), EnvelopeError::HeaderAltered, "wrapped key");
    assert_eq!(with(front - 64 - 1, b'b'), EnvelopeError::HeaderAltered, "context");
    assert_eq!(with(front - 33, file[front - 33] ^ 1), EnvelopeError::WrongKey, "commitment");
    assert_eq!(with(front - 1, file[front - 1] ^ 1), EnvelopeError::HeaderAltered, "header MAC");
}

#[test]
fn every_truncation_is_noticed() {
    for len in [0, 1, 100, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 50] {
        let file = encrypted(len);
        let front = header().encoded_len();
        assert_eq!(refusal(&file[..0], len), EnvelopeError::NotAnEnvelope);
        for cut in 1..front {
            assert_eq!(refusal(&file[..cut], len), EnvelopeError::HeaderCut, "{cut} of {len}");
        }
        // At most 40 bytes before or after a boundary or the end.
        let near = |cut: usize| (cut - front + 40) % SEALED <= 80 || file.len() - cut <= 40;
        for cut in (front..file.len()).filter(|cut| near(*cut)) {
            let body = cut - front;
            let (chunk, rest) = ((body / SEALED) as u64, body % SEALED);
            let expected = match rest {
                0 if chunk > 0 => EnvelopeError::Cut { chunk: chunk - 1 },
                0..16 => EnvelopeError::Cut { chunk },
                _ => EnvelopeError::CutOrAltered { chunk },
            };
            assert_eq!(refusal(&file[..cut], len), expected, "{body} of {len}");
        }
    }
}

#[test]
fn moved_repeated_missing_and_foreign_chunks_are_noticed() {
    let len = 4 * CHUNK;
    let file = encrypted(len);
    let front = header().encoded_len();
    let chunk = |n: usize| &file[front + n * SEALED..front + (n + 1) * SEALED];
    let rebuilt = |order: &[usize]| {
        let mut bad = file[..front].to_vec();
        order.iter().for_each(|n| bad.extend_from_slice(chunk(*n)));
        refusal(&bad, len)
    };
    let altered = |chunk| EnvelopeError::Altered { chunk };
    assert_eq!(rebuilt(&[1, 0, 2, 3]), altered(0));
    assert_eq!(rebuilt(&[0, 2, 1, 3]), altered(1));
    assert_eq!(rebuilt(&[0, 1, 3, 2]), altered(2));
    assert_eq!(rebuilt(&[0, 0, 1, 2, 3]), altered(1));
    assert_eq!(rebuilt(&[0, 2, 3]), altered(1));
    assert_eq!(rebuilt(&[1, 2, 3]), altered(0));
    assert_eq!(rebuilt(&[3]), altered(0));
    assert_eq!(rebuilt(&[0, 1, 2]), EnvelopeError::Cut { chunk: 2 });
    assert_eq!(rebuilt(&[0, 1, 2, 3, 3]), EnvelopeError::Continues { chunk: 3 });
    assert_eq!(rebuilt(&[0, 1, 2, 3, 0]), EnvelopeError::Continues { chunk: 3 });
    let other = encrypted_as(header_with_salt(2), &plaintext(len));
    let mixed = [&file[..front + SEALED], &other[front + SEALED..]].concat();
    assert_eq!(refusal(&mixed, len), altered(1), "the same data key and plaintext, another salt");
    let other_front = [&other[..front], &file[front..]].concat();
    assert_eq!(refusal(&other_front, len), altered(0));
}

#[test]
fn whatever_follows_the_end_is_noticed() {
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1] {
        let file = encrypted(len);
        for more in [&[0][..], &[0; 16], &[0; SEALED], &file] {
            let error = refusal(&[&file, more].concat(), len);
            let chunk = (len.max(1) - 1) as u64 / CHUNK as u64;
            if len == CHUNK {
                assert_eq!(error, EnvelopeError::Continues { chunk });
            } else {
                let expected = [EnvelopeError::Altered { chunk }, EnvelopeError::CutOrAltered { chunk }];
                assert!(expected.contains(&error), "{len}: {error}");
            }
        }
    }
}

#[test]
fn only_its_own_data_key_opens_a_file() {
    let file = encrypted(10);
    let (parsed, _) = FileHeader::decode(&file).unwrap();
    for bit in 0..256 {
        let key = SecretBytes::init_with(32, |key| {
            key.fill(0x42);
            key[bit / 8] ^= 1 << (bit % 8);
        });
        assert_eq!(Opener::new(&key, &parsed).err(), Some(EnvelopeError::WrongKey));
    }
    for len in [0, 16, 31, 33, 64] {
        let key = SecretBytes::init_with(len, |key| key.fill(0x42));
        assert_eq!(Opener::new(&key, &parsed).err(), Some(EnvelopeError::DataKeyLength(len)));
        assert_eq!(Sealer::new(&key, header()).err(), Some(EnvelopeError::DataKeyLength(len)));
    }
}

#[test]
fn the_parts_keep_to_the_order() {
    let (_, mut sealer) = Sealer::new(&data_key(), header()).unwrap();
    let mut out = Vec::new();
    sealer.seal_chunk(&plaintext(CHUNK), false, &mut out).unwrap();
    assert_eq!(
        sealer.seal_chunk(b"", true, &mut out),
        Err(EnvelopeError::ChunkLength(0)),
        "empty and not the only one"
    );
    assert_eq!(sealer.seal_chunk(b"x", true, &mut out), Err(EnvelopeError::Finished));
    assert_eq!(out.len(), SEALED);
    for (len, last) in [(CHUNK - 1, false), (CHUNK + 1, false), (CHUNK + 1, true), (0, false)] {
        let (_, mut sealer) = Sealer::new(&data_key(), header()).unwrap();
        assert_eq!(sealer.seal_chunk(&plaintext(len), last, &mut out), Err(EnvelopeError::ChunkLength(len)));
    }
    let file = encrypted(5);
    let (parsed, front) = FileHeader::decode(&file).unwrap();
    let mut place = [0xff; CHUNK];
    let mut opener = Opener::new(&data_key(), &parsed).unwrap();
    assert_eq!(opener.open_chunk(&file[front..], true, &mut place), Ok(5));
    assert_eq!(place[..6], [0, 1, 2, 3, 4, 0xff]);
    assert_eq!(opener.open_chunk(&file[front..], true, &mut place), Err(EnvelopeError::Finished));
    let mut opener = Opener::new(&data_key(), &parsed).unwrap();
    assert_eq!(opener.open_chunk(&file[front..], true, &mut place[..4]), Err(EnvelopeError::ChunkLength(5)));
    assert_eq!(
        opener.open_chunk(&file[front..], true, &mut place),
        Err(EnvelopeError::Finished),
        "nothing after an error"
    );
}

#[test]
fn nothing_of_a_bad_chunk_stays_in_the_buffer() {
    let mut file = encrypted(500);
    let (parsed, front) = FileHeader::decode(&file).unwrap();
    *file.last_mut().unwrap() ^= 1;
    let mut place = [0xff; CHUNK];
    let mut opener = Opener::new(&data_key(), &parsed).unwrap();
    assert_eq!(opener.open_chunk(&file[front..], true, &mut place), Err(EnvelopeError::CutOrAltered { chunk: 0 }));
    assert!(place[..500].iter().all(|byte| *byte == 0));
}

#[test]
fn headers_keep_their_limits() {
    let make = |chunk, wrapped: usize, context| Header::with_parts(chunk, [0; 32], vec![1; wrapped], context).map(drop);
    for chunk in [0, 1, CHUNK_SIZE_MIN / 2, CHUNK_SIZE_MIN + 1, CHUNK_SIZE_MAX * 2, u32::MAX] {
        assert_eq!(make(chunk, 1, context()), Err(EnvelopeError::ChunkSize(chunk)));
    }
    assert_eq!(make(CHUNK_SIZE, 0, context()), Err(EnvelopeError::WrappedKeyLength));
    assert_eq!(make(CHUNK_SIZE, WRAPPED_KEY_MAX + 1, context()), Err(EnvelopeError::WrappedKeyLength));
    let pair = |name: &str, len: usize| BTreeMap::from([(name.to_owned(), "x".repeat(len))]);
    let many: BTreeMap<_, _> = (0..33).map(|n| (n.to_string(), String::new())).collect();
    for bad in [pair("", 1), pair("a\n", 1), pair("a", 8184), many, BTreeMap::from([("a".into(), "\0".into())])] {
        assert_eq!(make(CHUNK_SIZE, 1, bad), Err(EnvelopeError::Context));
    }
    let largest = Header::with_parts(CHUNK_SIZE_MAX, [0; 32], vec![1; WRAPPED_KEY_MAX], pair("a", 8183)).unwrap();
    assert_eq!(largest.encoded_len(), HEADER_MAX);
    let file = encrypted_as(largest.clone(), b"x");
    assert_eq!(FileHeader::decode(&file).unwrap().0.header(), &largest);
    let fresh = || Header::new(&Random::from_module().unwrap(), vec![1], BTreeMap::new()).unwrap();
    assert_eq!(fresh().chunk_size(), CHUNK_SIZE as usize);
    assert_ne!(fresh().salt(), fresh().salt());
}

/// The front of a file with this context, and proofs of zeros.
fn with_context(canonical: &[u8]) -> Vec<u8> {
    let front = encrypted_as(Header::with_parts(CHUNK_SIZE, [0; 32], vec![1], BTreeMap::new()).unwrap(), b"");
    let mut out = front[..57].to_vec();
    out[16..20].copy_from_slice(&(57 + 4 + canonical.len() as u32 + 64).to_be_bytes());
    out.extend_from_slice(&(canonical.len() as u32).to_be_bytes());
    out.extend_from_slice(canonical);
    out.extend_from_slice(&[0; 64]);
    out
}

#[test]
fn contexts_have_one_form() {
    let pairs = |pairs: &[(&[u8], &[u8])]| {
        let mut out = (pairs.len() as u32).to_be_bytes().to_vec();
        for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
            out.extend_from_slice(&(part.len() as u32).to_be_bytes());
            out.extend_from_slice(part);
        }
        FileHeader::decode(&with_context(&out)).map(|(file, _)| file.header().context().len())
    };
    assert_eq!(pairs(&[]), Ok(0));
    assert_eq!(pairs(&[(b"a", b""), (b"b", b"1")]), Ok(2));
    assert_eq!(pairs(&[(b"b", b"1"), (b"a", b"")]), Err(EnvelopeError::Context), "descending");
    assert_eq!(pairs(&[(b"a", b"1"), (b"a", b"2")]), Err(EnvelopeError::Context), "twice");
    assert_eq!(pairs(&[(b"", b"1")]), Err(EnvelopeError::Context), "no name");
    assert_eq!(pairs(&[(b"a", b"\x1b")]), Err(EnvelopeError::Context), "control character");
    assert_eq!(pairs(&[(b"a", b"\xff")]), Err(EnvelopeError::Context), "not UTF-8");
    for bytes in [&b""[..], &[0, 0, 0], &[0, 0, 0, 1], &[0, 0, 0, 0, 0], &[0xff; 4], &[0xff; 9000]] {
        let refused = FileHeader::decode(&with_context(bytes)).unwrap_err();
        assert_eq!(refused, EnvelopeError::Context, "{} bytes", bytes.len());
    }
}

/// Gives and takes a few bytes at a time, and is interrupted now and then.
struct Trickle<T> {
    inner: T,
    step: usize,
    calls: usize,
}

impl<T> Trickle<T> {
    fn new(inner: T, step: usize) -> Self {
        Self { inner, step, calls: 0 }
    }

    fn interrupted(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.calls.is_multiple_of(3) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

impl<T: Read> Read for Trickle<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.interrupted()?;
        let len = buf.len().min(self.step);
        self.inner.read(&mut buf[..len])
    }
}

impl<T: Write> Write for Trickle<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.interrupted()?;
        self.inner.write(&buf[..buf.len().min(self.step)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[test]
fn slow_readers_and_writers_change_nothing() {
    let plain = plaintext(3 * CHUNK + 7);
    let mut file = Vec::new();
    let mut heard = Vec::new();
    let (from, to) = (Trickle::new(plain.as_slice(), 1000), Trickle::new(&mut file, 777));
    encrypt_stream(&data_key(), header(), from, to, |done| heard.push(done)).unwrap();
    assert_eq!(file, encrypted(plain.len()));
    assert_eq!(heard, [CHUNK, 2 * CHUNK, 3 * CHUNK, 3 * CHUNK + 7].map(|n| n as u64));
    let mut reader = Trickle::new(file.as_slice(), 999);
    let parsed = read_header(&mut reader).unwrap();
    let (mut out, mut heard_again) = (Vec::new(), Vec::new());
    let to = Trickle::new(&mut out, 333);
    decrypt_stream(&data_key(), &parsed, reader, to, |done| heard_again.push(done)).unwrap();
    assert_eq!((out, heard_again), (plain, heard));
}

#[test]
fn failing_readers_and_writers_are_told_apart() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
    let mut small = [0; 10];
    let reading = encrypt_stream(&data_key(), header(), Broken, io::sink(), |_| ());
    assert!(matches!(reading, Err(StreamError::Read(error)) if error.kind() == io::ErrorKind::TimedOut));
    let writing = encrypt_stream(&data_key(), header(), &b"abc"[..], &mut small[..], |_| ());
    assert!(matches!(writing, Err(StreamError::Write(error)) if error.kind() == io::ErrorKind::WriteZero));
    assert!(matches!(read_header(Broken), Err(StreamError::Read(_))));
    let file = encrypted(100);
    let mut reader = file.as_slice();
    let parsed = read_header(&mut reader).unwrap();
    let writing = decrypt_stream(&data_key(), &parsed, reader, &mut small[..], |_| ());
    assert!(matches!(writing, Err(StreamError::Write(_))));
    assert!(matches!(decrypt_stream(&data_key(), &parsed, Broken, io::sink(), |_| ()), Err(StreamError::Read(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_round_trips(
        plain in proptest::collection::vec(any::<u8>(), 0..3 * CHUNK),
        wrapped in proptest::collection::vec(any::<u8>(), 1..200),
        context in proptest::collection::btree_map("[^\\p{Cc}]{1,9}", "[^\\p{Cc}]{0,9}", 0..9),
        salt: [u8; 32],
    ) {
        let header = Header::with_parts(CHUNK_SIZE_MIN, salt, wrapped, context).unwrap();
        let file = encrypted_as(header.clone(), &plain);
        let (parsed, len) = FileHeader::decode(&file).unwrap();
        prop_assert_eq!(parsed.header(), &header);
        prop_assert_eq!(&parsed.encode(), &file[..len]);
        let (out, outcome) = decrypted(&file);
        prop_assert_eq!(outcome, Ok(plain.len() as u64));
        prop_assert_eq!(out, plain);
    }

    #[test]
    fn any_alteration_is_refused(len in 0..3 * CHUNK, place: prop::sample::Index, change in 1..=255u8) {
        let mut file = encrypted(len);
        let place = place.index(file.len());
        file[place] ^= change;
        refusal(&file, len);
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(mut bytes: Vec<u8>, place: prop::sample::Index, change: u8) {
        prop_assert_eq!(FileHeader::decode(&bytes).is_ok(), false);
        let file = encrypted(0);
        bytes.splice(0..0, file);
        let place = place.index(header().encoded_len());
        bytes[place] = change;
        if let Ok((parsed, len)) = FileHeader::decode(&bytes) {
            prop_assert_eq!(&parsed.encode(), &bytes[..len]);
        }
    }
}
