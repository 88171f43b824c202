"""Which IAM actions on which resources a call needs.

Source: Service Authorization Reference, "Actions, resources, and condition keys" of Amazon S3, DynamoDB and SQS; S3 API
reference, "Permissions" of each operation."""
import json
import urllib.parse

ACCOUNT = "us-east-1:000000000000"


def needs(call):
    """Actions and ARNs of one recorded call."""
    return {"s3": s3, "dynamodb": dynamodb, "sqs": sqs}[call["service"]](call)


def s3(call):
    method, (path, _, query) = call["operation"], call["path"].partition("?")
    asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    bucket, _, key = urllib.parse.unquote(path.lstrip("/")).partition("/")
    where, whole = f"arn:aws:s3:::{bucket}/{key}", f"arn:aws:s3:::{bucket}"
    get = "s3:GetObjectVersion" if "versionId" in asked else "s3:GetObject"
    if not key:
        if method == "POST" and "delete" in asked:
            # The keys are in the body: below, any right to delete in the bucket counts.
            return [("s3:DeleteObject", whole + "/?")]
        if method == "GET" and "uploads" in asked:
            return [("s3:ListBucketMultipartUploads", whole)]
        if method in ("GET", "HEAD"):
            return [("s3:ListBucket", whole)]
    elif method == "GET" and "uploadId" in asked:
        return [("s3:ListMultipartUploadParts", where)]
    elif method in ("GET", "HEAD"):
        return [(get, where)]
    elif method == "DELETE":
        return [("s3:AbortMultipartUpload" if "uploadId" in asked else "s3:DeleteObject", where)]
    elif method in ("PUT", "POST"):
        found = [("s3:PutObject", where)]
        if call["copy_source"]:
            source, _, version = urllib.parse.unquote(call["copy_source"]).lstrip("/").partition("?versionId=")
            found.append(("s3:GetObjectVersion" if version else "s3:GetObject", f"arn:aws:s3:::{source}"))
        return found
    raise ValueError(f"no permission is known for {json.dumps(call)}: add it to tests/permissions/calls.py")


def dynamodb(call):
    index = f"/index/{call['index']}" if call["index"] else ""
    return [(f"dynamodb:{call['operation']}", f"arn:aws:dynamodb:{ACCOUNT}:table/{table}{index}") for table in call["resources"]]


def sqs(call):
    action = call["operation"].removesuffix("Batch")
    return [(f"sqs:{action}", f"arn:aws:sqs:{ACCOUNT}:{url.rsplit('/', 1)[-1]}") for url in call["resources"]]
