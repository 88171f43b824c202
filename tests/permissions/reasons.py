"""Permissions that no recorded run asks for, each with its reason: roles (`*`: all that have it), action, resource (as patterns)."""
POLLED = "IngestRole SplitRole TranscodeRole MergeRole EscalationRole"
LOST = "when the answer to a completed upload was lost, the object is looked up (HeadObject)"
REASONS = [
    ("*", "logs:CreateLogStream", "*", "Lambda itself writes a function's lines under its role"),
    ("*", "logs:PutLogEvents", "*", "Lambda itself writes a function's lines under its role"),
    (POLLED, "sqs:ReceiveMessage", "*", "Lambda's pollers work under the function's role"),
    (POLLED, "sqs:DeleteMessage", "*", "Lambda's pollers work under the function's role"),
    (POLLED, "sqs:GetQueueAttributes", "*", "Lambda's pollers work under the function's role"),
    ("*", "xray:Put*", "*", "Lambda itself sends its part of a trace under the function's role"),
    ("IngestRole EscalationRole", "s3:ListBucket", "*", "without it a missing key answers 403 instead of 404"),
    ("SplitRole TranscodeRole", "s3:ListBucket", "arn:aws:s3:::films-of-mine", "the same of the bucket that is only read"),
    ("*", "s3:GetObjectVersion", "*", "reads of a source are pinned to its version; buckets of the platform have none"),
    ("TranscodeRole", "s3:GetObject", "*/streams/*", LOST),
    ("MergeRole", "s3:GetObject", "*/encoded/*", LOST),
]
