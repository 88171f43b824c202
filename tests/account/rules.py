"""What a new AWS account refuses of a template, or takes and does not do, though linters and emulators accept it.

Each rule gives sentences; none means that it has nothing to say. The name of a rule is what its mutation in `faults.py`
must bring out."""
import json
import os
import re

from stack import listed, named, one

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
RULES = {}


def rule(check):
    RULES[check.__name__] = check
    return check


def statements(document):
    return [s for s in listed(document.get("Statement", [])) if isinstance(s, dict)]


def role_of(stack, function):
    return stack.resources[one(function["Role"])]["Properties"]


def allows(stack, role):
    """Statements of a role: its own, and those of policies in the template that it names."""
    found = [s for policy in role.get("Policies", []) for s in statements(policy["PolicyDocument"])]
    for name in map(one, role.get("ManagedPolicyArns", [])):
        if name in stack.resources:
            found += statements(stack.resources[name]["Properties"]["PolicyDocument"])
    return [s for s in found if s["Effect"] == "Allow"]


def mappings(stack):
    for id, mapping in stack.of("AWS::Lambda::EventSourceMapping").items():
        yield id, mapping, stack.resources[one(mapping["FunctionName"])]["Properties"], one(mapping["EventSourceArn"])


@rule
def memory(stack):
    """Lambda quotas: a new account has 3,008 MB until usage raises it."""
    for id, f in stack.of("AWS::Lambda::Function").items():
        if int(f.get("MemorySize", 128)) > 3008:
            yield f"{id}: MemorySize {f['MemorySize']} is above the 3,008 MB of a new account"


@rule
def reserved_concurrency(stack):
    """Lambda quotas: a new account may have 10 environments, and reserving must leave some unreserved."""
    for id, f in stack.of("AWS::Lambda::Function").items():
        if "ReservedConcurrentExecutions" in f:
            yield f"{id}: concurrency cannot be reserved in an account that has 10"


@rule
def provisioned_concurrency(stack):
    """CloudFormation, `AWS::Lambda::EventSourceMapping`: ProvisionedPollerConfig and ScalingConfig exclude each other."""
    for id, mapping, _, _ in mappings(stack):
        if "ProvisionedPollerConfig" in mapping and "ScalingConfig" in mapping:
            yield f"{id}: ProvisionedPollerConfig beside ScalingConfig"


@rule
def least_concurrency(stack):
    """Lambda, "Configuring maximum concurrency for Amazon SQS event sources": 2 to 1,000."""
    for id, mapping, _, _ in mappings(stack):
        most = int(mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 2))
        if not 2 <= most <= 1000:
            yield f"{id}: MaximumConcurrency {most} is not 2 to 1,000"
    for name, parameter in stack.source.get("Parameters", {}).items():
        if name.endswith("Concurrency") and re.fullmatch(parameter.get("AllowedPattern", ".*"), "1"):
            yield f"parameter {name}: allows a MaximumConcurrency of 1"


@rule
def visibility(stack):
    """Lambda refuses a mapping whose queue hides messages for less than the function's timeout."""
    for id, _, function, queue in mappings(stack):
        seen = int(stack.resources[queue]["Properties"].get("VisibilityTimeout", 30))
        if seen < int(function.get("Timeout", 3)):
            yield f"{id}: the queue's visibility of {seen} s is below the function's timeout"


@rule
def role_of_mapping(stack):
    """Lambda, "Execution role permissions": pollers work under the function's role, and the mapping is refused without."""
    needed = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
    for id, _, function, queue in mappings(stack):
        given = set()
        for statement in allows(stack, role_of(stack, function)):
            if queue in named(statement["Resource"]) or "*" in listed(statement["Resource"]):
                given |= set(listed(statement["Action"]))
        if needed - given and "sqs:*" not in given:
            yield f"{id}: the function's role lacks {', '.join(sorted(needed - given))} on {queue}"


@rule
def logs_of_role(stack):
    """A function whose role may not write logs runs and is silent."""
    for id, function in stack.of("AWS::Lambda::Function").items():
        group = one(function.get("LoggingConfig", {}).get("LogGroup", "none"))
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            if not any(action in listed(s["Action"]) and group in named(s["Resource"]) for s in allows(stack, role_of(stack, function))):
                yield f"{id}: its role lacks {action} on its log group"


@rule
def log_group_first(stack):
    """A log group with a function's name must be made before the function first runs, which makes it as well."""
    names = {json.dumps(g.get("LogGroupName"), sort_keys=True): id for id, g in stack.of("AWS::Logs::LogGroup").items()}
    for id, function in stack.of("AWS::Lambda::Function").items():
        if not named(function.get("LoggingConfig", {})) & set(names.values()):
            yield f"{id}: does not name its log group, so that both may be made at once"


