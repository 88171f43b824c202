"""S3: lists of 2,500 odd keys."""
from concurrent.futures import ThreadPoolExecutor

from common import BUCKET, client, refused, same

s3 = client("s3")
MANY = 2500
ODD = ["é", " a b", "+&=?#", "%2F%", "'\"<>", "映画🎬", "..", "a//b", "~", "\\"]
LONG = ("long/" + "ü" * 512)[:5 + 509] + "x"


def keys():
    """In S3's order, that of their bytes."""
    made = [f"list/{index % 25:02}/{ODD[index % len(ODD)]}/{index:04}" for index in range(MANY - 4)]
    made += ["list/a", "list/a/b", "list/../up", LONG]
    return sorted(made, key=lambda key: key.encode())


def prefixes(of, start):
    return [key for key in of if key.startswith(start)]


def listed(version, **options):
    pages = s3.get_paginator(version).paginate(Bucket=BUCKET, **options)
    found, common, count = [], [], 0
    for page in pages:
        found += [entry["Key"] for entry in page.get("Contents", [])]
        common += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        count += 1
    return found, common, count


def check_2500_odd_keys_are_put():
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode()), keys()))


def check_all_in_pages():
    for version in ("list_objects_v2", "list_objects"):
        found, _, pages = listed(version, Prefix="list/")
        same(found, prefixes(keys(), "list/"))
        same(pages, 3)


def check_a_delimiter():
    for version in ("list_objects_v2", "list_objects"):
        found, common, _ = listed(version, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 7})
        same(found, ["list/a"])
        same(common, sorted({f"list/{index:02}/" for index in range(25)} | {"list/a/", "list/../"}))


def check_pages_of_a_few():
    found, _, pages = listed("list_objects_v2", Prefix="list/07/", PaginationConfig={"PageSize": 9})
    same(found, prefixes(keys(), "list/07/"))
    same(pages, -(-len(found) // 9))


def check_start_after():
    inside = prefixes(keys(), "list/")
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter=inside[100], MaxKeys=3)
    same([entry["Key"] for entry in found["Contents"]], inside[101:104])
    same((found["IsTruncated"], found["KeyCount"]), (True, 3))


def check_odd_keys_hold_their_own_bytes():
    for key in [*prefixes(keys(), "list/00/"), "list/a", "list/a/b", "list/../up", LONG]:
        same(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read(), key.encode())
    refused("KeyTooLongError", lambda: s3.put_object(Bucket=BUCKET, Key="k" * 1025, Body=b""))


def check_keys_of_nothing_but_white_space():
    for key in (" ", "\t"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
        same(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read(), key.encode())
        s3.delete_object(Bucket=BUCKET, Key=key)
        refused("NoSuchKey", lambda: s3.get_object(Bucket=BUCKET, Key=key))


def check_deletion_by_the_thousand():
    left = keys()
    for start in range(0, len(left), 1000):
        answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in left[start:start + 1000]]})
        same((len(answer["Deleted"]), answer.get("Errors", [])), (len(left[start:start + 1000]), []))
    same(listed("list_objects_v2", Prefix="list/")[0], [])
