"""Lambda."""
import base64
import json
import os

from common import FUNCTION, WORK, aws, client, refused, same, until

functions = client("lambda")


def invoke(event, **options):
    return functions.invoke(FunctionName=FUNCTION, Payload=json.dumps(event).encode(), **options)


def check_an_answer_with_the_tail_of_the_log():
    answer = invoke({"log": ["said by hello"], "answer": {"é": [1, None]}}, LogType="Tail")
    same((answer["StatusCode"], json.loads(answer["Payload"].read()), answer.get("FunctionError")), (200, {"é": [1, None]}, None))
    tail = base64.b64decode(answer["LogResult"]).decode()
    for part in ("START RequestId: ", "said by hello", "END RequestId: ", "REPORT RequestId: ", "Billed Duration: ", "Max Memory Used: "):
        assert part in tail, tail


def check_an_error_of_the_function():
    answer = invoke({"fail": "no such film"})
    same((answer["StatusCode"], answer["FunctionError"]), (200, "Unhandled"))
    same(json.loads(answer["Payload"].read())["errorMessage"], "no such film")


def check_an_event():
    path = os.path.join(WORK, "event came")
    same(invoke({"pid": path}, InvocationType="Event")["StatusCode"], 202)
    until("the event to be done", lambda: os.path.exists(path))


def check_a_dry_run():
    path = os.path.join(WORK, "dry run came")
    same(invoke({"pid": path}, InvocationType="DryRun")["StatusCode"], 204)
    invoke({})
    assert not os.path.exists(path), "a dry run ran"
    refused("ResourceNotFoundException", lambda: functions.invoke(FunctionName="nobody", InvocationType="DryRun"))


def check_aws_lambda_invoke():
    out = os.path.join(WORK, "answer")
    said = aws("lambda", "invoke", "--function-name", FUNCTION, "--invocation-type", "RequestResponse",
               "--payload", '{"answer": "by cli"}', "--log-type", "Tail", "--query", "LogResult", "--output", "text", out)
    assert "REPORT RequestId: " in base64.b64decode(said).decode(), said
    with open(out, encoding="utf-8") as file:
        same(json.load(file), "by cli")


def check_what_is_shown_of_a_function():
    same([found["FunctionName"] for found in functions.list_functions()["Functions"]], [FUNCTION])
    found = functions.get_function_configuration(FunctionName=FUNCTION)
    same((found["Timeout"], found["Runtime"], found["Handler"]), (30, "provided.al2023", "bootstrap"))
    same(functions.get_function(FunctionName=FUNCTION)["Configuration"]["FunctionArn"], found["FunctionArn"])
