"""S3: objects."""
import hashlib
import os

from boto3.s3.transfer import TransferConfig

from common import BUCKET, WORK, aws, client, plain, refused, same

s3 = client("s3")
PART = 8 << 20
SIZE = 64 << 20


def film():
    """64 MB that are made once; parts of it that are mixed up do not go unseen."""
    path = os.path.join(WORK, "big")
    if not os.path.exists(path):
        block = os.urandom(1 << 20)
        with open(path, "wb") as out:
            for index in range(SIZE >> 20):
                out.write(index.to_bytes(4, "big") + block[4:])
    return path


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def whole():
    with open(film(), "rb") as file:
        return file.read()


def body(key, **options):
    return s3.get_object(Bucket=BUCKET, Key=key, **options)["Body"].read()


def check_64_mb_by_the_transfer_manager():
    s3.upload_file(film(), BUCKET, "big", Config=TransferConfig(multipart_chunksize=PART, max_concurrency=4),
                   ExtraArgs={"Metadata": {"who": "me"}, "ContentType": "video/mp4"})
    head = s3.head_object(Bucket=BUCKET, Key="big")
    same((head["ContentLength"], head["Metadata"], head["ContentType"]), (SIZE, {"who": "me"}, "video/mp4"))
    data = whole()
    parts = [hashlib.md5(data[at:at + PART]).digest() for at in range(0, SIZE, PART)]
    same(head["ETag"], f'"{hashlib.md5(b"".join(parts)).hexdigest()}-{len(parts)}"')
    back = os.path.join(WORK, "back")
    s3.download_file(BUCKET, "big", back, Config=TransferConfig(multipart_chunksize=PART, max_concurrency=4))
    with open(back, "rb") as file:
        same(sha256(file.read()), sha256(data))


def check_64_mb_by_aws_s3_cp():
    back = os.path.join(WORK, "back by cp")
    aws("s3", "cp", "--no-progress", film(), f"s3://{BUCKET}/by aws + cli/é.mp4")
    aws("s3", "cp", "--no-progress", f"s3://{BUCKET}/by aws + cli/é.mp4", back)
    with open(back, "rb") as file:
        same(sha256(file.read()), sha256(whole()))
    listed = aws("s3", "ls", f"s3://{BUCKET}/by aws + cli/")
    assert "é.mp4" in listed and str(SIZE) in listed, listed
    aws("s3", "rm", f"s3://{BUCKET}/by aws + cli/é.mp4")
    refused("NoSuchKey", lambda: s3.get_object(Bucket=BUCKET, Key="by aws + cli/é.mp4"))


def check_ranges():
    data = whole()
    same(body("big", Range="bytes=1000000-1999999"), data[1000000:2000000])
    same(body("big", Range=f"bytes={PART - 3}-{PART + 2}"), data[PART - 3:PART + 3])
    same(body("big", Range="bytes=-5"), data[-5:])
    same(body("big", Range=f"bytes={SIZE - 2}-{SIZE + 99}"), data[-2:])
    answer = s3.get_object(Bucket=BUCKET, Key="big", PartNumber=2)
    same((answer["ContentRange"], answer["PartsCount"]), (f"bytes {PART}-{2 * PART - 1}/{SIZE}", 8))
    refused(("InvalidRange", "416"), lambda: s3.get_object(Bucket=BUCKET, Key="big", Range=f"bytes={SIZE}-"))


def check_presigned_urls_by_plain_http():
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "by url/é +&.txt", "ContentType": "text/plain"})
    same(plain("PUT", url, b"by url", {"Content-Type": "text/plain"})[0], 200)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "by url/é +&.txt"})
    status, headers, read = plain("GET", url)
    same((status, headers["Content-Type"], read), (200, "text/plain", b"by url"))
    status, _, read = plain("GET", url.split("X-Amz-Signature=")[0] + "X-Amz-Signature=" + "0" * 64)
    same(status, 403)
    assert b"SignatureDoesNotMatch" in read, read
    same(plain("PUT", url, b"with a URL for reading")[0], 403)
    status, _, read = plain("GET", f"{url.split('?')[0]}")
    same(status, 403)
    assert b"AccessDenied" in read, read


def check_wrong_keys_are_refused():
    refused("SignatureDoesNotMatch", lambda: client("s3", aws_secret_access_key="wrong").list_buckets())
    refused("InvalidAccessKeyId", lambda: client("s3", aws_access_key_id="nobody").list_buckets())


