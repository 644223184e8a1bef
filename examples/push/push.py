"""Receives message.waiting events of a dmwire server and passes them on to a push service.

    push.py PORT SECRET_FILE PUSH_URL

Only the standard library is used. For each waiting user the push service gets POST PUSH_URL with {"user", "title", "body"}.
"""

import base64, collections, hashlib, hmac, json, sys, time, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, secret_file, push_url = sys.argv[1:]
with open(secret_file) as file:
    lines = [line.strip() for line in file]
secrets = [base64.b64decode(line.removeprefix("whsec_")) for line in lines if line.startswith("whsec_")]
# The server posts an event again if it has not seen the answer: remember the last ones.
seen = collections.OrderedDict()


def is_signed(headers, body):
    """Standard Webhooks: HMAC-SHA256 of id, time and body, with one of the secrets; not older than five minutes."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = [b"v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)) for secret in secrets]
    is_recent = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    given = headers["webhook-signature"].encode().split()
    return is_recent and any(hmac.compare_digest(a, b) for a in given for b in expected)


def push(user, data):
    text = data.get("message")
    body = text[:100] if isinstance(text, str) else "New message"
    notification = {"user": user, "title": data["from_user"], "body": body}
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(push_url, json.dumps(notification).encode(), headers)
    urllib.request.urlopen(request, timeout=5).close()


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            status = self.receive(body) if is_signed(self.headers, body) else 401
        except (KeyError, TypeError, ValueError):
            status = 400
        except OSError:
            status = 503  # The push service has failed: the server posts the event again.
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def receive(self, body):
        event, id = json.loads(body), self.headers["webhook-id"]
        # A deleted message needs no push.
        if event["type"] == "message.waiting" and "deleted_at" not in event["data"] and id not in seen:
            for user in event["data"]["users"]:
                push(user, event["data"])
            seen[id] = None
            if len(seen) > 10_000:
                seen.popitem(last=False)
        return 204

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(port)), Hook)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
