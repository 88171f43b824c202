# What the scripts share: where the cloud is and how its tools are called. Sourced, not run.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
STACK="${STACK:-fanreel}"
PACKAGE="${PACKAGE:-$ROOT/target/package}"
export AWS_PAGER="" SAM_CLI_TELEMETRY=0

# The programs that `make tools` has installed for the tests, or those of this machine.
tools="$ROOT/.tools"
if [ -f "$tools/python/installed" ]; then aws=(env "PYTHONPATH=$tools/python" python3 -m awscli); else aws=(command aws); fi
if [ -f "$tools/cloud/installed" ]; then sam=(env "PYTHONPATH=$tools/cloud" python3 -m samcli); else sam=(command sam); fi
aws() { "${aws[@]}" "$@"; }
sam() { "${sam[@]}" "$@"; }

# AWS itself is the cloud where AWS_ENDPOINT_URL is set and empty.
export AWS_ENDPOINT_URL="${AWS_ENDPOINT_URL-http://127.0.0.1:4566}"
if [ -n "$AWS_ENDPOINT_URL" ]; then
    AWS_REGION="${AWS_REGION:-us-east-1}"
    export AWS_ACCESS_KEY_ID="${AWS_ACCESS_KEY_ID:-test}" AWS_SECRET_ACCESS_KEY="${AWS_SECRET_ACCESS_KEY:-test}"
else
    unset AWS_ENDPOINT_URL
    # Whatever a person's profile says: a stack of the same name elsewhere is another's.
    AWS_REGION="${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}"
    if [ -z "$AWS_REGION" ]; then
        echo "$(basename "$0" .sh): in which region? Set AWS_REGION, or one for your profile with: aws configure" >&2
        exit 2
    fi
fi
export AWS_REGION AWS_DEFAULT_REGION="$AWS_REGION"

# Sum of the numbers that come in: the AWS CLI applies a --query with --output text to every page of an answer.
sum() { awk '{ n += $1 } END { printf "%d\n", n }'; }

# An output of the stack.
output() {
    aws cloudformation describe-stacks --stack-name "$STACK" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue | [0]"
}
