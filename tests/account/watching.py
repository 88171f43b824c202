"""What we promise of how the stack is watched, and of parameters that switch something on: that they do."""
import json
import os
import re

from rules import ROOT, allows, mappings, role_of, rule
from stack import named, one

BACKLOG = "ApproximateAgeOfOldestMessage"
LETTERS = ("ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible")


def watched(alarm, metric):
    """What an alarm sees of a metric: the resource of each measurement that is part of its answer."""
    for entry in alarm["Metrics"]:
        measured = entry.get("MetricStat", {}).get("Metric", {})
        formulas = " ".join(other["Expression"] for other in alarm["Metrics"] if "Expression" in other)
        counts = entry.get("ReturnData") or "METRICS()" in formulas or re.search(rf"\b{entry['Id']}\b", formulas)
        if measured.get("MetricName") == metric and counts:
            yield from named([d["Value"] for d in measured["Dimensions"]]) or {""}


def seen(stack, metric, **limit):
    """What alarms with these properties see of a metric."""
    alarms = [a for a in stack.of("AWS::CloudWatch::Alarm").values() if limit.items() <= a.items()]
    return {resource for alarm in alarms for resource in watched(alarm, metric)}


@rule
def alarms_see(stack):
    """Whatever may go wrong in silence, at its first sign."""
    above = {"ComparisonOperator": "GreaterThanThreshold"}
    queues, letters = {q for _, _, _, q in mappings(stack)}, {one(q["RedrivePolicy"]["deadLetterTargetArn"]) for q in stack.of("AWS::SQS::Queue").values() if "RedrivePolicy" in q}
    yield from (f"{id}: nobody hears that its messages wait" for id in queues - letters - seen(stack, BACKLOG, Threshold=3600, **above))
    for metric in LETTERS:
        yield from (f"{id}: nobody hears of its {metric}" for id in (letters & queues) - seen(stack, metric, Threshold=0, **above))
    functions = set(stack.of("AWS::Lambda::Function"))
    for metric in ("Errors", "Throttles"):
        yield from (f"{id}: nobody hears of its {metric}" for id in functions - seen(stack, metric, Threshold=0, **above))
    escalations = {id for id in queues if "Escalation" in id}
    yield from (f"{id}: nobody hears of what waits for a person" for id in escalations - seen(stack, "NumberOfMessagesSent", Threshold=0, **above))
    scheduled = {one(t["Arn"]) for r in stack.of("AWS::Events::Rule").values() if "ScheduleExpression" in r for t in r["Targets"]}
    missed = seen(stack, "Invocations", ComparisonOperator="LessThanThreshold", Threshold=1, TreatMissingData="breaching")
    yield from (f"{id}: nobody hears that it does not run any more" for id in scheduled - missed)


@rule
def switches(stack):
    """Each parameter that switches something on does."""
    on = stack.parameters
    functions = stack.of("AWS::Lambda::Function")
    for id, function in functions.items():
        traced = function.get("TracingConfig", {}).get("Mode") == "Active"
        may = any("xray:PutTraceSegments" in s["Action"] for s in allows(stack, role_of(stack, function)))
        if (traced, may) != (on["Tracing"] == "yes",) * 2:
            yield f"{id}: Tracing={on['Tracing'] or 'no'}, and it {'is' if traced else 'is not'} traced and {'may' if may else 'may not'} tell"
    for id, mapping, function, queue in mappings(stack):
        transcodes = "Transcode" in queue
        pollers = mapping.get("ProvisionedPollerConfig", {}).get("MinimumPollers")
        if transcodes and str(pollers or 0) != on["ProvisionedPollers"]:
            yield f"{id}: ProvisionedPollers={on['ProvisionedPollers']}, and it has {pollers}"
        bound = on["TranscodeConcurrency" if transcodes else "JobConcurrency"]
        if pollers is None and str(mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 0)) != bound:
            yield f"{id}: its bound is not {bound}"
    mails = [s["Endpoint"] for s in stack.of("AWS::SNS::Subscription").values()]
    if mails != [on["AlarmEmail"]] * bool(on["AlarmEmail"]):
        yield f"AlarmEmail={on['AlarmEmail']}, and {mails} are told"
    limits = [b["Budget"]["BudgetLimit"]["Amount"] for b in stack.of("AWS::Budgets::Budget").values()]
    if limits != [on["MonthlyBudget"]] * (on["MonthlyBudget"] not in ("", "0")):
        yield f"MonthlyBudget={on['MonthlyBudget']}, and the budgets are {limits}"
    account = [a for a in stack.of("AWS::CloudWatch::Alarm").values() if list(watched(a, "ConcurrentExecutions"))]
    if [str(a["Threshold"]) for a in account] != [on["ConcurrencyAlarm"]] * (on["ConcurrencyAlarm"] not in ("", "0")):
        yield f"ConcurrencyAlarm={on['ConcurrencyAlarm']}, and the account's concurrency is watched by {len(account)} alarms"


