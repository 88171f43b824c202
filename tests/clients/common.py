"""Clients of one platform, and how checks speak."""
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, BUCKET, FUNCTION, WORK = sys.argv[1:5]
OPTIONS = {"endpoint_url": ENDPOINT, "region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
ENVIRONMENT = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
PATIENCE = 60.0


def client(name, **options):
    style = Config(s3={"addressing_style": "path"}, signature_version="s3v4") if name == "s3" else None
    return boto3.client(name, config=style, **{**OPTIONS, **options})


def command(*args):
    return [sys.executable, "-m", "awscli", "--endpoint-url", ENDPOINT, *args]


def aws(*args):
    """Standard output of the aws CLI."""
    done = subprocess.run(command(*args), capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=PATIENCE * 2)
    assert done.returncode == 0, f"aws {' '.join(args)}: {done.stderr}"
    return done.stdout


def same(found, expected):
    assert found == expected, f"{found!r}, expected {expected!r}"


def refused(code, call):
    """The code of the error must be one of these."""
    codes = (code,) if isinstance(code, str) else code
    try:
        call()
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found in codes, f"{found}, expected {code}: {error}"
        return
    raise AssertionError(f"it was not refused; expected {code}")


def plain(method, url, data=None, headers=None):
    """Status, headers and body of plain HTTP."""
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def until(what, look):
    """The first answer that is not empty."""
    end = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.1)
