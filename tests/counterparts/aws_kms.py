"""AWS KMS, S3, IAM and STS of moto, somebody else's simulation of AWS, as a server of its own.

    aws_kms.py PORT

prints `ready PORT` and then takes one command in JSON on each line of its standard input and answers with one:
`{"do": "key"}`, `alias`, `disable`, `enable`, `delete-later`, `user`, `drop-credentials`, `role`, `bucket`, `versions`,
`uploads`, `enforce` (from then on signatures and policies of IAM are checked), `stop`, `start`. It ends with its
standard input.

Two things are made here as AWS documents them, where moto differs: a key's state is looked at when it is used (AWS KMS
developer guide, "Key states of AWS KMS keys"), and what IAM refuses is answered in the form and with the codes of
services that speak JSON (AWS KMS API reference, "Common errors").
"""

import json
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")
for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
    os.environ.pop(name, None)

import boto3  # noqa: E402
import requests  # noqa: E402
from moto.core.authorization import ActionAuthenticatorMixin  # noqa: E402
from moto.core.exceptions import (  # noqa: E402
    AccessDeniedError,
    InvalidClientTokenIdError,
    JsonRESTError,
    SignatureDoesNotMatchError,
)
from moto.kms.models import KmsBackend  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402


def usable(backend, key_id):
    key = backend.keys.get(backend.any_id_to_key_id(key_id))
    if key is None or key.key_state == "Enabled":
        return
    kind = "DisabledException" if key.key_state == "Disabled" else "KMSInvalidStateException"
    raise JsonRESTError(kind, f"{key.arn} is {key.key_state}.")


plain_encrypt, plain_decrypt = KmsBackend.encrypt, KmsBackend.decrypt


def encrypt(self, key_id, plaintext, encryption_context):
    usable(self, key_id)
    return plain_encrypt(self, key_id, plaintext, encryption_context)


def decrypt(self, ciphertext_blob, encryption_context, key_id=None):
    if key_id is not None:
        usable(self, key_id)
    return plain_decrypt(self, ciphertext_blob, encryption_context, key_id)


KmsBackend.encrypt, KmsBackend.decrypt = encrypt, decrypt

CODES = {
    AccessDeniedError: "AccessDeniedException",
    InvalidClientTokenIdError: "UnrecognizedClientException",
    SignatureDoesNotMatchError: "InvalidSignatureException",
}
plain_authorize = ActionAuthenticatorMixin._authenticate_and_authorize_action


def authorize(self, *args, **kwargs):
    try:
        plain_authorize(self, *args, **kwargs)
    except tuple(CODES) as refused:
        if not self.headers.get("X-Amz-Target"):
            raise
        raise JsonRESTError(CODES[type(refused)], "refused") from None


ActionAuthenticatorMixin._authenticate_and_authorize_action = authorize


class House:
    def __init__(self, port):
        self.port = port
        self.admin = ("setup", "setup")
        self.serve()

    def serve(self):
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]

    def client(self, service):
        return boto3.client(
            service,
            region_name="eu-central-1",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=self.admin[0],
            aws_secret_access_key=self.admin[1],
        )

    def user(self, name, policy):
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}

    def do(self, asked):
        kms, arn = self.client("kms"), asked.get("arn", "")
        # Not everything in moto takes an ARN.
        key = arn.rpartition("/")[2]
        match asked["do"]:
            case "key":
                spec = asked.get("spec", "SYMMETRIC_DEFAULT")
                return {"arn": kms.create_key(KeySpec=spec, KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]}
            case "alias":
                kms.create_alias(AliasName=asked["name"], TargetKeyId=arn)
            case "move-alias":
                kms.update_alias(AliasName=asked["name"], TargetKeyId=arn)
            case "disable":
                kms.disable_key(KeyId=key)
            case "enable":
                kms.enable_key(KeyId=key)
            case "delete-later":
                kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
            case "user":
                return self.user(asked["name"], asked["policy"])
            case "drop-credentials":
                self.client("iam").delete_access_key(UserName=asked["name"], AccessKeyId=asked["id"])
            case "role":
                trust = {"Version": "2012-10-17", "Statement": []}
                role = self.client("iam").create_role(RoleName=asked["name"], AssumeRolePolicyDocument=json.dumps(trust))
                return {"arn": role["Role"]["Arn"]}
            case "bucket":
                place = {"LocationConstraint": "eu-central-1"}
                self.client("s3").create_bucket(Bucket=asked["name"], CreateBucketConfiguration=place)
            case "versions":
                status = {"Status": asked["status"]}
                self.client("s3").put_bucket_versioning(Bucket=asked["name"], VersioningConfiguration=status)
            case "uploads":
                found = self.client("s3").list_multipart_uploads(Bucket=asked["name"])
                return {"uploads": len(found.get("Uploads", []))}
            case "enforce":
                everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
                admin = self.user("admin", {"Version": "2012-10-17", "Statement": [everything]})
                self.admin = (admin["id"], admin["secret"])
                requests.post(f"http://127.0.0.1:{self.port}/moto-api/reset-auth", data=b"0", timeout=10)
            case "stop":
                self.server.stop()
            case "start":
                self.serve()
            case other:
                raise ValueError(other)
        return {}


def main():
    house = House(int(sys.argv[1]))
    print(f"ready {house.port}", flush=True)
    for line in sys.stdin:
        print(json.dumps(house.do(json.loads(line))), flush=True)


main()
