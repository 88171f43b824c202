#!/usr/bin/env bash
# Takes a stack down. Films, outputs and ledger are kept and listed; with --with-data they are deleted as well, on AWS after a
# question that --yes answers.
#   AWS_ENDPOINT_URL  where it is [http://127.0.0.1:4566]; set and empty for AWS itself
#   STACK             the stack's name [fanreel]
#   AWS_REGION        [us-east-1; on AWS your profile's]
. "$(dirname "$0")/common.sh"

# And what sam uploaded of it to the bucket that it keeps for the account.
delete_stack() {
    local artifacts
    aws cloudformation delete-stack --stack-name "$STACK"
    aws cloudformation wait stack-delete-complete --stack-name "$STACK"
    artifacts="$(STACK=aws-sam-cli-managed-default output SourceBucket 2>/dev/null || true)"
    if [ -n "$artifacts" ] && [ "$artifacts" != None ]; then
        aws s3 rm --only-show-errors --recursive "s3://$artifacts/$STACK/"
    fi
}

with_data=no
sure=no
for argument in "$@"; do
    case "$argument" in
        --with-data) with_data=yes ;;
        --yes) sure=yes ;;
        *) echo "destroy: usage: destroy.sh [--with-data [--yes]]" >&2; exit 2 ;;
    esac
done

bucket="$(output Bucket)"
table="$(output Table)"
# One that was never finished has no outputs, and no films.
if [ "$bucket" = None ] || [ "$table" = None ]; then
    status="$(aws cloudformation describe-stacks --stack-name "$STACK" --query 'Stacks[0].StackStatus' --output text)"
    case "$status" in
        ROLLBACK_COMPLETE | ROLLBACK_FAILED | CREATE_FAILED | REVIEW_IN_PROGRESS) ;;
        *)
            echo "destroy: stack $STACK in $AWS_REGION ($status) names no bucket and table: it is none of ours, or is just being made" >&2
            exit 2
            ;;
    esac
    kept="$(aws cloudformation describe-stack-resources --stack-name "$STACK" --output text \
        --query "StackResources[?LogicalResourceId=='Bucket' || LogicalResourceId=='Table'].PhysicalResourceId")"
    delete_stack
    echo "destroy: stack $STACK was never finished and is gone.${kept:+ Look whether these were left: $kept}"
    exit 0
fi
if [ "$with_data" = yes ] && [ "$sure" = no ] && [ -z "${AWS_ENDPOINT_URL:-}" ]; then
    account="$(aws sts get-caller-identity --query Account --output text)"
    echo "destroy: this deletes stack $STACK of account $account in $AWS_REGION, every film and result in s3://$bucket, and table $table." >&2
    printf 'destroy: type the name of the stack to go on: ' >&2
    read -r answer || answer=""
    [ "$answer" = "$STACK" ] || { echo "destroy: nothing was deleted" >&2; exit 2; }
fi
delete_stack

if [ "$with_data" = no ]; then
    echo "destroy: what ran is gone. Kept:"
    for prefix in uploads/ streams/ encoded/ jobs/; do
        count="$(aws s3api list-objects-v2 --bucket "$bucket" --prefix "$prefix" --query 'length(Contents || `[]`)' --output text | sum)"
        echo "  s3://$bucket/$prefix  $count objects"
    done
    count="$(aws dynamodb scan --table-name "$table" --select COUNT --query Count --output text | sum)"
    echo "  table $table  $count items"
    echo "destroy: to delete them: aws s3 rb --force s3://$bucket && aws dynamodb delete-table --table-name $table"
    exit 0
fi
aws s3 rm --only-show-errors --recursive "s3://$bucket"
# Parts of uploads that were never completed stand in no list of objects.
aws s3api list-multipart-uploads --bucket "$bucket" --query 'Uploads[].[Key,UploadId]' --output text | while IFS=$'\t' read -r key id; do
    [ -z "$id" ] || aws s3api abort-multipart-upload --bucket "$bucket" --key "$key" --upload-id "$id"
done
aws s3api delete-bucket --bucket "$bucket"
aws dynamodb delete-table --table-name "$table" >/dev/null
aws dynamodb wait table-not-exists --table-name "$table"
echo "destroy: stack $STACK, bucket $bucket and table $table are gone"
