"""S3: tags, lifecycle, buckets."""
import json

from common import BUCKET, aws, client, refused, same

s3 = client("s3")


def check_tags():
    s3.put_object(Bucket=BUCKET, Key="tagged", Body=b"t", Tagging="kind=film&state=new%20one")
    both = [{"Key": "kind", "Value": "film"}, {"Key": "state", "Value": "new one"}]
    same(s3.get_object_tagging(Bucket=BUCKET, Key="tagged")["TagSet"], both)
    same(s3.get_object(Bucket=BUCKET, Key="tagged")["TagCount"], 2)
    s3.put_object_tagging(Bucket=BUCKET, Key="tagged", Tagging={"TagSet": both[:1]})
    same(s3.get_object_tagging(Bucket=BUCKET, Key="tagged")["TagSet"], both[:1])
    s3.delete_object_tagging(Bucket=BUCKET, Key="tagged")
    same(s3.get_object_tagging(Bucket=BUCKET, Key="tagged")["TagSet"], [])


def check_lifecycle():
    rules = [{"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "work/"}, "Expiration": {"Days": 7}},
             {"ID": "parts", "Status": "Enabled", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}}]
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": rules})
    same(s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"], rules)
    s3.put_object(Bucket=BUCKET, Key="work/a", Body=b"")
    assert 'rule-id="old"' in s3.head_object(Bucket=BUCKET, Key="work/a")["Expiration"]
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    refused("NoSuchLifecycleConfiguration", lambda: s3.get_bucket_lifecycle_configuration(Bucket=BUCKET))


def check_buckets():
    name = "made-by-aws-cli"
    aws("s3", "mb", f"s3://{name}")
    s3.put_object(Bucket=name, Key="a", Body=b"")
    refused("BucketNotEmpty", lambda: s3.delete_bucket(Bucket=name))
    names = [bucket["Name"] for bucket in json.loads(aws("s3api", "list-buckets", "--output", "json"))["Buckets"]]
    same(sorted(names), sorted([BUCKET, name]))
    aws("s3", "rb", "--force", f"s3://{name}")
    refused(("NoSuchBucket", "404"), lambda: s3.head_bucket(Bucket=name))