@rule
def missing_key(stack):
    """S3, GetObject: without s3:ListBucket on the bucket a missing key answers 403 and not 404."""
    for id, role in stack.of("AWS::IAM::Role").items():
        # Buckets outside of the template are known by their ARNs.
        bucket = lambda resource: one(resource) if named(resource) else str(resource).split("/")[0]  # noqa: E731
        rights = allows(stack, role)
        read = {bucket(r) for s in rights if "s3:GetObject" in listed(s["Action"]) for r in listed(s["Resource"])}
        list_ = {bucket(r) for s in rights if "s3:ListBucket" in listed(s["Action"]) for r in listed(s["Resource"])}
        for name in sorted(read - list_):
            yield f"{id}: reads objects of {name} without s3:ListBucket, and would see 403 for a missing key"


@rule
def queue_key(stack):
    """S3 and EventBridge cannot send to a queue under the AWS-managed key: use SqsManagedSseEnabled."""
    for queue in told(stack):
        key = stack.resources[queue]["Properties"].get("KmsMasterKeyId")
        if key in ("alias/aws/sqs", "aws/sqs"):
            yield f"{queue}: others send to it, which the AWS-managed KMS key does not let them"


def told(stack):
    """Queues that S3 or EventBridge send to."""
    for bucket in stack.of("AWS::S3::Bucket").values():
        yield from (one(q["Queue"]) for q in bucket.get("NotificationConfiguration", {}).get("QueueConfigurations", []))
    for rule_ in stack.of("AWS::Events::Rule").values():
        yield from (one(t["Arn"]) for t in rule_["Targets"] if one(t["Arn"]) in stack.of("AWS::SQS::Queue"))


@rule
def queue_policy(stack):
    """S3 sends a test message as notifications are set, so the policy must be there before the bucket; EventBridge is
    silent without one."""
    policies = {queue: (id, p) for id, p in stack.of("AWS::SQS::QueuePolicy").items() for queue in map(one, p["Queues"])}

    def lets(queue, service):
        policy = policies.get(queue, (None, {"PolicyDocument": {}}))[1]
        return any(s["Effect"] == "Allow" and service in json.dumps(s["Principal"]) for s in statements(policy["PolicyDocument"]))

    for id, bucket in stack.of("AWS::S3::Bucket").items():
        for entry in bucket.get("NotificationConfiguration", {}).get("QueueConfigurations", []):
            queue = one(entry["Queue"])
            if not lets(queue, "s3.amazonaws.com"):
                yield f"{id}: no policy lets S3 send to {queue}"
            elif policies[queue][0] not in listed(stack.resources[id].get("DependsOn", [])):
                yield f"{id}: must depend on {policies[queue][0]}, which has to be there first"
    for id, rule_ in stack.of("AWS::Events::Rule").items():
        ends = [arn for t in rule_["Targets"] for arn in (t["Arn"], t.get("DeadLetterConfig", {}).get("Arn")) if arn]
        for queue in map(one, ends):
            if queue in stack.of("AWS::SQS::Queue") and not lets(queue, "events.amazonaws.com"):
                yield f"{id}: no policy lets EventBridge send to {queue}"


@rule
def circle(stack):
    """CloudFormation refuses resources that need one another."""
    needs = {id: (named(r["Properties"]) | set(listed(r.get("DependsOn", [])))) & set(stack.resources) for id, r in stack.resources.items()}
    while ready := [id for id, need in needs.items() if not need]:
        for id in ready:
            del needs[id]
        needs = {id: need - set(ready) for id, need in needs.items()}
    if needs:
        yield f"these need one another: {', '.join(sorted(needs))}"


@rule
def fixed_bucket(stack):
    """Names of buckets are taken world-wide."""
    for id, bucket in stack.of("AWS::S3::Bucket").items():
        if bucket.get("BucketName"):
            yield f"{id}: has the fixed name {bucket['BucketName']}, which somebody has"


@rule
def acl(stack):
    """S3, "Controlling ownership of objects": new buckets take no ACLs."""
    for id, bucket in stack.of("AWS::S3::Bucket").items():
        if "AccessControl" in bucket:
            yield f"{id}: AccessControl, which a new bucket refuses"


@rule
def named_roles(stack):
    """`sam deploy --capabilities CAPABILITY_IAM`, as we print it, refuses roles with names of their own."""
    for kind, name in (("AWS::IAM::Role", "RoleName"), ("AWS::IAM::ManagedPolicy", "ManagedPolicyName")):
        yield from (f"{id}: {name} needs CAPABILITY_NAMED_IAM" for id, r in stack.of(kind).items() if name in r)


