"""Decrypts an envelope file with Python's standard library and the package `cryptography`, from docs/formats.md alone.

Usage: envelope.py header FILE             prints the wrapped data key, base64
       envelope.py decrypt FILE KEY_FILE   writes the plaintext to standard output
"""

import base64
import hashlib
import hmac
import sys


def expand(prk, info, length=32):
    """HKDF-Expand (RFC 5869) of one block."""
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()[:length]


class File:
    def __init__(self, data):
        number = lambda place, size: int.from_bytes(data[place : place + size], "big")
        assert data[:8] == bytes.fromhex("8b4b5245454e560a"), "not an envelope"
        assert (number(8, 2), number(10, 2)) == (1, 1), "another version"
        self.chunk, self.header_len = number(12, 4), number(16, 4)
        self.salt = data[20:52]
        wrapped_len = number(52, 4)
        self.wrapped = data[56 : 56 + wrapped_len]
        context_len = number(56 + wrapped_len, 4)
        assert self.header_len == 60 + wrapped_len + context_len + 64
        self.commitment = data[self.header_len - 64 : self.header_len - 32]
        self.mac = data[self.header_len - 32 : self.header_len]
        self.signed = data[: self.header_len - 32]
        self.chunks = data[self.header_len :]

    def decrypt(self, key):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        prk = hmac.new(self.salt, key, hashlib.sha256).digest()
        assert expand(prk, b"keyreeve envelope commit v1") == self.commitment, "another key"
        header_key = expand(prk, b"keyreeve envelope header v1")
        assert hmac.new(header_key, self.signed, hashlib.sha256).digest() == self.mac, "the header was altered"
        cipher = AESGCM(expand(prk, b"keyreeve envelope payload v1" + hashlib.sha256(self.signed).digest()))
        place, number = 0, 0
        while True:
            piece = self.chunks[place : place + self.chunk + 16]
            place += len(piece)
            last = place == len(self.chunks)
            yield cipher.decrypt(number.to_bytes(11, "big") + bytes([last]), piece, None)
            number += 1
            if last:
                return


def main():
    file = File(open(sys.argv[2], "rb").read())
    if sys.argv[1] == "header":
        print(base64.b64encode(file.wrapped).decode())
        return
    key = open(sys.argv[3], "rb").read()
    for piece in file.decrypt(key):
        sys.stdout.buffer.write(piece)


main()
