"""A second verifier of what authenticators answer: Yubico's fido2.

Reads one JSON object from standard input: `relying`, `origin`, and `answers`, each with `challenge` and either
`registration` (client data, attestation object) or `assertion` (credential's registration, client data, authenticator
data, signature), all base64url. Writes one line for each: `yes`, or `no` with the reason.
"""

import json
import sys

from fido2.server import Fido2Server
from fido2.utils import websafe_decode
from fido2.webauthn import AttestationObject, PublicKeyCredentialRpEntity


def registered(server, answer):
    response = {"clientDataJSON": answer["client_data"], "attestationObject": answer["attestation"]}
    credential = {"id": answer["id"], "rawId": answer["id"], "type": "public-key", "response": response}
    server.register_complete({"challenge": answer["challenge"], "user_verification": "required"}, credential)


def asserted(server, answer):
    known = AttestationObject(websafe_decode(answer["registered"])).auth_data.credential_data
    response = {
        "clientDataJSON": answer["client_data"],
        "authenticatorData": answer["auth_data"],
        "signature": answer["signature"],
    }
    credential = {"id": answer["id"], "rawId": answer["id"], "type": "public-key", "response": response}
    state = {"challenge": answer["challenge"], "user_verification": "required"}
    server.authenticate_complete(state, [known], credential)


def main():
    asked = json.load(sys.stdin)
    relying = PublicKeyCredentialRpEntity(id=asked["relying"], name="test")
    server = Fido2Server(relying, verify_origin=lambda origin: origin == asked["origin"])
    for answer in asked["answers"]:
        try:
            (asserted if "signature" in answer else registered)(server, answer)
            print("yes")
        except Exception as error:  # whatever it is, it is no acceptance
            print("no", type(error).__name__, str(error).replace("\n", " "))


main()
