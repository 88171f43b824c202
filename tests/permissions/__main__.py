#!/usr/bin/env python3
"""Holds what the functions asked of AWS's services, as the platform wrote it down, against the template's policies.

    python3 tests/permissions platform.log stack.json template.yaml

Every call must be allowed, and every permission be used or stand in `reasons.py`. Run with PYTHONPATH=.tools/python."""
import fnmatch
import json
import re
import sys

from samtranslator.yaml_helper import yaml_parse

from reasons import REASONS

MARK = "platform::iam: "


def recorded(log):
    """What each function needed, once: [(function, action, ARN)]. Which actions a call needs is known in one place, the
    platform's table (crates/platform/src/iam/needs.rs)."""
    seen = set()
    with open(log, encoding="utf-8") as file:
        for line in file:
            if MARK in line:
                call = json.loads(line.split(MARK, 1)[1])
                if call["caller"]:
                    seen |= {(call["caller"], action, arn) for action, arn in call["needs"]}
    return sorted(seen)


def listed(value):
    return value if isinstance(value, list) else [value]


def roles(stack):
    """Rights of each role: [(action, ARN pattern)]."""
    found = {}
    for policy in stack["policies"]:
        document = policy["document"].get("PolicyDocument", {}) if isinstance(policy["document"], dict) else {}
        for statement in listed(document.get("Statement", [])):
            if isinstance(statement, dict) and statement.get("Effect") == "Allow" and policy["logical_id"].endswith("Role"):
                pairs = [(action, arn) for action in listed(statement["Action"]) for arn in listed(statement["Resource"])]
                found.setdefault(policy["logical_id"], []).extend(pairs)
    return found


def main(log, page, path):
    with open(page, encoding="utf-8") as file:
        stack = json.load(file)
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())["Resources"]
    role_of = {f["name"]: template[f["logical_id"]]["Properties"]["Role"]["Fn::GetAtt"][0] for f in stack["functions"]}
    rights, calls = roles(stack), recorded(log)
    wrong, used = [], set()
    for function, action, arn in calls:
        role = role_of[function]
        fitting = {(role, a, pattern) for a, pattern in rights[role] if a == action and fnmatch.fnmatchcase(arn, pattern)}
        used |= fitting
        if not fitting:
            wrong.append(f"{function} asked for {action} on {arn}, which {role} does not allow")
    reasoned = set()
    for role, pairs in rights.items():
        for action, pattern in pairs:
            if (role, action, pattern) in used:
                continue
            reasons = [r for r in REASONS if all(map(fnmatch.fnmatchcase, (role, action, pattern), r[:3]))]
            reasoned |= set(reasons)
            if not reasons:
                wrong.append(f"{role} allows {action} on {pattern}, which no run asked for: take it out, or give the reason in reasons.py")
    wrong += [f"reasons.py: {' '.join(r[:3])} is the reason of nothing" for r in REASONS if r not in reasoned and template.keys() & {r[0]} and r[0] in rights]
    for function in role_of:
        kinds = sorted({re.sub(r"^.*?:", "", action) for caller, action, _ in calls if caller == function})
        print(f"{function}: {', '.join(kinds) or 'nothing'}")
    print("\n".join(wrong) or f"{len(calls)} calls allowed, {len(used)} permissions used, {len(reasoned)} reasons for the others")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
