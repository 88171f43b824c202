"""For every rule, what it is there for: changes to our template, each of which its rule must refuse."""
FUNCTION, MAPPING = "TranscodeFunction", ("TranscodeFunction", "Events", "Tasks", "Properties")


def properties(template, id, *path):
    at = template["Resources"][id].setdefault("Properties", {})
    for step in path:
        at = at[step]
    return at


def put(id, *path_and_value):
    *path, key, value = path_and_value

    def change(template):
        properties(template, id, *path)[key] = value
    return change


def drop(id, *path):
    def change(template):
        del properties(template, id, *path[:-1])[path[-1]]
    return change


def remove(id):
    def change(template):
        del template["Resources"][id]
    return change


def add(id, kind, **values):
    def change(template):
        template["Resources"][id] = {"Type": kind, "Properties": values}
    return change


def attribute(id, key, value=None):
    def change(template):
        if value is None:
            template["Resources"][id].pop(key)
        else:
            template["Resources"][id][key] = value
    return change


def parameter(name, key, value):
    def change(template):
        template["Parameters"][name][key] = value
    return change


def board(words, others, count=-1):
    """Other words in the dashboard."""
    def change(template):
        body = properties(template, "Dashboard")["DashboardBody"]["Fn::Sub"]
        body[0] = body[0].replace(words, others, count)
    return change


def allow(role, **statement):
    def change(template):
        properties(template, role, "Policies", 0, "PolicyDocument", "Statement").append({"Effect": "Allow", **statement})
    return change


def forbid(role, *actions):
    """Takes actions out of a role."""
    def change(template):
        given = properties(template, role, "Policies", 0, "PolicyDocument", "Statement")
        for statement in given:
            if "Action" in statement:
                statement["Action"] = [a for a in statement["Action"] if a not in actions]
        given[:] = [s for s in given if s.get("Action", True)]
    return change


