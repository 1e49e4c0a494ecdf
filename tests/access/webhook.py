"""A webhook receiver, written from docs/formats.md (Webhooks). Standard library only.

    webhook.py CERTIFICATE KEY SECRET_FILE [PORT]

Prints {"port": N}, then one JSON object a line for each request: whether its signature and its time are good, its
headers, its body. Takes orders on standard input, one a line, and repeats each: `status N` answers the next request with
that status (its body is not printed then), `hang` does not answer the next one.
"""

import hashlib
import hmac
import http.server
import json
import queue
import ssl
import sys
import threading
import time

orders = queue.SimpleQueue()
output = threading.Lock()


def say(thing):
    with output:
        print(json.dumps(thing), flush=True)


def is_good(headers, body, secret):
    timestamp = headers.get("keyreeve-timestamp", "")
    signature = headers.get("keyreeve-signature", "")
    expected = "v1=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(signature, expected)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status):
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", self.server.elsewhere)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            order = orders.get_nowait()
        except queue.Empty:
            order = None
        if order == "hang":
            time.sleep(60)
            return
        if order:
            self.answer(int(order.split()[1]))
            return
        if not is_good(self.headers, body, self.server.secret):
            say({"forged": self.path})
            self.answer(403)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        say({"path": self.path, "headers": headers, "body": json.loads(body), "text": body.decode()})
        self.answer(204)


def listen():
    for line in sys.stdin:
        orders.put(line.strip())
        say({"order": line.strip()})


def main():
    certificate, key, secret_file = sys.argv[1:4]
    port = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.secret = open(secret_file, "rb").read().rstrip()
    server.elsewhere = f"https://127.0.0.1:{server.server_port}/elsewhere"
    threading.Thread(target=listen, daemon=True).start()
    say({"port": server.server_port})
    server.serve_forever()


main()
