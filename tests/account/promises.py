"""What we promise of the stack on AWS beyond that it is taken: nothing public, everything encrypted, nothing lost in
silence, and each function may do only what its stage needs."""
import json

from rules import allows, listed, mappings, rule, statements
from stack import named, one

# Where AWS has no resource to name, with the reason.
STAR = {
    ("xray:PutTelemetryRecords", "X-Ray has no resources"),
    ("xray:PutTraceSegments", "X-Ray has no resources"),
}


@rule
def least_privilege(stack):
    starred = {action for action, _ in STAR}
    for id, role in stack.of("AWS::IAM::Role").items():
        for statement in allows(stack, role):
            actions = listed(statement["Action"])
            yield from (f"{id}: {action} names no action" for action in actions if "*" in action)
            wide = [r for r in listed(statement["Resource"]) if whole(r)]
            yield from (f"{id}: {action} on {wide[0]}" for action in actions if wide and action not in starred)
        yield from (f"{id}: takes the policy {name}" for name in role.get("ManagedPolicyArns", []) if one(name) not in stack.resources)


def whole(resource):
    """Whether a resource is everything of a kind: `*`, or all buckets, or all objects of one."""
    text = json.dumps(resource)
    return text == '"*"' or ":::*" in text or "${Bucket.Arn}/*" in text or "${Bucket}/*" in text or ":*:" in text


@rule
def unused_star(stack):
    actions = json.dumps(stack.plain)
    yield from (f"{action} is listed and not used" for action, _ in STAR if action not in actions)


@rule
def encrypted(stack):
    for id, bucket in stack.of("AWS::S3::Bucket").items():
        if "BucketEncryption" not in bucket:
            yield f"{id}: not encrypted"
    for id, queue in stack.of("AWS::SQS::Queue").items():
        if queue.get("SqsManagedSseEnabled") is not True:
            yield f"{id}: not encrypted"


@rule
def private(stack):
    for id, bucket in stack.of("AWS::S3::Bucket").items():
        block = bucket.get("PublicAccessBlockConfiguration", {})
        if [block.get(k) for k in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")] != [True] * 4:
            yield f"{id}: may become public"
        denied = [s for p in stack.of("AWS::S3::BucketPolicy").values() if id in named(p["Bucket"])
                  for s in statements(p["PolicyDocument"]) if s["Effect"] == "Deny"]
        if not any(s.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}} and s["Principal"] == "*" for s in denied):
            yield f"{id}: answers requests without TLS"


@rule
def dead_letters(stack):
    for id, _, function, queue in mappings(stack):
        redrive = stack.resources[queue]["Properties"].get("RedrivePolicy")
        ends = {one(q["RedrivePolicy"]["deadLetterTargetArn"]) for q in stack.of("AWS::SQS::Queue").values() if "RedrivePolicy" in q}
        if redrive is None and queue not in ends:
            yield f"{queue}: a message that nothing can read is lost at its retention"
    for id, rule_ in stack.of("AWS::Events::Rule").items():
        yield from (f"{id}: lost events" for t in rule_["Targets"] if "DeadLetterConfig" not in t and one(t["Arn"]) in stack.of("AWS::SQS::Queue"))


@rule
def retention(stack):
    for id, group in stack.of("AWS::Logs::LogGroup").items():
        if "RetentionInDays" not in group:
            yield f"{id}: keeps logs for ever"
    for id, bucket in stack.of("AWS::S3::Bucket").items():
        rules = [r for r in bucket.get("LifecycleConfiguration", {}).get("Rules", []) if r["Status"] == "Enabled"]
        if not any(r.get("Prefix") == "work/" and "ExpirationInDays" in r for r in rules):
            yield f"{id}: keeps temporaries"
        if not any("AbortIncompleteMultipartUpload" in r and not r.get("Prefix") for r in rules):
            yield f"{id}: keeps what broken uploads left"
    for id, r in stack.resources.items():
        if r["Type"] in ("AWS::S3::Bucket", "AWS::DynamoDB::Table") and [r.get("DeletionPolicy"), r.get("UpdateReplacePolicy")] != ["RetainExceptOnCreate", "Retain"]:
            yield f"{id}: goes with the stack, and what people have in it, or stays of one that was never made"


@rule
def alarms(stack):
    metrics = json.dumps(list(stack.of("AWS::CloudWatch::Alarm").values()))
    for name in ("ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage", "Errors", "Throttles"):
        if f'"{name}"' not in metrics:
            yield f"no alarm looks at {name}"
    for id, function in stack.of("AWS::Lambda::Function").items():
        if metrics.count(f'"Ref": "{id}"') < 2:
            yield f"{id}: its errors and throttles raise no alarm"
    for id, alarm in stack.of("AWS::CloudWatch::Alarm").items():
        if not alarm.get("AlarmActions"):
            yield f"{id}: tells nobody"


@rule
def source_is_read_only(stack):
    """P8, on a bucket that is not ours."""
    source = stack.parameters.get("SourceBucket") or "no bucket"
    for id, role in stack.of("AWS::IAM::Role").items():
        for statement in allows(stack, role):
            theirs = any(f":::{source}" in json.dumps(r) for r in listed(statement["Resource"]))
            writes = set(listed(statement["Action"])) - {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"}
            uploads = any("/uploads/" in json.dumps(r) for r in listed(statement["Resource"]))
            if writes and (theirs or uploads):
                yield f"{id}: {', '.join(sorted(writes))} on people's own objects"
