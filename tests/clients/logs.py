"""CloudWatch Logs."""
import json
import os
import subprocess
import threading
import time

from common import ENDPOINT, ENVIRONMENT, FUNCTION, PATIENCE, client, refused, same, until

logs = client("logs")
GROUP = f"/aws/lambda/{FUNCTION}"
# A program of its own has packages of its own.
BARE = {**{name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}, "PYTHONUNBUFFERED": "1"}


def say(line):
    client("lambda").invoke(FunctionName=FUNCTION, Payload=json.dumps({"log": [line]}).encode())


def version_2():
    """The program of the aws CLI's version 2, which no Python index has: `logs tail` is in no earlier one."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = os.path.join(folder, "aws")
        if os.access(program, os.X_OK):
            said = subprocess.run([program, "--version"], env=BARE, capture_output=True, text=True, check=False)
            if said.stdout.startswith("aws-cli/2"):
                return program
    return None


def check_what_aws_logs_tail_follow_asks():
    """Its requests, by boto3: everything since a time, page by page, again and again, each event once."""
    begun, seen = int(time.time() * 1000), {}

    def shown(word):
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP, interleaved=True, startTime=begun):
            seen.update((event["eventId"], event["message"]) for event in page["events"])
        return [message for message in seen.values() if word in message]

    for word in ("first while it follows", "second while it follows"):
        say(word)
        same(len(until(f"the tail to show: {word}", lambda: shown(word))), 1)
    assert all(shown(part) for part in ("START RequestId", "END RequestId", "REPORT RequestId")), seen


def check_aws_logs_tail_follow_where_version_2_is():
    program = version_2()
    if program is None:
        print("        (no aws CLI of version 2 on this machine)")
        return
    base = [program, "--endpoint-url", ENDPOINT, "logs", "tail", GROUP]
    say("once said")
    tail = subprocess.run([*base, "--since", "10m", "--format", "short"], env=BARE, capture_output=True, text=True, check=False)
    for part in ("once said", "START RequestId", "REPORT RequestId"):
        assert part in tail.stdout, tail
    follow = subprocess.Popen([*base, "--follow", "--since", "5m"], env=BARE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    reader = threading.Thread(target=read, args=(follow, lines))
    reader.start()
    try:
        for word in ("third while it follows", "fourth while it follows"):
            say(word)
            until(f"the tail to show: {word}", lambda: any(word in line for line in lines))
            assert follow.poll() is None, lines
        same(sum("fourth while it follows" in line for line in lines), 1)
    finally:
        follow.kill()
        follow.wait(PATIENCE)
        reader.join(PATIENCE)


def read(process, lines):
    for line in process.stdout:
        lines.append(line)


def check_events_by_a_term():
    say("the word Nosferatu")
    found = logs.filter_log_events(logGroupName=GROUP, filterPattern="Nosferatu")["events"]
    same([event["message"].strip() for event in found], ["the word Nosferatu"])
    stream = found[0]["logStreamName"]
    messages = [event["message"] for event in logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)["events"]]
    assert any("Nosferatu" in message for message in messages), messages
    assert stream in [found["logStreamName"] for found in logs.describe_log_streams(logGroupName=GROUP)["logStreams"]]


def check_a_group_of_ones_own():
    logs.create_log_group(logGroupName="own")
    logs.create_log_stream(logGroupName="own", logStreamName="one")
    logs.put_retention_policy(logGroupName="own", retentionInDays=3)
    now = int(time.time() * 1000)
    logs.put_log_events(logGroupName="own", logStreamName="one", logEvents=[{"timestamp": now, "message": "put"}])
    same([event["message"] for event in logs.get_log_events(logGroupName="own", logStreamName="one")["events"]], ["put"])
    same(logs.describe_log_groups(logGroupNamePrefix="own")["logGroups"][0]["retentionInDays"], 3)
    logs.delete_log_group(logGroupName="own")
    same(logs.describe_log_groups(logGroupNamePrefix="own")["logGroups"], [])


def check_filter_patterns_of_json_and_of_fields():
    say('{"level":"ERROR","task":{"number":7},"tags":["a","b"]}')
    say('{"level":"INFO","task":{"number":8},"tags":[]}')
    say('10.0.0.1 GET "/a b" 404 12')
    begun = int((time.time() - 600) * 1000)

    def found(pattern):
        return [event["message"].strip() for event in logs.filter_log_events(logGroupName=GROUP, startTime=begun, filterPattern=pattern)["events"]]

    until("the lines", lambda: found('"GET \\"/a b\\""'))
    same(len(found("{ $.level = ERROR && $.task.number > 6 }")), 1)
    same(len(found("{ $.task.number >= 7 && $.tags[0] NOT EXISTS }")), 1)
    same(len(found("[ip = 10.*, method, path, status = 4*, bytes > 10]")), 1)
    same(len(found(r"%GET .+ 4[0-9][0-9]%")), 1)
    refused("InvalidParameterException", lambda: found("{ $.level = }"))


def check_insights_queries():
    for number in range(4):
        say(json.dumps({"asked": "insights", "number": number, "kind": "even" if number % 2 == 0 else "odd"}))

    def ask(query):
        now = int(time.time())
        begun = logs.start_query(logGroupName=GROUP, startTime=now - 600, endTime=now + 1, queryString=query)["queryId"]
        return until("the query's end", lambda: ended(begun))

    def ended(query):
        answer = logs.get_query_results(queryId=query)
        return None if answer["status"] in ("Running", "Scheduled") else answer

    query = 'filter asked = "insights" | stats count(*) as lines, sum(number) as total by kind | sort kind asc'
    answer = until("all lines", lambda: (lambda a: a if a["statistics"]["recordsMatched"] == 4 else None)(ask(query)))
    rows = [{cell["field"]: cell["value"] for cell in row} for row in answer["results"]]
    same(rows, [{"kind": "even", "lines": "2", "total": "2"}, {"kind": "odd", "lines": "2", "total": "4"}])
    reports = ask('filter @type = "REPORT" | stats count(*) as calls, max(@memorySize / 1000 / 1000) as megabytes')["results"][0]
    assert int(reports[0]["value"]) >= 4 and int(reports[1]["value"]) >= 128, reports
    refused("MalformedQueryException", lambda: ask("filter number >"))
