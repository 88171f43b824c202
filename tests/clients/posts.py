"""S3: forms of a browser, and what a browser asks first."""
import uuid

from common import BUCKET, client, plain, same

s3 = client("s3")


def form(fields, name, content):
    """Body and type of a multipart form whose last field is the file."""
    line = uuid.uuid4().hex
    parts = [f'--{line}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    parts.append(f'--{line}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n')
    body = "".join(parts).encode() + content + f"\r\n--{line}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={line}"}


def post(key, content, conditions, change=None):
    """Status and body of a form by generate_presigned_post."""
    made = s3.generate_presigned_post(BUCKET, key, Conditions=conditions)
    body, headers = form({**made["fields"], **(change or {})}, "film.txt", content)
    status, _, answer = plain("POST", made["url"], body, headers)
    return status, answer


def check_a_form():
    same(post("form/${filename}", b"by form", [["content-length-range", 1, 100]])[0], 204)
    same(s3.get_object(Bucket=BUCKET, Key="form/film.txt")["Body"].read(), b"by form")


def check_a_form_too_long_or_too_short():
    for content, code in ((b"x" * 101, b"EntityTooLarge"), (b"", b"EntityTooSmall")):
        status, answer = post("form/size", content, [["content-length-range", 1, 100]])
        same((status, code in answer), (400, True))


def check_a_form_that_was_changed():
    status, answer = post("form/mine", b"x", [], {"key": "form/yours"})
    same((status, b"AccessDenied" in answer), (403, True))
    status, answer = post("form/mine", b"x", [], {"x-amz-signature": "0" * 64})
    same((status, b"SignatureDoesNotMatch" in answer), (403, True))


def check_cors():
    rule = {"AllowedOrigins": ["https://*.example.com"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 600}
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
    same(s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"], [rule])
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "from a page"})
    asks = {"Origin": "https://www.example.com", "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type"}
    status, headers, _ = plain("OPTIONS", url, headers=asks)
    same((status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Max-Age"]), (200, asks["Origin"], "600"))
    same(plain("OPTIONS", url, headers={**asks, "Origin": "https://example.org"})[0], 403)
    status, headers, _ = plain("PUT", url, b"from a page", {"Origin": asks["Origin"]})
    same((status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Expose-Headers"]), (200, asks["Origin"], "ETag"))
    s3.delete_bucket_cors(Bucket=BUCKET)
