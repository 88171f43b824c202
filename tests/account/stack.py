"""A template as CloudFormation gets it: through AWS's own SAM transform, with parameters and conditions decided.

What a resource's name or ARN will be is known to AWS alone, so `Ref` and `Fn::GetAtt` of resources stay as they are."""
import copy
import os
import posixpath

os.environ["AWS_DEFAULT_REGION"] = "us-east-1"

from samtranslator.parser.parser import Parser  # noqa: E402  (it asks for the region as it is loaded)
from samtranslator.translator.translator import Translator  # noqa: E402

ABSENT = object()
PSEUDO = {"AWS::Region": "us-east-1", "AWS::AccountId": "111122223333", "AWS::Partition": "aws",
          "AWS::StackName": "fanreel", "AWS::URLSuffix": "amazonaws.com"}


class Stack:
    """Resources that there are, by logical id, with what parameters decide decided."""

    def __init__(self, template, parameters=None):
        self.source = template
        self.parameters = {name: str(p.get("Default", "")) for name, p in template.get("Parameters", {}).items()}
        self.parameters.update(parameters or {})
        plain = translated(template, self.parameters)
        self.conditions = plain.get("Conditions", {})
        self.plain = plain
        there = {id: r for id, r in plain["Resources"].items() if "Condition" not in r or self.holds(r["Condition"])}
        self.resources = {id: {**r, "Properties": self.decided(r.get("Properties", {}))} for id, r in there.items()}

    def of(self, kind):
        return {id: r["Properties"] for id, r in self.resources.items() if r["Type"] == kind}

    def holds(self, name):
        return self.judged(self.conditions[name])

    def judged(self, test):
        (function, value), = test.items()
        if function == "Condition":
            return self.holds(value)
        if function == "Fn::Equals":
            left, right = (str(self.decided(side)) for side in value)
            return left == right
        each = [self.judged(part) for part in value]
        return {"Fn::Not": lambda: not each[0], "Fn::And": lambda: all(each), "Fn::Or": lambda: any(each)}[function]()

    def decided(self, value):
        """`value` without conditions and parameters; what is absent is left out."""
        if isinstance(value, list):
            return [item for item in map(self.decided, value) if item is not ABSENT]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Fn::If"}:
            name, yes, no = value["Fn::If"]
            return self.decided(yes if self.holds(name) else no)
        if set(value) == {"Ref"}:
            name = value["Ref"]
            if name == "AWS::NoValue":
                return ABSENT
            return self.parameters.get(name, PSEUDO.get(name, value))
        if set(value) == {"Fn::Sub"} and isinstance(value["Fn::Sub"], str):
            text = value["Fn::Sub"]
            for name, known in {**self.parameters, **PSEUDO}.items():
                text = text.replace("${" + name + "}", known)
            return {"Fn::Sub": text} if "${" in text else text
        return {key: item for key, item in ((key, self.decided(item)) for key, item in value.items()) if item is not ABSENT}


def translated(template, parameters):
    """The transform takes code from S3 only, so local folders go in as `s3://local/<folder>`, as `sam validate` does it."""
    template = copy.deepcopy(template)
    functions = template.get("Globals", {}).get("Function", {})
    for properties in [functions, *(resource.get("Properties", {}) for resource in template["Resources"].values())]:
        for key in ("CodeUri", "ContentUri"):
            if key in properties:
                properties[key] = "s3://local/" + posixpath.normpath(properties[key])
    return Translator({}, Parser()).translate(template, parameter_values=dict(parameters))


def named(value):
    """Logical ids that a value names by `Ref`, `Fn::GetAtt` or `Fn::Sub`."""
    found = set()
    if isinstance(value, list):
        for item in value:
            found |= named(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "Ref":
                found.add(item)
            elif key == "Fn::GetAtt":
                found.add(item[0] if isinstance(item, list) else item.split(".")[0])
            elif key == "Fn::Sub":
                text = item if isinstance(item, str) else item[0]
                found |= {part.split("}")[0].split(".")[0] for part in text.split("${")[1:] if not part.startswith("!")}
                found |= named(item[1]) if isinstance(item, list) else set()
            else:
                found |= named(item)
    return found


def one(value):
    """The logical id that a value is, or the value."""
    names = named(value)
    return names.pop() if len(names) == 1 else value


def listed(value):
    return value if isinstance(value, list) else [value]