@rule
def only_clouds(stack):
    """What our platform notes and does not run stands behind a condition, for clouds that know it not."""
    with open(os.path.join(ROOT, "crates/platform/src/template/kinds.rs"), encoding="utf-8") as file:
        noted = set(re.findall(r'"(AWS::\w+::\w+)"', re.search(r"const NOTED.*?\];", file.read(), re.S)[0]))
    for id, resource in stack.source["Resources"].items():
        if resource["Type"] in noted and "Condition" not in resource:
            yield f"{id}: {resource['Type']} cannot be left out"


SUBJECTS = ("Jobs by where they got to", "Seconds from QUEUED to COMPLETED or PARTIAL", "Messages that wait", "Age of the oldest message, seconds",
            "Environments at work", "Longest invocation, milliseconds", "Invocations that failed",
            "Lambda by the second (x86_64 list price, without requests)")


def written(text):
    """What the text of an `Fn::Sub` becomes, with the logical ids of what it names in the place of their names."""
    text, own = text if isinstance(text, list) else (text, {})
    own = {name: written(value["Fn::Sub"]) if isinstance(value, dict) else value for name, value in own.items()}
    return re.sub(r"\$\{([\w.:]+)\}", lambda name: own.get(name[1], name[1]), text)


@rule
def dashboard(stack):
    """It is JSON, has its subjects, looks at every queue of a job and every function that there is, and prices seconds by what
    a function has."""
    with open(os.path.join(ROOT, "crates/pipeline/src/cost/prices.json"), encoding="utf-8") as file:
        price = json.load(file)["lambda_gb_second"]
    for id, board in stack.of("AWS::CloudWatch::Dashboard").items():
        try:
            widgets = {w["properties"]["title"]: w["properties"] for w in json.loads(written(board["DashboardBody"]["Fn::Sub"]))["widgets"]}
        except ValueError as error:
            yield f"{id}: {error}"
            continue
        yield from (f"{id}: nothing of {subject!r}" for subject in SUBJECTS if subject not in widgets)
        cost = widgets.get(SUBJECTS[-1], {"metrics": []})["metrics"]
        expression = next((m[0]["expression"] for m in cost if isinstance(m[0], dict)), "")
        memory = {m[4]["id"]: int(stack.of("AWS::Lambda::Function")[m[3]]["MemorySize"]) for m in cost if not isinstance(m[0], dict)}
        if {k: int(v) for k, v in re.findall(r"(d\d) \* (\d+)", expression)} != memory or not expression.endswith(f"/ 1000 / 1024 * {price:.10f}"):
            yield f"{id}: prices {expression!r} where functions have {memory} MB and a GB-second costs {price}"
        functions = set(stack.of("AWS::Lambda::Function"))
        queues = {q for _, _, _, q in mappings(stack)} - {"DeadLetterQueue", "EscalationQueue"}
        for subject, wanted in zip(SUBJECTS[2:], (queues, queues, functions, functions, functions, functions)):
            there = json.dumps(widgets.get(subject, {}))
            yield from (f"{id}: {subject!r} without {name}" for name in wanted if not re.search(rf'"{name}[".]', there))
        failed = widgets.get("Invocations that failed", {"metrics": []})["metrics"]
        counted = set(re.findall(r"[ei]\d", json.dumps([m[0]["expression"] for m in failed if isinstance(m[0], dict)])))
        if counted != {m[4]["id"] for m in failed if not isinstance(m[0], dict)}:
            yield f"{id}: the share of invocations that failed counts {sorted(counted)}"