@rule
def policy_size(stack):
    """IAM quotas: 10,240 characters of inline policies of a role, 6,144 of a managed one, without white space. Names are
    longer than what stands for them here."""
    longer = 2
    for id, role in stack.of("AWS::IAM::Role").items():
        size = longer * sum(len(json.dumps(p["PolicyDocument"], separators=(",", ":"))) for p in role.get("Policies", []))
        if size > 10_240:
            yield f"{id}: about {size} characters of inline policies"


@rule
def unzipped(stack):
    """Lambda quotas: code and layers 250 MiB unzipped, 5 layers."""
    layers = stack.of("AWS::Lambda::LayerVersion")
    program = 30 << 20  # Above each of our stripped programs; `make package` holds the real ones.
    for id, function in stack.of("AWS::Lambda::Function").items():
        folders = [layers[one(layer)]["Content"]["S3Key"] for layer in function.get("Layers", []) if one(layer) in layers]
        size = program + sum(weight(folder) for folder in folders)
        if size > 250 << 20 or len(function.get("Layers", [])) > 5:
            yield f"{id}: {size >> 20} MiB of code and layers"


def weight(folder):
    paths = (os.path.join(at, name) for at, _, names in os.walk(os.path.join(ROOT, folder)) for name in names)
    return sum(map(os.path.getsize, paths))


@rule
def environment(stack):
    """Lambda quotas: 4 KB of variables, and some are Lambda's own. A resource's name or URL takes up to 120 bytes."""
    for id, function in stack.of("AWS::Lambda::Function").items():
        variables = function.get("Environment", {}).get("Variables", {})
        size = sum(len(k) + (len(v) if isinstance(v, str) else 120) for k, v in variables.items())
        if size > 4096:
            yield f"{id}: {size} bytes of variables"
        yield from (f"{id}: {name} is Lambda's own" for name in variables if name.startswith("AWS_") or name in ("TZ", "_HANDLER"))


@rule
def limits_of_functions(stack):
    """Lambda quotas: 15 minutes, 10,240 MB of /tmp; names of 64 letters, with a stack name of up to 40."""
    for id, function in stack.of("AWS::Lambda::Function").items():
        if int(function.get("Timeout", 3)) > 900 or int(function.get("EphemeralStorage", {}).get("Size", 512)) > 10_240:
            yield f"{id}: above 900 s or 10,240 MB of /tmp"
        name = function.get("FunctionName", "")
        if isinstance(name, str) and len(name) - len("fanreel") + 40 > 64:
            yield f"{id}: its name is too long for a stack name of 40 letters"


@rule
def runtime(stack):
    """Lambda runtimes: of those for programs, provided.al2 takes no new functions any more."""
    for id, function in stack.of("AWS::Lambda::Function").items():
        if function.get("Runtime") != "provided.al2023":
            yield f"{id}: runtime {function.get('Runtime')}"


@rule
def topic_key(stack):
    """CloudWatch, "Using Amazon SNS": alarms do not reach a topic under the AWS-managed key, and nothing says so."""
    for id, topic in stack.of("AWS::SNS::Topic").items():
        if topic.get("KmsMasterKeyId") in ("alias/aws/sns", "aws/sns"):
            yield f"{id}: alarms cannot be sent to it"


@rule
def metrics_of_alarm(stack):
    """CloudWatch quotas: an alarm on an expression takes 10 metrics."""
    for id, alarm in stack.of("AWS::CloudWatch::Alarm").items():
        if sum("MetricStat" in m for m in alarm.get("Metrics", [])) > 10:
            yield f"{id}: more than 10 metrics"
        if "Metrics" in alarm and sum(bool(m.get("ReturnData", True)) for m in alarm["Metrics"]) != 1:
            yield f"{id}: exactly one of its metrics must return data"


@rule
def public_policy(stack):
    """A bucket that blocks public policies refuses one."""
    for id, policy in stack.of("AWS::S3::BucketPolicy").items():
        if any(s["Effect"] == "Allow" and s["Principal"] in ("*", {"AWS": "*"}) for s in statements(policy["PolicyDocument"])):
            yield f"{id}: lets everybody in"


@rule
def http_time(stack):
    """API Gateway quotas: an HTTP API waits 30 s."""
    for id, r in stack.source["Resources"].items():
        for event in (r.get("Properties", {}).get("Events") or {}).values():
            if event["Type"] == "HttpApi" and int(r["Properties"].get("Timeout", 3)) > 30:
                yield f"{id}: may run longer than the 30 s that its HTTP API waits"


@rule
def size(stack):
    """CloudFormation quotas: 1 MB of template, 500 resources, 200 parameters and outputs."""
    text = json.dumps(stack.plain)
    if len(text) > 1_000_000 or len(stack.plain["Resources"]) > 500:
        yield f"{len(text)} bytes, {len(stack.plain['Resources'])} resources"
    if len(stack.plain.get("Outputs", {})) > 200 or len(stack.plain.get("Parameters", {})) > 200:
        yield "more than 200 parameters or outputs"
