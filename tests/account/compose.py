"""What `localstack/compose.yaml` must have for our scripts and our template, read as Docker reads it, and that it is missed
where it is not there."""
import copy
import os
import re

import yaml

from rules import ROOT
from stack import Stack

# All that a stack may have on such a cloud: what deploy.sh leaves out there is off.
PARAMETERS = {"Monitoring": "no", "TlsOnly": "no", "Tracing": "yes", "SourceBucket": "films-of-mine", "DoorSecret": "a-secret-of-yours"}
# What sam and the scripts call beside the services of the template.
BESIDE = {"cloudformation", "sts"}


def lacks(document, services, address):
    """`services`: those that a stack needs. `address`: where the scripts look for the cloud."""
    if list(document["services"]) != ["localstack"]:
        yield f"{list(document['services'])} are started"
    service = document["services"]["localstack"]
    if not re.fullmatch(r"localstack/localstack:\d+(\.\d+)+", service["image"]):
        yield f"its image is not pinned: {service['image']}"
    yield from (f"its port {port} is open to other machines" for port in service["ports"] if not str(port).startswith("127.0.0.1:"))
    if f"{address}:4566" not in service["ports"]:
        yield f"it is not at {address}, where localstack/common.sh looks for it"
    variables = service["environment"]
    if not re.fullmatch(r"\$\{LOCALSTACK_AUTH_TOKEN:\?.+\}", variables.get("LOCALSTACK_AUTH_TOKEN", "")):
        yield "it starts without a token of its account, and says so late"
    # Others cannot be used (LocalStack, "Configuration", SERVICES).
    missing = services - set(variables.get("SERVICES", "").split(","))
    yield from (f"it has no {name}, which the template asks for" for name in sorted(missing))
    if "/var/run/docker.sock:/var/run/docker.sock" not in service.get("volumes", []):
        yield "it cannot start functions, which run in containers of their own"


# Changes of its service, each with a word of what is missed then.
FAULTS = [
    ("pinned", lambda service: service.update(image="localstack/localstack:latest")),
    ("pinned", lambda service: service.update(image="localstack/localstack")),
    ("other machines", lambda service: service["ports"].append("4510:4510")),
    ("common.sh", lambda service: service.update(ports=["127.0.0.1:4567:4566"])),
    ("token", lambda service: service["environment"].pop("LOCALSTACK_AUTH_TOKEN")),
    ("token", lambda service: service["environment"].update(LOCALSTACK_AUTH_TOKEN="${LOCALSTACK_AUTH_TOKEN}")),
    ("no apigatewayv2", lambda service: service["environment"].update(SERVICES="s3,sqs,dynamodb,lambda,iam,logs,events,cloudformation,sts")),
    ("no sqs", lambda service: service["environment"].pop("SERVICES")),
    ("containers", lambda service: service.pop("volumes")),
]


def wrong(template):
    def read(name):
        with open(os.path.join(ROOT, "localstack", name), encoding="utf-8") as file:
            return file.read()
    document = yaml.safe_load(read("compose.yaml"))
    services = BESIDE | {r["Type"].split("::")[1].lower() for r in Stack(template, PARAMETERS).resources.values()}
    address = re.search(r"AWS_ENDPOINT_URL-http://([\d.:]+)\}", read("common.sh"))[1]
    yield from (f"localstack/compose.yaml: {sentence}" for sentence in lacks(document, services, address))
    for number, (word, change) in enumerate(FAULTS):
        broken = copy.deepcopy(document)
        change(broken["services"]["localstack"])
        if not any(word in sentence for sentence in lacks(broken, services, address)):
            yield f"change {number} of localstack/compose.yaml is not missed: {word}"
