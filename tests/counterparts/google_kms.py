"""Google Cloud KMS and the token services around it, as far as Keyreeve asks them, on Google's own libraries.

The messages are those of `google-cloud-kms`, Google's published library: requests are read and answers are written by
its definitions, and what they do not know is refused. Assertions of service accounts are verified by `google-auth`.
What the service does with them follows the reference of `projects.locations.keyRings.cryptoKeys` and the guide to data
integrity; the encryption is AES-256-GCM of `cryptography`.

    google_kms.py CERTIFICATE KEY FOLDER

prints `ready https://localhost:PORT http://127.0.0.1:PORT`: the services, and the metadata server. FOLDER gets the
files of credentials. It ends with its standard input. `POST /control` sets what it does from then on (see STATE), and
answers how often it was asked for what.
"""

import base64
import collections
import datetime
import json
import os
import secrets
import ssl
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google.auth.jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.cloud.kms_v1 import types

KEY_RING = "projects/keyreeve-test/locations/europe-west3/keyRings/tests/cryptoKeys/"
ACCOUNT = "keyreeve@keyreeve-test.iam.gserviceaccount.com"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"
SUBJECT = "the token of the other provider"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
CLOUD_KMS = "https://www.googleapis.com/auth/cloudkms"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"

STATE = {
    "down": False,  # answers 503
    "throttle": 0,  # answers 429 so often
    "disabled": False,  # the version of the key
    "deny": False,  # IAM
    "damage": None,  # "answer" or "request": on the way, once for each "times"
    "times": 0,
    "lifetime": 3600,  # of access tokens, in seconds
}
LOCK = threading.Lock()
ASKED = collections.Counter()
TOKENS = {}  # token -> (end, scope)
KEYS = {}  # name of a version -> AES key
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = PRIVATE.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


class Refusal(Exception):
    """An error in the form of Google's interfaces."""

    def __init__(self, http, status, message):
        super().__init__(message)
        self.http = http
        self.body = {"error": {"code": http, "message": message, "status": status}}


class TokenRefusal(Exception):
    """An error in the form of RFC 6749."""


def crc32c(data):
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def check_sum(message, field, data):
    """What the guide says of checksums in requests: verified if given, and a mismatch is INVALID_ARGUMENT."""
    name = field + "_crc32c"
    if name not in message:
        return False
    if getattr(message, name) != crc32c(data):
        text = f"The checksum in field {name} did not match the data in field {field}."
        raise Refusal(400, "INVALID_ARGUMENT", text)
    return True


def encrypt(key, body):
    request = types.EncryptRequest.from_json(body)
    plaintext, aad = request.plaintext, request.additional_authenticated_data
    sums = [check_sum(request, name, getattr(request, name)) for name in ("plaintext", "additional_authenticated_data")]
    version = key + "/cryptoKeyVersions/1"
    with LOCK:
        material = KEYS.setdefault(version, AESGCM.generate_key(256))
    nonce = secrets.token_bytes(12)
    ciphertext = b"\x0a\x24\x00" + nonce + AESGCM(material).encrypt(nonce, plaintext, aad)
    answer = types.EncryptResponse(
        name=version,
        ciphertext=ciphertext,
        ciphertext_crc32c=crc32c(ciphertext),
        verified_plaintext_crc32c=sums[0],
        verified_additional_authenticated_data_crc32c=sums[1],
        protection_level=types.ProtectionLevel.HSM,
    )
    return types.EncryptResponse.to_json(answer, use_integers_for_enums=False)


def decrypt(key, body):
    request = types.DecryptRequest.from_json(body)
    ciphertext, aad = request.ciphertext, request.additional_authenticated_data
    for name in ("ciphertext", "additional_authenticated_data"):
        check_sum(request, name, getattr(request, name))
    material = KEYS.get(key + "/cryptoKeyVersions/1")
    try:
        if material is None or ciphertext[:3] != b"\x0a\x24\x00":
            raise InvalidTag
        plaintext = AESGCM(material).decrypt(ciphertext[3:15], ciphertext[15:], aad)
    except (InvalidTag, ValueError) as error:
        text = "Decryption failed: the ciphertext is invalid."
        raise Refusal(400, "INVALID_ARGUMENT", text) from error
    answer = types.DecryptResponse(
        plaintext=plaintext,
        plaintext_crc32c=crc32c(plaintext),
        used_primary=True,
        protection_level=types.ProtectionLevel.HSM,
    )
    return types.DecryptResponse.to_json(answer, use_integers_for_enums=False)


def damaged(text, field):
    """Another value of a field, with the checksum as it was."""
    body = json.loads(text)
    value = bytearray(base64.b64decode(body[field]))
    value[0] ^= 1
    body[field] = base64.b64encode(bytes(value)).decode()
    return json.dumps(body)


def issue(scope):
    token = "ya29." + secrets.token_urlsafe(24)
    with LOCK:
        lifetime = STATE["lifetime"]
        TOKENS[token] = (time.time() + lifetime, scope)
    return {"access_token": token, "expires_in": lifetime, "token_type": "Bearer"}


def grant(form, own_address):
    """The token endpoint for service accounts (RFC 7523)."""
    if form.get("grant_type") != JWT_BEARER:
        raise TokenRefusal("unsupported_grant_type")
    try:
        claims = google.auth.jwt.decode(form["assertion"], certs=PUBLIC, audience=own_address + "/token")
        header = google.auth.jwt.decode_header(form["assertion"])
    except Exception as error:
        raise TokenRefusal("invalid_grant") from error
    if claims["iss"] != ACCOUNT or header.get("kid") != "kid-1" or claims["exp"] - claims["iat"] > 3600:
        raise TokenRefusal("invalid_grant")
    return issue(claims["scope"])


