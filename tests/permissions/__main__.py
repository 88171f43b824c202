#!/usr/bin/env python3
"""Holds what the functions asked of AWS's services, as platforms wrote it down, against the template's policies.

    python3 tests/permissions stack.json template.yaml platform.log...

Every call must be allowed, and every permission be used or else stand in `reasons.py`. Run with PYTHONPATH=.tools/python."""
import fnmatch
import json
import os
import re
import sys

from samtranslator.yaml_helper import yaml_parse

from reasons import REASONS

MARK = "platform::iam: "
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def recorded(logs):
    """What each function needed in any of these runs, once: [(function, action, ARN)]. Which actions a call needs is known in
    one place, the platform's table (crates/platform/src/iam/needs.rs)."""
    seen = set()
    for log in logs:
        with open(log, encoding="utf-8") as file:
            calls = [json.loads(line.split(MARK, 1)[1]) for line in file if MARK in line]
        if not calls:
            raise SystemExit(f"{log} tells of no calls: FANREEL_LOG=info,platform::iam=debug")
        seen |= {(call["caller"], action, arn) for call in calls if call["caller"] for action, arn in call["needs"]}
    return sorted(seen)


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(policy):
    """What a policy allows whoever has it; not who may take a role, or reach a resource."""
    document = policy["document"] if isinstance(policy["document"], dict) else {}
    given = listed(document.get("PolicyDocument", document).get("Statement", []))
    return [s for s in given if isinstance(s, dict) and s.get("Effect") == "Allow" and "Principal" not in s]


def roles(stack, template):
    """Rights of each role: [(action, ARN pattern)], its own and those of the template's policies that it takes."""
    policies, found = {}, {}
    for policy in stack["policies"]:
        policies.setdefault(policy["logical_id"], []).extend(statements(policy))
    for role in (name for name in policies if template[name]["Type"] == "AWS::IAM::Role"):
        taken = json.dumps(template[role]["Properties"].get("ManagedPolicyArns", []))
        theirs = [s for name, given in policies.items() if f'"{name}"' in taken for s in given]
        found[role] = [(action, arn) for s in [*policies[role], *theirs] for action in listed(s["Action"]) for arn in listed(s["Resource"])]
    return found


def covers(reason, permission):
    """Whether a reason speaks of a permission: (role, action, ARN pattern)."""
    roles, action, resource, _ = reason
    role, *rest = permission
    return (roles == "*" or role in roles.split()) and all(map(fnmatch.fnmatchcase, rest, (action, resource)))


def unfounded(reasons, permissions, used):
    """Permissions that nothing asks for and no reason is given for; reasons that give none, for a role at least, or are of what
    is asked for anyway."""
    for permission in sorted(permissions - used):
        if not any(covers(reason, permission) for reason in reasons):
            role, action, pattern = permission
            yield f"{role} allows {action} on {pattern}, which no run asked for: take it out, or give the reason in reasons.py"
    for reason in reasons:
        name, of = f"reasons.py: {' '.join(reason[:3])}", {p for p in permissions if covers(reason, p)}
        yield from (f"{name} is the reason of nothing {role} has" for role in reason[0].split() if role not in {"*", *(p[0] for p in of)})
        if not of:
            yield f"{name} is the reason of nothing"
        yield from (f"{name} needs no reason: {' '.join(p)} was asked for" for p in sorted(of & used))


# What `unfounded` finds of permissions a to d, of which b is asked for, with other reasons than these.
PERMISSIONS = {(role, action, "arn") for role, action in (("A", "s:a"), ("A", "s:b"), ("B", "s:c"), ("B", "t:d"))}
ASKED, ENOUGH = {("A", "s:b", "arn")}, [("A", "s:a", "*", ""), ("B", "[st]:*", "*", "")]
FAULTS = [
    ("B allows t:d on arn, which no run asked for", [ENOUGH[0], ("B", "s:*", "*", "")]),
    ("A s:b * needs no reason", [*ENOUGH, ("A", "s:b", "*", "")]),
    ("* s:* * needs no reason: A s:b arn was asked for", [*ENOUGH, ("*", "s:*", "*", "")]),
    ("* u:* * is the reason of nothing", [*ENOUGH, ("*", "u:*", "*", "")]),
    ("A B s:a * is the reason of nothing B has", [("A B", "s:a", "*", ""), ENOUGH[1]]),
]


def unseen():
    """What is not found of these."""
    found = [*unfounded(ENOUGH, PERMISSIONS, ASKED)]
    yield from (f"of good reasons: {sentence}" for sentence in found)
    for sentence, reasons in FAULTS:
        if not any(sentence in found for found in unfounded(reasons, PERMISSIONS, ASKED)):
            yield f"not found: {sentence}"


def main(page, path, *logs):
    with open(page, encoding="utf-8") as file:
        stack = json.load(file)
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())["Resources"]
    role_of = {f["name"]: template[f["logical_id"]]["Properties"]["Role"]["Fn::GetAtt"][0] for f in stack["functions"]}
    rights, calls = roles(stack, template), recorded(logs)
    wrong, used = [*unseen()], set()
    for function, action, arn in calls:
        role = role_of[function]
        fitting = {(role, a, pattern) for a, pattern in rights[role] if a == action and fnmatch.fnmatchcase(arn, pattern)}
        used |= fitting
        if not fitting:
            wrong.append(f"{function} asked for {action} on {arn}, which {role} does not allow")
    wrong += unfounded(REASONS, {(role, *pair) for role, pairs in rights.items() for pair in pairs}, used)
    for function in role_of:
        kinds = sorted({re.sub(r"^.*?:", "", action) for caller, action, _ in calls if caller == function})
        print(f"{function}: {', '.join(kinds) or 'nothing'}")
    told = f"{len(REASONS)} reasons"
    with open(os.path.join(ROOT, "docs/decisions/0033-policies-enforced.md"), encoding="utf-8") as file:
        if told not in file.read():
            wrong.append(f"docs/decisions/0033-policies-enforced.md does not say that there are {told}")
    print("\n".join(wrong) or f"{len(calls)} calls allowed, {len(used)} permissions used, {told} for the others")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
