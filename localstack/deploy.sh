#!/usr/bin/env bash
# Deploys what `make package` made to a LocalStack-compatible cloud, as `sam deploy` does it to AWS.
#   AWS_ENDPOINT_URL  where it is [http://127.0.0.1:4566]; set and empty for AWS itself
#   STACK             the stack's name [fanreel]
#   PACKAGE           the package [target/package]
#   AWS_REGION        [us-east-1; on AWS your profile's]
# Arguments are parameters of the template: LeaseSeconds=30. For clouds that do not mount layers: FfmpegPath=… FfprobePath=…
. "$(dirname "$0")/common.sh"

[ -f "$PACKAGE/template.yaml" ] || { echo "deploy: $PACKAGE is no package; make one with: make package" >&2; exit 2; }
cd "$PACKAGE"
# Such clouds speak HTTP, know no alarms on expressions, and MiniStack stumbles over bounds that are parameters. AWS does not.
[ -z "${AWS_ENDPOINT_URL:-}" ] || set -- TlsOnly=no Monitoring=no TranscodeConcurrency=0 JobConcurrency=0 "$@"
[ $# -eq 0 ] || set -- --parameter-overrides "$@"
sam deploy --stack-name "$STACK" --template-file template.yaml --resolve-s3 --s3-prefix "$STACK" --capabilities CAPABILITY_IAM \
    --no-progressbar --no-confirm-changeset --no-fail-on-empty-changeset --region "$AWS_REGION" "$@"
echo "deploy: upload a film: $(output Upload)"