def exchange(form):
    """The token endpoint of the security token service (RFC 8693)."""
    wanted = {
        "grant_type": EXCHANGE,
        "audience": AUDIENCE,
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    }
    if any(form.get(name) != value for name, value in wanted.items()):
        raise TokenRefusal("invalid_request")
    if form.get("subject_token") != SUBJECT:
        raise TokenRefusal("invalid_grant")
    return issue(form["scope"]) | {"issued_token_type": wanted["requested_token_type"]}


def impersonate(body):
    """`generateAccessToken` of the IAM credentials service."""
    asked = json.loads(body)
    if set(asked) - {"scope", "lifetime", "delegates"} or not asked["scope"]:
        raise Refusal(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    issued = issue(" ".join(asked["scope"]))
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=issued["expires_in"])
    return {"accessToken": issued["access_token"], "expireTime": end.strftime("%Y-%m-%dT%H:%M:%SZ")}


def bearer(headers, *scopes):
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    end, scope = TOKENS.get(token, (0, ""))
    if end < time.time():
        raise Refusal(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
    if not set(scope.split()) & set(scopes):
        raise Refusal(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")


def operate(path, headers, body):
    """`encrypt` and `decrypt` on a key."""
    key, _, verb = path.removeprefix("/v1/").rpartition(":")
    bearer(headers, CLOUD_KMS, CLOUD_PLATFORM)
    with LOCK:
        if STATE["down"]:
            raise Refusal(503, "UNAVAILABLE", "The service is currently unavailable.")
        if STATE["throttle"] > 0:
            STATE["throttle"] -= 1
            raise Refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded.")
        if STATE["deny"] or not key.startswith(KEY_RING):
            text = f"Permission 'cloudkms.cryptoKeyVersions.useTo{verb.title()}' denied on resource '{key}'."
            raise Refusal(403, "PERMISSION_DENIED", text)
        if STATE["disabled"]:
            raise Refusal(400, "FAILED_PRECONDITION", f"{key}/cryptoKeyVersions/1 is not enabled.")
        damage = STATE["damage"] if STATE["times"] > 0 else None
        STATE["times"] -= 1 if damage else 0
    reads, gives = ("plaintext", "ciphertext") if verb == "encrypt" else ("ciphertext", "plaintext")
    if damage == "request":
        body = damaged(body, reads)
    answer = (encrypt if verb == "encrypt" else decrypt)(key, body)
    return damaged(answer, gives) if damage == "answer" else answer


class Handler(BaseHTTPRequestHandler):
    """All of it, told apart by the path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Nothing: the output is for whoever started this."""

    def answer(self, status, body):
        body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.server.secure or self.path != "/computeMetadata/v1/instance/service-accounts/default/token":
            self.answer(404, {})
        elif self.headers.get("Metadata-Flavor") != "Google":
            self.answer(403, {})
        else:
            ASKED["metadata"] += 1
            self.answer(200, issue(CLOUD_PLATFORM))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        try:
            self.answer(200, self.act(body))
        except Refusal as refusal:
            self.answer(refusal.http, refusal.body)
        except TokenRefusal as refusal:
            self.answer(400, {"error": str(refusal), "error_description": "it was refused"})

    def act(self, body):
        form = dict(urllib.parse.parse_qsl(body))
        if self.path == "/control":
            with LOCK:
                told = json.loads(body)
                if told.pop("forget", False):
                    TOKENS.clear()
                STATE.update(told)
                return dict(ASKED)
        ASKED[self.path.rpartition(":")[2]] += 1
        if self.path == "/token":
            return grant(form, self.server.address)
        if self.path == "/sts/v1/token":
            return exchange(form)
        if self.path.endswith(f"/serviceAccounts/{ACCOUNT}:generateAccessToken"):
            bearer(self.headers, CLOUD_PLATFORM)
            return impersonate(body)
        return operate(self.path, self.headers, body)


def write_credentials(folder, address):
    def write(name, content):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))

    pem = PRIVATE.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "project_id": "keyreeve-test",
        "private_key_id": "kid-1",
        "private_key": pem,
        "client_email": ACCOUNT,
        "client_id": "1",
        "auth_uri": address + "/auth",
        "token_uri": address + "/token",
        "universe_domain": "googleapis.com",
    }
    write("service-account.json", account)
    write("stranger.json", account | {"client_email": "stranger@keyreeve-test.iam.gserviceaccount.com"})
    write("subject", SUBJECT + "\n")
    write("subject.json", {"id_token": SUBJECT})
    federated = {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": address + "/sts/v1/token",
        "credential_source": {"file": os.path.join(folder, "subject")},
    }
    write("federated.json", federated)
    source = {
        "file": os.path.join(folder, "subject.json"),
        "format": {"type": "json", "subject_token_field_name": "id_token"},
    }
    url = f"{address}/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    impersonating = {"credential_source": source, "service_account_impersonation_url": url}
    write("impersonating.json", federated | impersonating)


def serve(secure, certificate=None, key=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.secure = secure
    server.address = f"https://localhost:{server.server_port}" if secure else f"http://127.0.0.1:{server.server_port}"
    server.daemon_threads = True
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.address


def main():
    certificate, key, folder = sys.argv[1:]
    services, metadata = serve(True, certificate, key), serve(False)
    write_credentials(folder, services)
    print("ready", services, metadata, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
