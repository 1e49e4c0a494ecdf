"""Wraps and unwraps keys by the hybrids of docs/formats.md (Wrapped keys), with the `cryptography` package alone.

    transport.py wrap METHOD PUBLIC.pem MATERIAL      the wrapped form on standard output
    transport.py recipient METHOD PRIVATE PUBLIC.pem  a key pair
    transport.py unwrap METHOD PRIVATE WRAPPED        the material on standard output

PRIVATE is this script's own: the private key for ECDH as PKCS #8, and the seed for ML-KEM, in hexadecimal.
"""

import base64
import re
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding

RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
POINT = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


class X25519MlKem768:
    name, dh_len, ct_len = b"x25519-ml-kem-768", 32, 1088
    kem_public, kem_private, kem_key = mlkem.MLKEM768PublicKey, mlkem.MLKEM768PrivateKey, 1184

    @staticmethod
    def raw(public):
        return public.public_bytes(*RAW)

    @staticmethod
    def peer(raw):
        return x25519.X25519PublicKey.from_public_bytes(raw)

    @staticmethod
    def ephemeral():
        return x25519.X25519PrivateKey.generate()

    @staticmethod
    def agree(private, public):
        return private.exchange(public)


class P384MlKem1024:
    name, dh_len, ct_len = b"p384-ml-kem-1024", 97, 1568
    kem_public, kem_private, kem_key = mlkem.MLKEM1024PublicKey, mlkem.MLKEM1024PrivateKey, 1568

    @staticmethod
    def raw(public):
        return public.public_bytes(*POINT)

    @staticmethod
    def peer(raw):
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), raw)

    @staticmethod
    def ephemeral():
        return ec.generate_private_key(ec.SECP384R1())

    @staticmethod
    def agree(private, public):
        return private.exchange(ec.ECDH(), public)


METHODS = {method.name.decode(): method for method in (X25519MlKem768, P384MlKem1024)}


def blocks(path, label):
    text = open(path, encoding="ascii").read()
    found = re.findall(f"-----BEGIN {label}-----(.*?)-----END {label}-----", text, re.S)
    return [base64.b64decode("".join(block.split())) for block in found]


def key(method, dh_public, kem_public, ephemeral, ciphertext, kem_secret, dh_secret):
    digest = hashes.Hash(hashes.SHA256())
    for part in (dh_public, kem_public, ephemeral, ciphertext):
        digest.update(part)
    info = b"keyreeve/transport/1\0" + method.name + b"\0" + digest.finalize()
    return HKDF(hashes.SHA256(), 32, None, info).derive(kem_secret + dh_secret)


def wrap(method, public, material):
    first, second = blocks(public, "PUBLIC KEY")
    recipient = serialization.load_der_public_key(first)
    # The key of FIPS 203 is the end of its SubjectPublicKeyInfo.
    kem_public = second[-method.kem_key:]
    secret, ciphertext = method.kem_public.from_public_bytes(kem_public).encapsulate()
    own = method.ephemeral()
    ephemeral = method.raw(own.public_key())
    shared = method.agree(own, recipient)
    kek = key(method, method.raw(recipient), kem_public, ephemeral, ciphertext, secret, shared)
    return ephemeral + ciphertext + aes_key_wrap_with_padding(kek, open(material, "rb").read())


def recipient(method, private, public):
    own, kem = method.ephemeral(), method.kem_private.generate()
    secret = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with open(private, "w", encoding="ascii") as out:
        out.write(own.private_bytes(*secret).hex() + "\n" + kem.private_bytes_raw().hex() + "\n")
    with open(public, "wb") as out:
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        out.write(own.public_key().public_bytes(*form) + kem.public_key().public_bytes(*form))
    return b""


def unwrap(method, private, wrapped):
    first, second = open(private, encoding="ascii").read().split()
    own = serialization.load_der_private_key(bytes.fromhex(first), None)
    kem = method.kem_private.from_seed_bytes(bytes.fromhex(second))
    form = open(wrapped, "rb").read()
    ephemeral, rest = form[: method.dh_len], form[method.dh_len:]
    ciphertext, body = rest[: method.ct_len], rest[method.ct_len:]
    secret = kem.decapsulate(ciphertext)
    shared = method.agree(own, method.peer(ephemeral))
    kem_public = kem.public_key().public_bytes_raw()
    kek = key(method, method.raw(own.public_key()), kem_public, ephemeral, ciphertext, secret, shared)
    return aes_key_unwrap_with_padding(kek, body)


if __name__ == "__main__":
    verb, name, pem, file = sys.argv[1:]
    sys.stdout.buffer.write({"wrap": wrap, "recipient": recipient, "unwrap": unwrap}[verb](METHODS[name], pem, file))
