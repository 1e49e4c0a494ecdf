"""Verifies a copy of an audit log with nothing but Python's standard library.

Written from the specifications (RFC 6962, RFC 8032, c2sp.org/signed-note, c2sp.org/tlog-tiles, c2sp.org/tlog-proof), not
from Keyreeve's code: what both agree on is what the specifications say.

Usage: tlog.py LOG_DIRECTORY VKEY [PROOF_FILE RECORD_FILE]
"""

import base64
import hashlib
import pathlib
import sys

WIDTH = 256


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# RFC 8032, section 6: Ed25519, verification only.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P != 0:
        x = x * ROOT % P
    if (x * x - x2) % P != 0:
        return None
    return P - x if x & 1 != sign else x


def decompress(data):
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def add(one, two):
    a = (one[1] - one[0]) * (two[1] - two[0]) % P
    b = (one[1] + one[0]) * (two[1] + two[0]) % P
    c = 2 * one[3] * two[3] * D % P
    d = 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def equal(one, two):
    return (one[0] * two[2] - two[0] * one[2]) % P == 0 and (one[1] * two[2] - two[1] * one[2]) % P == 0


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def ed25519_verify(public, message, signature):
    a, r = decompress(public), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or a is None or r is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    return equal(multiply(s, BASE), add(r, multiply(k, a)))


def open_note(note, vkey):
    """The text of a signed note, whose Ed25519 signature by `vkey` must be good."""
    name, key_hash, key = vkey.split("+", 2)
    key = base64.b64decode(key, validate=True)
    assert key[0] == 1 and len(key) == 33, "not an Ed25519 key"
    assert sha256(name.encode() + b"\n" + key)[:4].hex() == key_hash, "the key's hash does not fit"
    text, signatures = note.split(b"\n\n", 1)
    text += b"\n"
    for line in signatures.decode().splitlines():
        dash, signer, value = line.split(" ")
        assert dash == "\u2014"
        value = base64.b64decode(value, validate=True)
        if signer == name and value[:4].hex() == key_hash:
            assert ed25519_verify(key[1:], text, value[4:]), "the signature is not good"
            return text.decode()
    raise AssertionError("not signed by this key")


def checkpoint(note, vkey):
    origin, size, root = open_note(note, vkey).splitlines()[:3]
    assert origin == vkey.split("+", 1)[0]
    return int(size), base64.b64decode(root, validate=True)


def tile_name(number):
    groups = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        groups.append(f"x{number % 1000:03}")
    return "/".join(reversed(groups))


def tile_file(log, level, number, count):
    """A whole tile, or the one with as many entries as there are."""
    path = f"tile/{level}/{tile_name(number)}"
    width = min(WIDTH, count - number * WIDTH)
    return (log / path if width == WIDTH else log / f"{path}.p" / str(width)), width


def entries(log, size):
    for number in range(-(-size // WIDTH)):
        path, width = tile_file(log, "entries", number, size)
        data, found = path.read_bytes(), 0
        while data:
            length = int.from_bytes(data[:2], "big")
            assert len(data) >= 2 + length, f"{path} is cut"
            yield data[2 : 2 + length]
            data, found = data[2 + length :], found + 1
        assert found == width, f"{path} has {found} entries instead of {width}"


def tree_hash(leaves):
    """RFC 6962, section 2.1."""
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01", tree_hash(leaves[:split]), tree_hash(leaves[split:]))


def check_tiles(log, leaves):
    """Every hash tile of every level is what the entries say."""
    level, hashes = 0, leaves
    while hashes:
        for number in range(-(-len(hashes) // WIDTH)):
            path, width = tile_file(log, level, number, len(hashes))
            expected = b"".join(hashes[number * WIDTH : number * WIDTH + width])
            assert path.read_bytes() == expected, f"{path} differs"
        whole = len(hashes) // WIDTH
        hashes = [tree_hash(hashes[number * WIDTH : (number + 1) * WIDTH]) for number in range(whole)]
        level += 1


def check_inclusion(leaf, index, size, proof, root):
    """RFC 9162, section 2.1.3.2."""
    assert index < size
    node, last, result = index, size - 1, leaf
    for step in proof:
        assert last != 0, "the proof is too long"
        if node & 1 or node == last:
            result = sha256(b"\x01", step, result)
            while not node & 1 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            result = sha256(b"\x01", result, step)
        node, last = node >> 1, last >> 1
    assert last == 0 and result == root, "the record is not proved"


def check_proof(proof, record, vkey):
    head, note = proof.split(b"\n\n", 1)
    lines = head.decode().splitlines()
    assert lines.pop(0) == "c2sp.org/tlog-proof@v1"
    if lines[0].startswith("extra "):
        lines.pop(0)
    assert lines[0].startswith("index ")
    index = int(lines.pop(0)[len("index ") :])
    size, root = checkpoint(note, vkey)
    hashes = [base64.b64decode(line, validate=True) for line in lines]
    check_inclusion(sha256(b"\x00", record), index, size, hashes, root)
    return index


def main():
    log, vkey = pathlib.Path(sys.argv[1]), sys.argv[2]
    size, root = checkpoint((log / "checkpoint").read_bytes(), vkey)
    records = list(entries(log, size))
    leaves = [sha256(b"\x00", record) for record in records]
    assert tree_hash(leaves) == root, "the entries do not add up to the signed root"
    check_tiles(log, leaves)
    if len(sys.argv) > 3:
        record = pathlib.Path(sys.argv[4]).read_bytes()
        index = check_proof(pathlib.Path(sys.argv[3]).read_bytes(), record, vkey)
        assert records[index] == record, "the log has another record there"
    print(f"{size} records verified")


main()
