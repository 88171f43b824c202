"""SQS."""
import json
import time

from common import aws, client, refused, same, until

sqs = client("sqs")


def queue(name, **attributes):
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def arn(url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def attributes(url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def receive(url, **options):
    return sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **options).get("Messages", [])


def taken(url, many, **options):
    """As many messages, each received once and deleted."""
    found = []

    def look():
        for message in receive(url, WaitTimeSeconds=1, **options):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found.append(message)
        return len(found) >= many

    until(f"{many} messages", look)
    return found


def check_batches():
    url = queue("batches")
    entries = [{"Id": str(n), "MessageBody": f"m{n}"} for n in range(10)]
    same(len(sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]), 10)
    refused(("TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
            lambda: sqs.send_message_batch(QueueUrl=url, Entries=[*entries, {"Id": "11", "MessageBody": "m"}]))
    refused(("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
            lambda: sqs.send_message_batch(QueueUrl=url, Entries=[entries[0], entries[0]]))
    held = []
    until("ten messages", lambda: held.extend(receive(url, WaitTimeSeconds=1, VisibilityTimeout=60)) or len(held) >= 10)
    same(sorted(message["Body"] for message in held), sorted(entry["MessageBody"] for entry in entries))
    handles = [{"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(held)]
    changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[{**entry, "VisibilityTimeout": 0} for entry in handles[:5]])
    same(len(changed["Successful"]), 5)
    again = taken(url, 5)
    same(sorted(message["Body"] for message in again), sorted(message["Body"] for message in held[:5]))
    answer = sqs.delete_message_batch(QueueUrl=url, Entries=[*handles[5:], {"Id": "no", "ReceiptHandle": "no handle"}])
    same((len(answer["Successful"]), [failed["Id"] for failed in answer["Failed"]]), (5, ["no"]))
    same([attributes(url)[name] for name in ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")], ["0", "0"])


def check_attributes_of_messages():
    url = queue("attributes")
    sent = {"who": {"DataType": "String", "StringValue": "me é"}, "many": {"DataType": "Number.int", "StringValue": "17"},
            "raw": {"DataType": "Binary", "BinaryValue": b"\0\xff"}}
    # The client holds both MD5s against its own.
    sqs.send_message(QueueUrl=url, MessageBody="é", MessageAttributes=sent)
    found = receive(url, WaitTimeSeconds=5, MessageAttributeNames=["All"], AttributeNames=["All"])[0]
    same((found["Body"], found["MessageAttributes"], found["Attributes"]["ApproximateReceiveCount"]), ("é", sent, "1"))
    assert abs(int(found["Attributes"]["SentTimestamp"]) / 1000 - time.time()) < 60, found
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=found["ReceiptHandle"], VisibilityTimeout=0)
    found = receive(url, WaitTimeSeconds=5, MessageAttributeNames=["who"], AttributeNames=["ApproximateReceiveCount"])[0]
    same((list(found["MessageAttributes"]), found["Attributes"]), (["who"], {"ApproximateReceiveCount": "2"}))


def check_settings_of_queues():
    url = queue("settings", VisibilityTimeout="5", DelaySeconds="1", ReceiveMessageWaitTimeSeconds="2")
    found = attributes(url)
    same([found[name] for name in ("VisibilityTimeout", "DelaySeconds", "ReceiveMessageWaitTimeSeconds")], ["5", "1", "2"])
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0", "MaximumMessageSize": "1024"})
    refused(("InvalidParameterValue", "InvalidParameterValueException"), lambda: sqs.send_message(QueueUrl=url, MessageBody="x" * 1025))
    refused(("InvalidAttributeValue",), lambda: sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "901"}))
    same(sqs.get_queue_url(QueueName="settings")["QueueUrl"], url)
    sqs.tag_queue(QueueUrl=url, Tags={"a": "b"})
    same(sqs.list_queue_tags(QueueUrl=url)["Tags"], {"a": "b"})
    sqs.send_message(QueueUrl=url, MessageBody="x")
    sqs.purge_queue(QueueUrl=url)
    same(attributes(url)["ApproximateNumberOfMessages"], "0")
    assert url in json.loads(aws("sqs", "list-queues", "--output", "json"))["QueueUrls"]
    sqs.delete_queue(QueueUrl=url)
    refused(("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"), lambda: sqs.get_queue_url(QueueName="settings"))


def check_delay():
    url = queue("delay")
    sqs.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=2)
    begun = time.monotonic()
    same((receive(url), attributes(url)["ApproximateNumberOfMessagesDelayed"]), ([], "1"))
    same([message["Body"] for message in taken(url, 1)], ["late"])
    assert time.monotonic() - begun > 1.5, "it came before its time"


def check_dead_letters_and_their_way_back():
    dead = queue("dead")
    url = queue("poisoned", VisibilityTimeout="0", RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 2}))
    same(sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"], [url])
    sqs.send_message(QueueUrl=url, MessageBody="poison", MessageAttributes={"a": {"DataType": "String", "StringValue": "b"}})
    counts = []

    def look():
        counts.extend(message["Attributes"]["ApproximateReceiveCount"] for message in receive(url, AttributeNames=["All"]))
        return attributes(dead)["ApproximateNumberOfMessages"] == "1"

    until("the message in the dead-letter queue", look)
    same(counts, ["1", "2"])
    task = sqs.start_message_move_task(SourceArn=arn(dead))["TaskHandle"]
    assert task
    found = taken(url, 1, MessageAttributeNames=["All"])[0]
    same((found["Body"], found["MessageAttributes"]["a"]["StringValue"]), ("poison", "b"))
    done = until("the end of the task", lambda: [task for task in sqs.list_message_move_tasks(SourceArn=arn(dead))["Results"]
                                                 if task["Status"] == "COMPLETED"])
    same((done[0]["ApproximateNumberOfMessagesMoved"], done[0]["SourceArn"]), (1, arn(dead)))


def check_fifo():
    url = queue("order.fifo", FifoQueue="true", VisibilityTimeout="60")
    for group in ("a", "b"):
        for number in range(3):
            sqs.send_message(QueueUrl=url, MessageBody=f"{group}{number}", MessageGroupId=group, MessageDeduplicationId=f"{group}{number}")
    first = sqs.send_message(QueueUrl=url, MessageBody="again", MessageGroupId="a", MessageDeduplicationId="a0")
    assert first["SequenceNumber"], first
    refused(("MissingParameter",), lambda: sqs.send_message(QueueUrl=url, MessageBody="no group", MessageDeduplicationId="x"))
    held = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1, AttributeNames=["All"])["Messages"][0]
    blocked = held["Attributes"]["MessageGroupId"]
    others = []
    until("the other group", lambda: others.extend(receive(url, AttributeNames=["All"])) or len(others) >= 3)
    same([message["Body"] for message in others], [f"{'b' if blocked == 'a' else 'a'}{number}" for number in range(3)])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
    same([message["Body"] for message in taken(url, 2)], [f"{blocked}1", f"{blocked}2"])
    aws("sqs", "send-message", "--queue-url", queue("by-cli"), "--message-body", "by aws")
    same([message["Body"] for message in taken(queue("by-cli"), 1)], ["by aws"])
