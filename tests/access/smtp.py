"""An SMTP receiver over aiosmtpd, somebody else's server.

    smtp.py starttls|implicit|plain CERTIFICATE KEY USER PASSWORD

Prints {"port": N}, then one JSON object a line for each mail that it took. Takes orders on standard input, one a line,
and repeats each: `refuse N` refuses the next mail with that code.
"""

import asyncio
import email
import email.policy
import json
import queue
import ssl
import sys
import threading

from aiosmtpd.smtp import SMTP, AuthResult

orders = queue.SimpleQueue()
output = threading.Lock()


def say(thing):
    with output:
        print(json.dumps(thing), flush=True)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        try:
            return f"{orders.get_nowait().split()[1]} not this one"
        except queue.Empty:
            pass
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say(
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "encrypted": server.transport.get_extra_info("sslcontext") is not None,
                "authenticated": session.authenticated,
                "headers": [[name.lower(), str(value)] for name, value in message.items()],
                "text": message.get_content(),
                "source": envelope.content.decode(),
            }
        )
        return "250 taken"


def listen():
    for line in sys.stdin:
        orders.put(line.strip())
        say({"order": line.strip()})


async def main():
    how, certificate, key, user, password = sys.argv[1:6]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def authenticator(server, session, envelope, mechanism, data):
        right = data.login == user.encode() and data.password == password.encode()
        return AuthResult(success=right, handled=right)

    def protocol():
        common = {"hostname": "localhost", "authenticator": authenticator, "decode_data": False}
        if how == "starttls":
            return SMTP(Handler(), tls_context=context, require_starttls=True, auth_required=True, **common)
        if how == "implicit":
            return SMTP(Handler(), auth_required=True, auth_require_tls=False, **common)
        return SMTP(Handler(), **common)

    wrapped = context if how == "implicit" else None
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=wrapped)
    threading.Thread(target=listen, daemon=True).start()
    say({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


asyncio.run(main())
