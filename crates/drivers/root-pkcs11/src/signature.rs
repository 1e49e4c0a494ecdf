//! Signatures and public keys as tokens write them, and as everybody else does.

use keyreeve_crypto::{KeyAlgorithm, PublicKey};

use crate::wire::PublicHalf;

/// Turns `r || s` into ASN.1 DER (RFC 3279, 2.2.3). `None` if it is not two numbers of the curve's length.
pub(crate) fn der(algorithm: KeyAlgorithm, raw: &[u8]) -> Option<Vec<u8>> {
    let len = match algorithm {
        KeyAlgorithm::EcP256 => 32,
        KeyAlgorithm::EcP384 => 48,
        KeyAlgorithm::EcP521 => 66,
        _ => return None,
    };
    let (r, s) = raw.split_at_checked(len).filter(|(_, s)| s.len() == len)?;
    let body = [integer(r)?, integer(s)?].concat();
    let mut out = vec![0x30];
    // At most 2 * (2 + 67) bytes.
    let size = u8::try_from(body.len()).ok()?;
    if size >= 0x80 {
        out.push(0x81);
    }
    out.push(size);
    out.extend(body);
    Some(out)
}

fn integer(number: &[u8]) -> Option<Vec<u8>> {
    let start = number.iter().position(|&byte| byte != 0)?;
    let digits = &number[start..];
    let sign = digits.first().is_some_and(|&byte| byte >= 0x80);
    let mut out = vec![0x02, u8::try_from(digits.len() + usize::from(sign)).ok()?];
    if sign {
        out.push(0);
    }
    out.extend_from_slice(digits);
    Some(out)
}

/// The public key that a token told. `None` for symmetric keys.
///
/// # Errors
/// In words, if what the token told is no key of this algorithm.
pub(crate) fn public(algorithm: KeyAlgorithm, half: &PublicHalf) -> Result<Option<PublicKey>, String> {
    let key = match half {
        PublicHalf::None if !algorithm.is_asymmetric() => return Ok(None),
        PublicHalf::None => return Err("the token told no public half".to_owned()),
        PublicHalf::Point(point) => PublicKey::from_raw(algorithm, unwrapped(algorithm, point)),
        PublicHalf::Rsa(modulus, exponent) => PublicKey::from_rsa_numbers(trimmed(modulus), trimmed(exponent)),
    };
    let key = key.map_err(|error| format!("the token told a public half that is none: {error}"))?;
    if key.algorithm() == algorithm { Ok(Some(key)) } else { Err("the token made a key of another size".to_owned()) }
}

/// PKCS #11 has the point as an OCTET STRING in DER (3.0, 2.3.3); some tokens give it bare.
fn unwrapped(algorithm: KeyAlgorithm, point: &[u8]) -> &[u8] {
    let len = match algorithm {
        KeyAlgorithm::EcP256 => 65,
        KeyAlgorithm::EcP384 => 97,
        KeyAlgorithm::EcP521 => 133,
        _ => 32,
    };
    let header: &[u8] = if len < 0x80 { &[0x04, len] } else { &[0x04, 0x81, len] };
    if point.len() == header.len() + usize::from(len) { point.strip_prefix(header).unwrap_or(point) } else { point }
}

fn trimmed(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|&byte| byte != 0).unwrap_or(number.len());
    &number[start..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_crypto::{Material, Random};

    #[test]
    fn numbers_are_written_shortest_and_positive() {
        let mut raw = [0; 64];
        raw[31] = 1;
        raw[32] = 0x80;
        let der = der(KeyAlgorithm::EcP256, &raw).unwrap();
        let mut expected = vec![0x30, 38, 0x02, 1, 1, 0x02, 33, 0, 0x80];
        expected.extend([0; 31]);
        assert_eq!(der, expected);
        assert!(super::der(KeyAlgorithm::EcP256, &[0; 64]).is_none(), "zero is no signature");
        assert!(super::der(KeyAlgorithm::EcP256, &raw[1..]).is_none());
        let long = super::der(KeyAlgorithm::EcP521, &[0xff; 132]).unwrap();
        assert_eq!((&long[..3], long.len()), (&[0x30, 0x81, 138][..], 141));
    }

    #[test]
    fn points_are_read_wrapped_and_bare() {
        let random = Random::from_module().unwrap();
        for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::EcP384, KeyAlgorithm::EcP521, KeyAlgorithm::Ed25519] {
            let key = Material::generate(algorithm, &random).unwrap().public_key().unwrap().unwrap();
            let raw = key.raw().unwrap();
            let len = u8::try_from(raw.len()).unwrap();
            let header = if len < 0x80 { vec![4, len] } else { vec![4, 0x81, len] };
            for point in [raw.to_vec(), [&header, raw].concat()] {
                assert_eq!(public(algorithm, &PublicHalf::Point(point)).unwrap().unwrap(), key);
            }
            assert!(public(algorithm, &PublicHalf::Point(raw[1..].to_vec())).is_err());
            assert!(public(algorithm, &PublicHalf::None).is_err());
        }
        assert!(public(KeyAlgorithm::Aes256Gcm, &PublicHalf::None).unwrap().is_none());
    }
}