def check_copies():
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "big"})
    same(sha256(body("copy")), sha256(whole()))
    head = s3.head_object(Bucket=BUCKET, Key="copy")
    same((head["Metadata"], head["ContentType"]), ({"who": "me"}, "video/mp4"))
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "big"}, MetadataDirective="REPLACE",
                   Metadata={"who": "you"})
    same(s3.head_object(Bucket=BUCKET, Key="copy")["Metadata"], {"who": "you"})
    refused("InvalidRequest", lambda: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "copy"}))
    refused("NoSuchKey", lambda: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "none"}))


def check_a_copy_in_parts():
    threshold = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    s3.copy({"Bucket": BUCKET, "Key": "big"}, BUCKET, "copy in parts", Config=threshold)
    same(s3.head_object(Bucket=BUCKET, Key="copy in parts")["ETag"][-3:-1], "-8")
    same(sha256(body("copy in parts")), sha256(whole()))


def check_an_upload_in_parts_by_hand():
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="by hand")["UploadId"]
    place = {"Bucket": BUCKET, "Key": "by hand", "UploadId": upload}
    first = s3.upload_part(**place, PartNumber=3, Body=bytes(5 << 20))["ETag"]
    last = s3.upload_part_copy(**place, PartNumber=7, CopySource={"Bucket": BUCKET, "Key": "big"}, CopySourceRange="bytes=0-9")
    same([part["PartNumber"] for part in s3.list_parts(**place)["Parts"]], [3, 7])
    same([found["Key"] for found in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]], ["by hand"])
    parts = [{"PartNumber": 3, "ETag": first}, {"PartNumber": 7, "ETag": last["CopyPartResult"]["ETag"]}]
    refused("InvalidPartOrder", lambda: s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts[::-1]}))
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
    same(body("by hand", Range=f"bytes={(5 << 20) - 1}-"), b"\0" + whole()[:10])
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="given up")["UploadId"]
    place = {"Bucket": BUCKET, "Key": "given up", "UploadId": upload}
    s3.abort_multipart_upload(**place)
    refused("NoSuchUpload", lambda: s3.upload_part(**place, PartNumber=1, Body=b"late"))


def check_conditional_writes():
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"1", IfNoneMatch="*")
    refused("PreconditionFailed", lambda: s3.put_object(Bucket=BUCKET, Key="once", Body=b"2", IfNoneMatch="*"))
    etag = s3.head_object(Bucket=BUCKET, Key="once")["ETag"]
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"2", IfMatch=etag)
    refused("PreconditionFailed", lambda: s3.put_object(Bucket=BUCKET, Key="once", Body=b"3", IfMatch=etag))
    refused("NoSuchKey", lambda: s3.put_object(Bucket=BUCKET, Key="never", Body=b"3", IfMatch=etag))
    same(body("once"), b"2")


def check_conditional_reads():
    etag = s3.head_object(Bucket=BUCKET, Key="once")["ETag"]
    same(body("once", IfMatch=etag), b"2")
    refused(("304", "NotModified"), lambda: s3.get_object(Bucket=BUCKET, Key="once", IfNoneMatch=etag))
    refused(("PreconditionFailed", "412"), lambda: s3.get_object(Bucket=BUCKET, Key="once", IfMatch='"no"'))
    refused(("304", "NotModified"), lambda: s3.head_object(Bucket=BUCKET, Key="once", IfNoneMatch=etag))


def check_checksums():
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        s3.put_object(Bucket=BUCKET, Key="sum", Body=b"sum", ChecksumAlgorithm=algorithm)
        head = s3.head_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
        assert head[f"Checksum{algorithm}"], head
    refused(("BadDigest", "InvalidRequest"), lambda: s3.put_object(Bucket=BUCKET, Key="sum", Body=b"other", ChecksumCRC32="AAAAAA=="))
    same(body("sum"), b"sum")


def check_headers_of_content():
    kept = {"CacheControl": "no-store", "ContentDisposition": 'attachment; filename="a.txt"', "ContentEncoding": "identity",
            "ContentLanguage": "de", "ContentType": "text/plain; charset=utf-8"}
    s3.put_object(Bucket=BUCKET, Key="headers", Body=b"h", **kept)
    answer = s3.get_object(Bucket=BUCKET, Key="headers")
    same({name: answer[name] for name in kept}, kept)
    same(s3.get_object(Bucket=BUCKET, Key="headers", ResponseContentType="a/b")["ContentType"], "a/b")
