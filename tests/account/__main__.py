#!/usr/bin/env python3
"""Reads a template as a new AWS account would, and shows of every rule that it refuses what it is there for, and that people
are told of it; and reads what starts LocalStack, a cloud like AWS, against the same template.

Run with PYTHONPATH=.tools/python: `python3 tests/account template.yaml`."""
import copy
import logging
import os
import re
import sys

from samtranslator.yaml_helper import yaml_parse

import compose
import promises  # noqa: F401  (adds its rules)
import watching  # noqa: F401  (likewise)
from faults import FAULTS
from rules import ROOT, RULES
from stack import Stack

# Everything off, and everything on.
PARAMETERS = [
    {},
    {"ProvisionedPollers": "20", "Tracing": "yes", "SourceBucket": "films-of-mine", "SourcePrefix": "in/", "AlarmEmail": "a@example.com",
     "DoorSecret": "a-secret-of-yours", "ConcurrencyAlarm": "500", "MonthlyBudget": "100"},
]


def refusals(template):
    """What is refused, by rule."""
    found = {}
    for parameters in PARAMETERS:
        stack = Stack(template, parameters)
        for name, check in RULES.items():
            for sentence in check(stack):
                found.setdefault(name, []).append(sentence)
    return found


def told():
    """What the docs say of the rules that is not so."""
    def text(path):
        with open(os.path.join(ROOT, "docs", path), encoding="utf-8") as file:
            return file.read()
    refused = {name for name, check in RULES.items() if check.__module__ == "rules"}
    listed = set(re.findall(r"`([a-z_]+)`", text("deploy.md").split("\n## What a new account refuses\n")[1].split("\n## ")[0]))
    yield from (f"docs/deploy.md does not tell of `{name}`" for name in sorted(refused - listed))
    yield from (f"docs/deploy.md tells of `{name}`, which is no rule" for name in sorted(listed - refused))
    for count in (f"{len(RULES)} rules", f"{len(FAULTS)} changes"):
        if count not in text("decisions/0028-deploying.md"):
            yield f"docs/decisions/0028-deploying.md does not say that there are {count}"


def main(path):
    logging.disable()  # The transform speaks of metrics that it does not send.
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    wrong = [f"{path}: {name}: {sentence}" for name, sentences in refusals(template).items() for sentence in dict.fromkeys(sentences)]
    for number, (name, change) in enumerate(FAULTS):
        broken = copy.deepcopy(template)
        change(broken)
        # Most are refused with everything off: the transform takes longer than all rules.
        if not any(any(RULES[name](Stack(broken, parameters))) for parameters in PARAMETERS):
            wrong.append(f"change {number} of the template is not refused by `{name}`, which is there for it")
    untried = set(RULES) - {name for name, _ in FAULTS}
    wrong += [f"nothing shows that `{name}` refuses anything: add a change to faults.py" for name in sorted(untried)]
    wrong += [*told(), *compose.wrong(template)]
    print("\n".join(wrong) or f"{len(RULES)} rules, {len(FAULTS)} changes that they refuse")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
