"""Microsoft's own client libraries (azure-identity, azure-keyvault-keys) using a vault.

    azure_client.py VAULT METADATA FOLDER KEY HEX

VAULT and METADATA are the addresses of azure_keyvault.py, FOLDER its folder, KEY a key's address with version. It takes
a token in each of three ways (secret, federation, managed identity), unwraps HEX with KEY over the network each time,
and prints what came of it and a new key, wrapped: `{"unwrapped": [HEX, HEX, HEX], "key": HEX, "wrapped": HEX}`.
REQUESTS_CA_BUNDLE names the authority of VAULT.
"""

import json
import os
import sys

TENANT = "9f8a1f0e-3c3b-4f38-9f5c-6ad1a3d2c001"
CLIENT = "0e4bd5ba-7b7b-4a8f-8d0a-27a2f6a3c002"
vault, metadata, folder, key, wrapped = sys.argv[1:]
os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = metadata

from azure.identity import (  # noqa: E402
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.keys import KeyClient  # noqa: E402
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm  # noqa: E402

OF_AUTHORITY = {"authority": vault, "disable_instance_discovery": True}


def main():
    with open(os.path.join(folder, "client-secret")) as file:
        secret = file.read().strip()
    token_file = os.path.join(folder, "federated-token")
    credentials = [
        ClientSecretCredential(TENANT, CLIENT, secret, **OF_AUTHORITY),
        WorkloadIdentityCredential(tenant_id=TENANT, client_id=CLIENT, token_file_path=token_file, **OF_AUTHORITY),
        ManagedIdentityCredential(),
    ]
    algorithm = KeyWrapAlgorithm.rsa_oaep_256
    unwrapped = []
    for credential in credentials:
        client = CryptographyClient(key, credential, verify_challenge_resource=False)
        unwrapped.append(client.unwrap_key(algorithm, bytes.fromhex(wrapped)).key.hex())
    name, version = key.split("/")[-2:]
    bundle = KeyClient(vault, credentials[0], verify_challenge_resource=False).get_key(name, version)
    assert bundle.id == key and bundle.properties.enabled, bundle
    fresh = os.urandom(32)
    again = CryptographyClient(bundle, credentials[0], verify_challenge_resource=False).wrap_key(algorithm, fresh)
    said = {"unwrapped": unwrapped, "key": fresh.hex(), "wrapped": again.encrypted_key.hex()}
    print(json.dumps(said))


main()