FAULTS = [
    ("memory", put("TranscodeLargeFunction", "MemorySize", 10_240)),
    ("reserved_concurrency", put(FUNCTION, "ReservedConcurrentExecutions", 100)),
    ("provisioned_concurrency", put(*MAPPING, "ProvisionedPollerConfig", {"MinimumPollers": 2, "MaximumPollers": 2})),
    ("least_concurrency", put(*MAPPING, "ScalingConfig", {"MaximumConcurrency": 1})),
    ("least_concurrency", parameter("TranscodeConcurrency", "AllowedPattern", "[0-9]+")),
    ("visibility", put("TranscodeQueue", "VisibilityTimeout", 600)),
    ("role_of_mapping", forbid("MergeRole", "sqs:DeleteMessage")),
    ("role_of_mapping", forbid("EscalationRole", "sqs:ReceiveMessage")),
    ("logs_of_role", forbid("SweepRole", "logs:PutLogEvents")),
    ("log_group_first", drop("SplitFunction", "LoggingConfig")),
    ("missing_key", forbid("IngestRole", "s3:ListBucket")),
    ("queue_key", put("IngestQueue", "KmsMasterKeyId", "alias/aws/sqs")),
    ("queue_policy", remove("IngestQueuePolicy")),
    ("queue_policy", attribute("Bucket", "DependsOn")),
    ("queue_policy", drop("IngestQueuePolicy", "PolicyDocument", "Statement", 1)),
    ("circle", put("IngestQueuePolicy", "PolicyDocument", "Statement", 0, "Condition", {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["Bucket", "Arn"]}}})),
    ("fixed_bucket", parameter("BucketName", "Default", "videos")),
    ("acl", put("Bucket", "AccessControl", "Private")),
    ("named_roles", put("SplitRole", "RoleName", "split")),
    ("policy_size", lambda t: [allow("SplitRole", Action=["s3:GetObject"], Resource=["arn:aws:s3:::b/%d" % n])(t) for n in range(80)]),
    ("unzipped", lambda t: properties(t, FUNCTION)["Layers"].append({"Ref": "FfmpegLayer"})),
    ("environment", lambda t: t["Globals"]["Function"]["Environment"]["Variables"].update({"LONG": "x" * 4000})),
    ("environment", lambda t: t["Globals"]["Function"]["Environment"]["Variables"].update({"AWS_REGION": "us-east-1"})),
    ("limits_of_functions", put("MergeFunction", "Timeout", 1200)),
    ("limits_of_functions", put("MergeFunction", "FunctionName", {"Fn::Sub": "${AWS::StackName}-puts-the-whole-film-together"})),
    ("runtime", lambda t: t["Globals"]["Function"].update({"Runtime": "provided.al2"})),
    ("topic_key", put("AlarmTopic", "KmsMasterKeyId", "alias/aws/sns")),
    ("metrics_of_alarm", lambda t: properties(t, "ErrorsAlarm")["Metrics"].extend(
        dict(properties(t, "ErrorsAlarm")["Metrics"][0], Id=f"g{n}") for n in range(5))),
    ("metrics_of_alarm", put("ErrorsAlarm", "Metrics", 0, "ReturnData", True)),
    ("public_policy", put("BucketPolicy", "PolicyDocument", "Statement", 0, "Effect", "Allow")),
    ("http_time", put("MergeFunction", "Events", "Page", {"Type": "HttpApi", "Properties": {"Path": "/", "Method": "get"}})),
    ("size", lambda t: [add(f"Queue{n}", "AWS::SQS::Queue", SqsManagedSseEnabled=True)(t) for n in range(500)]),
    # What we promise.
    ("least_privilege", allow("IngestRole", Action=["s3:GetObject"], Resource="arn:aws:s3:::*/uploads/*")),
    ("least_privilege", allow("IngestRole", Action=["s3:*"], Resource={"Fn::GetAtt": ["Bucket", "Arn"]})),
    ("least_privilege", allow("IngestRole", Action=["s3:GetObject"], Resource={"Fn::Sub": "${Bucket.Arn}/*"})),
    ("least_privilege", put("SplitRole", "ManagedPolicyArns", ["arn:aws:iam::aws:policy/AmazonS3FullAccess"])),
    ("least_privilege", drop("SplitFunction", "Role")),
    ("unused_star", remove("TracingPolicy")),
    ("encrypted", drop("Bucket", "BucketEncryption")),
    ("encrypted", put("DeadLetterQueue", "SqsManagedSseEnabled", False)),
    ("private", drop("Bucket", "PublicAccessBlockConfiguration", "BlockPublicPolicy")),
    ("private", remove("BucketPolicy")),
    ("dead_letters", drop("MergeQueue", "RedrivePolicy")),
    ("queue_policy", remove("SourceLettersPolicy")),
    ("dead_letters", drop("SourceRule", "Targets", 0, "DeadLetterConfig")),
    ("retention", drop("MergeLogs", "RetentionInDays")),
    ("retention", put("Bucket", "LifecycleConfiguration", "Rules", 0, "Status", "Disabled")),
    ("retention", lambda t: [r.update({"Prefix": "work/"}) for r in properties(t, "Bucket", "LifecycleConfiguration", "Rules")]),
    ("retention", attribute("Table", "DeletionPolicy", "Delete")),
    ("retention", attribute("Bucket", "DeletionPolicy", "Retain")),
    ("alarms", remove("AgeAlarm")),
    ("alarms", drop("ErrorsAlarm", "Metrics", 2)),
    ("alarms", put("ThrottlesAlarm", "AlarmActions", [])),
    ("source_is_read_only", allow("MergeRole", Action=["s3:PutObject"], Resource={"Fn::Sub": "${Bucket.Arn}/uploads/*"})),
    ("source_is_read_only", allow("MergeRole", Action=["s3:DeleteObject"], Resource={"Fn::Sub": "arn:aws:s3:::${SourceBucket}/${SourcePrefix}*"})),
    ("alarms_see", put("AgeAlarm", "Threshold", 7200)),
    ("alarms_see", drop("AgeAlarm", "Metrics", 3)),
    ("alarms_see", put("AgeAlarm", "Metrics", 6, "Expression", "q0 + q1")),
    ("alarms_see", put("DeadLettersAlarm", "Metrics", 2, "Expression", "visible")),
    ("alarms_see", put("ErrorsAlarm", "Threshold", 10)),
    ("alarms_see", remove("ThrottlesAlarm")),
    ("alarms_see", remove("EscalationsAlarm")),
    ("alarms_see", remove("SweepAlarm")),
    ("alarms_see", put("SweepAlarm", "TreatMissingData", "notBreaching")),
    ("switches", lambda t: t["Globals"]["Function"].pop("Tracing")),
    ("switches", drop("MergeRole", "ManagedPolicyArns")),
    ("switches", drop("TranscodeLargeFunction", "Events", "Tasks", "Properties", "ProvisionedPollerConfig")),
    ("switches", drop(*MAPPING, "ScalingConfig")),
    ("switches", remove("AlarmMail")),
    ("switches", remove("Budget")),
    ("switches", remove("ConcurrencyOfAccountAlarm")),
    ("only_clouds", attribute("AlarmTopic", "Condition")),
    ("dashboard", board('"widgets": [', '"widgets": ')),
    ("dashboard", board("d2 * 1769", "d2 * 2048")),
    ("dashboard", put("MergeFunction", "MemorySize", 1024)),
    ("dashboard", board("0.0000166667", "0.0000133334")),
    ("dashboard", board("Messages that wait", "Messages")),
    ("dashboard", board("${SweepFunction}", "${MergeFunction}")),
    ("dashboard", board("${DoorAtWork}", "")),
    ("dashboard", board("${DoorFails}", "")),
    ("dashboard", board("${DoorSecond}", "")),
    ("dashboard", put("Dashboard", "DashboardBody", "Fn::Sub", 1, "DoorTakes", {"Fn::If": ["HasDoor", ", []", "]"]})),
]
