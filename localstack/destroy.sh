#!/usr/bin/env bash
# Takes a stack down. Films, outputs and ledger are kept and listed; with --with-data they are deleted as well.
#   AWS_ENDPOINT_URL  where it is [http://127.0.0.1:4566]; set and empty for AWS itself
#   STACK             the stack's name [fanreel]
. "$(dirname "$0")/common.sh"

with_data=no
case "${1:-}" in
    "") ;;
    --with-data) with_data=yes ;;
    *) echo "destroy: usage: destroy.sh [--with-data]" >&2; exit 2 ;;
esac

bucket="$(output Bucket)"
table="$(output Table)"
aws cloudformation delete-stack --stack-name "$STACK"
aws cloudformation wait stack-delete-complete --stack-name "$STACK"
# What sam uploaded of this stack to the bucket that it keeps for the account.
artifacts="$(STACK=aws-sam-cli-managed-default output SourceBucket 2>/dev/null || true)"
if [ -n "$artifacts" ] && [ "$artifacts" != None ]; then
    aws s3 rm --only-show-errors --recursive "s3://$artifacts/$STACK/"
fi

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
