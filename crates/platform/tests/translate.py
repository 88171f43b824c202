#!/usr/bin/env python3
"""Prints what the SAM transform makes of templates: a JSON object, by file name, of plain CloudFormation templates.

Run with PYTHONPATH=.tools/python. The transform takes code from S3 only, so local folders go in as `s3://local/<folder>`, as
`sam validate` does it, and come out as `{"S3Bucket": "local", "S3Key": "<folder>"}`.
"""
import json
import os
import posixpath
import sys

os.environ["AWS_DEFAULT_REGION"] = "us-east-1"

from samtranslator.parser.parser import Parser  # noqa: E402  (it asks for the region as it is loaded)
from samtranslator.translator.translator import Translator  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402


def translated(path):
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    functions = template.get("Globals", {}).get("Function", {})
    for properties in [functions, *(resource.get("Properties", {}) for resource in template["Resources"].values())]:
        for key in ("CodeUri", "ContentUri"):
            if key in properties:
                properties[key] = "s3://local/" + posixpath.normpath(properties[key])
    defaults = {name: parameter["Default"] for name, parameter in template.get("Parameters", {}).items()}
    return Translator({}, Parser()).translate(template, parameter_values=defaults)


def main():
    json.dump({os.path.basename(path): translated(path) for path in sys.argv[1:]}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
