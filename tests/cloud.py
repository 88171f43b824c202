#!/usr/bin/env python3
"""What there is on a cloud, by kind, as JSON: `cloud.py ENDPOINT`. One program instead of an aws command for each kind."""
import json
import sys

import boto3
from botocore.config import Config

OPTIONS = {"endpoint_url": sys.argv[1], "region_name": "us-east-1"}
# Kind: service, call, and what is taken of each page of its answer.
KINDS = {
    "buckets": ("s3", "list_buckets", "Buckets[].Name"),
    "queues": ("sqs", "list_queues", "QueueUrls[]"),
    "tables": ("dynamodb", "list_tables", "TableNames[]"),
    "functions": ("lambda", "list_functions", "Functions[].FunctionName"),
    "layers": ("lambda", "list_layers", "Layers[].LayerName"),
    "mappings": ("lambda", "list_event_source_mappings", "EventSourceMappings[].FunctionArn"),
    "logs": ("logs", "describe_log_groups", "logGroups[].logGroupName"),
    "roles": ("iam", "list_roles", "Roles[].RoleName"),
    "rules": ("events", "list_rules", "Rules[].Name"),
}


def client(service):
    return boto3.client(service, config=Config(s3={"addressing_style": "path"}), **OPTIONS)


def listed(service, call, what, **arguments):
    told = client(service)
    pages = told.get_paginator(call).paginate(**arguments) if told.can_paginate(call) else [getattr(told, call)(**arguments)]
    field, _, name = what.partition("[]")
    found = [one for page in pages for one in page.get(field, [])]
    return [one[name[1:]] if name else one for one in found]


def main():
    found = {kind: listed(*how) for kind, how in KINDS.items()}
    # What sam uploaded lies in a bucket of its own, which stays.
    managed = [name for name in found["buckets"] if name.startswith("aws-sam-cli")]
    found["artifacts"] = [key for bucket in managed for key in listed("s3", "list_objects_v2", "Contents[].Key", Bucket=bucket)]
    print(json.dumps(found))


main()
