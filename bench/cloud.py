"""Just enough of an AWS client for the benchmark: Signature Version 4 over one kept connection, standard library only."""
import datetime
import hashlib
import hmac
import http.client
import json
import urllib.parse

KEY = SECRET = "test"
REGION = "us-east-1"


class Cloud:
    """One kept-alive connection to a platform."""

    def __init__(self, endpoint):
        self.host = endpoint.removeprefix("http://")
        self.connection = http.client.HTTPConnection(self.host, timeout=60)
        self.connection.connect()

    def send(self, service, method, path, body=b"", headers=None):
        """Body of the answer; an error where the status is not 2xx."""
        headers = sign(service, method, self.host, path, body, headers or {})
        self.connection.request(method, path, body=body, headers=headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return data

    def invoke(self, function, event=b"{}"):
        return self.send("lambda", "POST", f"/2015-03-31/functions/{function}/invocations", event)

    def put(self, bucket, key, body=b"x"):
        return self.send("s3", "PUT", f"/{bucket}/{urllib.parse.quote(key)}", body)

    def log_events(self, group, since_ms, pattern):
        """Events of a log group from a time on: (milliseconds, text)."""
        body = json.dumps({"logGroupName": group, "startTime": since_ms, "filterPattern": pattern}).encode()
        headers = {"x-amz-target": "Logs_20140328.FilterLogEvents", "content-type": "application/x-amz-json-1.1"}
        answer = json.loads(self.send("logs", "POST", "/", body, headers))
        return [(event["timestamp"], event["message"]) for event in answer.get("events", [])]


def sign(service, method, host, path, body, headers, payload=None):
    """Headers with a signature (AWS, "Create a signed AWS API request"). `payload` stands for the body's hash."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = payload or hashlib.sha256(body).hexdigest()
    headers = {**headers, "host": host, "x-amz-date": stamp, "x-amz-content-sha256": digest}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    # S3 signs the path as sent; the others encode it once more, which changes nothing in these plain paths.
    canonical = "\n".join([method, path, "", lines, names, digest])
    scope = f"{day}/{REGION}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for part in (day, REGION, service, "aws4_request", to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    credential = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    return {**headers, "authorization": credential}
