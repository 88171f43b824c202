#!/usr/bin/env python3
"""AWS's own clients, unmodified, against a running platform: usage clients.py ENDPOINT BUCKET FILM WORKDIR.

Prints one line per check and ends with an error at the first that fails.
"""
import hashlib
import json
import os
import subprocess
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, BUCKET, FILM, WORK = sys.argv[1:5]
OPTIONS = {"endpoint_url": ENDPOINT, "region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


def client(name):
    style = Config(s3={"addressing_style": "path"}, signature_version="s3v4") if name == "s3" else None
    return boto3.client(name, config=style, **OPTIONS)


def aws(*args):
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, "-m", "awscli", "--endpoint-url", ENDPOINT, *args]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"aws {' '.join(args)}: {done.stderr}"
    return done.stdout


def refused(code, call):
    try:
        call()
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found in code, f"{found}, expected {code}"
        return
    raise AssertionError(f"expected {code}")


def objects():
    s3 = client("s3")
    big = os.urandom(1 << 20) * 64
    path = os.path.join(WORK, "big")
    with open(path, "wb") as out:
        out.write(big)
    s3.upload_file(path, BUCKET, "clients/big", Config=TransferConfig(multipart_chunksize=8 << 20), ExtraArgs={"Metadata": {"who": "me"}})
    head = s3.head_object(Bucket=BUCKET, Key="clients/big")
    assert (head["ContentLength"], head["Metadata"], head["ETag"][-3:-1]) == (64 << 20, {"who": "me"}, "-8"), head
    part = s3.get_object(Bucket=BUCKET, Key="clients/big", Range="bytes=1000000-1999999")["Body"].read()
    assert part == big[1000000:2000000]
    s3.copy_object(Bucket=BUCKET, Key="clients/copy", CopySource={"Bucket": BUCKET, "Key": "clients/big"})
    whole = s3.get_object(Bucket=BUCKET, Key="clients/copy")["Body"].read()
    assert hashlib.sha256(whole).digest() == hashlib.sha256(big).digest()
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "clients/big"})
    assert urllib.request.urlopen(url).read(10) == big[:10]
    put = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "clients/presigned"})
    urllib.request.urlopen(urllib.request.Request(put, data=b"by url", method="PUT"))
    assert s3.get_object(Bucket=BUCKET, Key="clients/presigned")["Body"].read() == b"by url"
    refused("PreconditionFailed", lambda: s3.put_object(Bucket=BUCKET, Key="clients/presigned", Body=b"x", IfNoneMatch="*"))
    refused(("PreconditionFailed", "412"), lambda: s3.get_object(Bucket=BUCKET, Key="clients/presigned", IfMatch='"no"'))
    refused("NoSuchKey", lambda: s3.get_object(Bucket=BUCKET, Key="clients/none"))
    keys = sorted(f"clients/list/{n:04}/é +&'" for n in range(1200))
    for key in keys[:30]:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"", ChecksumAlgorithm="SHA256")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="clients/list/", PaginationConfig={"PageSize": 7})
    assert [o["Key"] for page in pages for o in page.get("Contents", [])] == keys[:30]
    wrong = boto3.client("s3", **{**OPTIONS, "aws_secret_access_key": "wrong"})
    refused("SignatureDoesNotMatch", lambda: wrong.list_buckets())
    for key in ["clients/big", "clients/copy", "clients/presigned", *keys[:30]]:
        s3.delete_object(Bucket=BUCKET, Key=key)
    return "64 MB in parts, range, copy, presigned, conditions, paging, signatures"


def queues():
    sqs = client("sqs")
    dead = sqs.create_queue(QueueName="clients-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    queue = sqs.create_queue(QueueName="clients", Attributes={"VisibilityTimeout": "0", "RedrivePolicy": policy})["QueueUrl"]
    sent = sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": str(n), "MessageBody": f"m{n}"} for n in range(10)])
    assert len(sent["Successful"]) == 10
    bodies = []
    while len(bodies) < 9:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=30).get("Messages", []):
            if message["Body"] == "m3":
                sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
            else:
                bodies.append(message["Body"])
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    for _ in range(20):
        sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1)
        found = sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=1).get("Messages", [])
        if found:
            break
    assert [m["Body"] for m in found] == ["m3"], found
    for url in (queue, dead):
        sqs.delete_queue(QueueUrl=url)
    return "batches, visibility, long polling, redrive to the dead-letter queue"


def tables():
    dynamodb = client("dynamodb")
    dynamodb.create_table(TableName="clients", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
                          AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}])
    dynamodb.put_item(TableName="clients", Item={"k": {"S": "a"}, "n": {"N": "1"}}, ConditionExpression="attribute_not_exists(k)")
    refused("ConditionalCheckFailedException", lambda: dynamodb.put_item(
        TableName="clients", Item={"k": {"S": "a"}}, ConditionExpression="attribute_not_exists(k)"))
    answer = dynamodb.update_item(TableName="clients", Key={"k": {"S": "a"}}, UpdateExpression="ADD done :n", ReturnValues="UPDATED_NEW",
                                  ExpressionAttributeValues={":n": {"NS": ["7"]}})
    assert answer["Attributes"]["done"] == {"NS": ["7"]}
    dynamodb.delete_table(TableName="clients")
    return "conditional writes, sets"


def functions():
    names = [f["FunctionName"] for f in client("lambda").list_functions()["Functions"]]
    sweep = next(name for name in names if name.endswith("-sweep"))
    answer = client("lambda").invoke(FunctionName=sweep, Payload=b"{}", LogType="Tail")
    assert answer["StatusCode"] == 200 and "FunctionError" not in answer, answer
    assert set(json.loads(answer["Payload"].read())) == {"jobs", "resent"}
    events = client("logs").filter_log_events(logGroupName=f"/aws/lambda/{sweep}", filterPattern="swept")["events"]
    assert any('"swept"' in event["message"] for event in events), events
    return "invoke with tail, logs by a term"


def film():
    aws("s3", "cp", FILM, f"s3://{BUCKET}/uploads/by aws + cli.mp4")
    listed = aws("s3", "ls", f"s3://{BUCKET}/uploads/")
    assert "by aws + cli.mp4" in listed, listed
    return "aws s3 cp of a film"


for check in (objects, queues, tables, functions, film):
    print(f"{check.__name__:<10} {check()}", flush=True)
