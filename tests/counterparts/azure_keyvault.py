"""Azure Key Vault, Microsoft Entra ID and the instance metadata service, as far as Keyreeve asks them, after Microsoft's
reference (Key Vault REST API, version 7.4; Microsoft identity platform, client credentials; Azure Instance Metadata
Service, managed identities). That it is what Microsoft means is seen by Microsoft's own client libraries, which
azure_client.py lets use it. The keys are of `cryptography`, the tokens of other issuers are verified by PyJWT.

    azure_keyvault.py CERTIFICATE KEY FOLDER

prints `ready https://localhost:PORT http://127.0.0.1:PORT`: vault and Entra ID, and the metadata service. FOLDER gets
`client-secret` and `federated-token`. It ends with its standard input. `POST /control` does one thing:
`{"do": "key", "name": "root", "bits": 3072}`, `rotate`, `disable`, `enable`, `delete`, `revoke` (tokens given so far),
`lifetime` (of tokens to come, in seconds), `deny` (the role), `allow`; `GET /control` says how often tokens were given.
"""

import base64
import json
import os
import secrets
import ssl
import sys
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

TENANT = "9f8a1f0e-3c3b-4f38-9f5c-6ad1a3d2c001"
CLIENT = "0e4bd5ba-7b7b-4a8f-8d0a-27a2f6a3c002"
IDENTITY = "5d6a3a2a-10c6-4a2e-8a31-3f8f5e2bc003"
ISSUER, SUBJECT, AUDIENCE = "https://issuer.example.com", "keyreeve", "api://AzureADTokenExchange"
RESOURCE = "https://vault.azure.net"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text):
    if "=" in text or "+" in text or "/" in text:
        raise ValueError("base64url without padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Refused(Exception):
    def __init__(self, status, body, headers=()):
        super().__init__(body)
        self.status, self.body, self.headers = status, body, headers


def vault_error(status, code, message, inner=None, headers=()):
    error = {"code": code, "message": message}
    if inner:
        error["innererror"] = {"code": inner}
    return Refused(status, {"error": error}, headers)


class House:
    def __init__(self, folder):
        self.lock = threading.RLock()
        self.keys, self.tokens, self.given = {}, {}, 0
        self.lifetime, self.denied = 3599, False
        self.secret = secrets.token_urlsafe(30)
        issuer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.issuer = issuer.public_key()
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "iat": now, "exp": now + 3600}
        for name, text in [
            ("client-secret", self.secret),
            ("federated-token", jwt.encode(claims, issuer, algorithm="RS256")),
        ]:
            with open(os.path.join(folder, name), "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
                file.write(text)

    def control(self, asked):
        name = asked.get("name")
        match asked["do"]:
            case "key" | "rotate":
                key = rsa.generate_private_key(public_exponent=65537, key_size=asked.get("bits", 3072))
                version = uuid.uuid4().hex
                self.keys.setdefault(name, {})[version] = {"key": key, "enabled": True}
                return {"version": version}
            case "disable" | "enable":
                for version in self.keys[name].values():
                    version["enabled"] = asked["do"] == "enable"
            case "delete":
                del self.keys[name]
            case "revoke":
                self.tokens.clear()
            case "lifetime":
                self.lifetime = asked["seconds"]
            case "deny" | "allow":
                self.denied = asked["do"] == "deny"
            case other:
                raise ValueError(other)
        return {}

    def grant(self, resource):
        if resource.rstrip("/") != RESOURCE:
            raise Refused(400, {"error": "invalid_resource", "error_codes": [500011]})
        token = "eyJ" + secrets.token_urlsafe(64)
        self.tokens[token] = time.monotonic() + self.lifetime
        self.given += 1
        return token

    def entra(self, form):
        def wrong(error, number):
            return Refused(401, {"error": error, "error_description": f"AADSTS{number}: no", "error_codes": [number]})

        if form.get("grant_type") != "client_credentials":
            raise Refused(400, {"error": "unsupported_grant_type", "error_codes": [70003]})
        if form.get("client_id") != CLIENT:
            raise Refused(400, {"error": "unauthorized_client", "error_codes": [700016]})
        if "client_assertion" in form:
            if form.get("client_assertion_type") != ASSERTION:
                raise Refused(400, {"error": "invalid_request", "error_codes": [900144]})
            try:
                options = {"require": ["exp", "iss", "sub", "aud"]}
                said = jwt.decode(
                    form["client_assertion"], self.issuer, ["RS256"], audience=AUDIENCE, issuer=ISSUER, options=options
                )
            except jwt.PyJWTError as error:
                raise wrong("invalid_client", 700027) from error
            if said["sub"] != SUBJECT:
                raise wrong("invalid_client", 700213)
        elif not secrets.compare_digest(form.get("client_secret", ""), self.secret):
            raise wrong("invalid_client", 7000215)
        scope = form.get("scope", "").split(" ")[0]
        if not scope.endswith("/.default"):
            raise Refused(400, {"error": "invalid_scope", "error_codes": [70011]})
        token = self.grant(scope.removesuffix("/.default"))
        life = self.lifetime
        return {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token}

    def metadata(self, query, headers):
        if headers.get("Metadata") != "true" or headers.get("X-Forwarded-For"):
            raise Refused(400, {"error": "bad_request_102", "error_description": "Required metadata header not specified"})
        if query.get("api-version") != "2018-02-01":
            raise Refused(400, {"error": "bad_request"})
        if query.get("client_id", IDENTITY) != IDENTITY:
            raise Refused(400, {"error": "invalid_request", "error_description": "Identity not found"})
        token = self.grant(query.get("resource", ""))
        return {
            "access_token": token,
            "client_id": IDENTITY,
            "expires_in": str(self.lifetime),
            "expires_on": str(int(time.time()) + self.lifetime),
            "not_before": str(int(time.time())),
            "resource": RESOURCE,
            "token_type": "Bearer",
        }

    def authorise(self, base, headers):
        challenge = f'Bearer authorization="{base}/{TENANT}", resource="{RESOURCE}"'
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or self.tokens.get(token, 0) <= time.monotonic():
            raise vault_error(401, "Unauthorized", "AKV10000", headers=[("WWW-Authenticate", challenge)])
        if self.denied:
            raise vault_error(403, "Forbidden", "Caller is not authorized", "ForbiddenByRbac")

    def version(self, base, name, version):
        versions = self.keys.get(name)
        if not versions:
            raise vault_error(404, "KeyNotFound", f"A key with (name/id) {name} was not found in this key vault.")
        version = version or list(versions)[-1]
        if version not in versions:
            raise vault_error(404, "KeyNotFound", "no such version")
        return f"{base}/keys/{name}/{version}", versions[version]

    def describe(self, base, name, version):
        kid, held = self.version(base, name, version)
        numbers = held["key"].public_key().public_numbers()
        return {
            "key": {
                "kid": kid,
                "kty": "RSA",
                "key_ops": ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"],
                "n": encoded(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)),
                "e": encoded(numbers.e.to_bytes(3)),
            },
            "attributes": {
                "enabled": held["enabled"],
                "created": 1493942451,
                "updated": 1493942451,
                "recoveryLevel": "Recoverable+Purgeable",
                "recoverableDays": 90,
            },
            "tags": {},
        }

    def operate(self, base, name, version, operation, body):
        kid, held = self.version(base, name, version)
        shown = {"wrapkey": "wrapKey", "unwrapkey": "unwrapKey"}[operation]
        if not held["enabled"]:
            message = f"Operation {shown} is not allowed on a disabled key."
            raise vault_error(403, "Forbidden", message, "KeyDisabled")
        if body.get("alg") != "RSA-OAEP-256" or set(body) != {"alg", "value"}:
            raise vault_error(400, "BadParameter", "Algorithm not supported.")
        try:
            value = decoded(body["value"])
            if operation == "wrapkey":
                result = held["key"].public_key().encrypt(value, OAEP)
            else:
                result = held["key"].decrypt(value, OAEP)
        except ValueError as error:
            raise vault_error(400, "BadParameter", "Property  has invalid value") from error
        return {"kid": kid, "value": encoded(result)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet for each answer.
    wbufsize, disable_nagle_algorithm = -1, True
    house = None

    def log_message(self, *_):
        pass

    def base(self):
        return f"https://{self.headers.get('Host')}"

    def answer(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in [*headers, ("Content-Type", "application/json"), ("Content-Length", str(len(data)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def handle_one(self, method):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        try:
            with self.house.lock:
                self.answer(200, self.route(method, parts, query, raw))
        except Refused as refused:
            self.answer(refused.status, refused.body, refused.headers)

    def route(self, method, parts, query, raw):
        house, base = self.house, self.base()
        match method, parts:
            case "POST", ["control"]:
                return house.control(json.loads(raw))
            case "GET", ["control"]:
                return {"tokens": house.given}
            case "POST", [tenant, "oauth2", "v2.0", "token"] if tenant == TENANT:
                return house.entra(dict(urllib.parse.parse_qsl(raw.decode(), keep_blank_values=True)))
            case "GET", [tenant, "v2.0", ".well-known", "openid-configuration"] if tenant == TENANT:
                return {
                    "issuer": f"{base}/{TENANT}/v2.0",
                    "authorization_endpoint": f"{base}/{TENANT}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/{TENANT}/oauth2/v2.0/token",
                }
            case "GET", ["metadata", "identity", "oauth2", "token"]:
                return house.metadata(query, self.headers)
            case _, ["keys", *_]:
                house.authorise(base, self.headers)
                if "api-version" not in query:
                    raise vault_error(400, "BadParameter", "api-version must be specified")
        match method, parts:
            case "GET", ["keys", name]:
                return house.describe(base, name, None)
            case "GET", ["keys", name, version]:
                return house.describe(base, name, version)
            case "POST", ["keys", name, version, "wrapkey" | "unwrapkey" as operation]:
                return house.operate(base, name, version, operation, json.loads(raw))
        raise Refused(404, {"error": {"code": "NotFound", "message": self.path}})

    def do_GET(self):
        self.handle_one("GET")

    def do_POST(self):
        self.handle_one("POST")


def main():
    certificate, key, folder = sys.argv[1:]
    Handler.house = House(folder)
    vault, metadata = (ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    vault.socket = context.wrap_socket(vault.socket, server_side=True)
    for server in (vault, metadata):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"ready https://localhost:{vault.server_port} http://127.0.0.1:{metadata.server_port}", flush=True)
    sys.stdin.read()


main()
