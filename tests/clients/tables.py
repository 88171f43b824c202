"""DynamoDB."""
import time

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from common import aws, client, refused, same, until

dynamodb = client("dynamodb")
NAME = "films"


def item(**values):
    return {name: TypeSerializer().serialize(value) for name, value in values.items()}


def plain(found):
    return {name: TypeDeserializer().deserialize(value) for name, value in found.items()}


def get(**key):
    found = dynamodb.get_item(TableName=NAME, Key=item(**key), ConsistentRead=True).get("Item")
    return plain(found) if found else None


def check_a_table():
    dynamodb.create_table(
        TableName=NAME, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in (("pk", "S"), ("sk", "S"), ("year", "N"))],
        GlobalSecondaryIndexes=[{"IndexName": "years", "Projection": {"ProjectionType": "ALL"}, "KeySchema": [
            {"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "year", "KeyType": "RANGE"}]}])
    dynamodb.get_waiter("table_exists").wait(TableName=NAME)
    refused("ResourceInUseException", lambda: dynamodb.create_table(
        TableName=NAME, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}]))
    assert NAME in aws("dynamodb", "list-tables"), "aws dynamodb list-tables does not show it"


def check_conditional_writes():
    dynamodb.put_item(TableName=NAME, Item=item(pk="a", sk="1", n=1), ConditionExpression="attribute_not_exists(pk)")
    refused("ConditionalCheckFailedException", lambda: dynamodb.put_item(
        TableName=NAME, Item=item(pk="a", sk="1"), ConditionExpression="attribute_not_exists(pk)"))
    answer = dynamodb.update_item(TableName=NAME, Key=item(pk="a", sk="1"), UpdateExpression="ADD done :d SET n = n + :one",
                                  ExpressionAttributeValues={":d": {"NS": ["7"]}, ":one": {"N": "1"}}, ReturnValues="UPDATED_NEW")
    same(plain(answer["Attributes"]), {"done": {7}, "n": 2})
    refused("ConditionalCheckFailedException", lambda: dynamodb.delete_item(
        TableName=NAME, Key=item(pk="a", sk="1"), ConditionExpression="n = :one", ExpressionAttributeValues={":one": {"N": "1"}}))
    same(get(pk="a", sk="1"), {"pk": "a", "sk": "1", "n": 2, "done": {7}})


def check_a_query_on_an_index():
    for year in range(1920, 1940):
        dynamodb.put_item(TableName=NAME, Item=item(pk="q", sk=f"film {year}", year=year, even=year % 2 == 0))
    pages = dynamodb.get_paginator("query").paginate(
        TableName=NAME, IndexName="years", KeyConditionExpression="pk = :q AND #y BETWEEN :from AND :to", FilterExpression="even = :yes",
        ExpressionAttributeNames={"#y": "year"}, ScanIndexForward=False, PaginationConfig={"PageSize": 3},
        ExpressionAttributeValues=item(**{":q": "q", ":from": 1925, ":to": 1932, ":yes": True}))
    same([int(plain(found)["year"]) for page in pages for found in page["Items"]], [1932, 1930, 1928, 1926])


def check_transactions():
    put = lambda key, **more: {"Put": {"TableName": NAME, "Item": item(pk="t", sk=key), **more}}
    dynamodb.transact_write_items(TransactItems=[put("1"), put("2")])
    refused("TransactionCanceledException", lambda: dynamodb.transact_write_items(
        TransactItems=[put("3"), put("1", ConditionExpression="attribute_not_exists(pk)")]))
    same((get(pk="t", sk="3"), get(pk="t", sk="2")), (None, {"pk": "t", "sk": "2"}))
    read = dynamodb.transact_get_items(TransactItems=[{"Get": {"TableName": NAME, "Key": item(pk="t", sk=key)}} for key in "12"])
    same([plain(found["Item"])["sk"] for found in read["Responses"]], ["1", "2"])


def check_batches():
    puts = [{"PutRequest": {"Item": item(pk="b", sk=f"{n:02}")}} for n in range(25)]
    same(dynamodb.batch_write_item(RequestItems={NAME: puts})["UnprocessedItems"], {})
    keys = [item(pk="b", sk=f"{n:02}") for n in range(0, 30)]
    found = dynamodb.batch_get_item(RequestItems={NAME: {"Keys": keys}})["Responses"][NAME]
    same(sorted(plain(one)["sk"] for one in found), [f"{n:02}" for n in range(25)])
    refused("ValidationException", lambda: dynamodb.batch_write_item(RequestItems={NAME: [*puts, *puts[:1]]}))


def check_time_to_live():
    dynamodb.update_time_to_live(TableName=NAME, TimeToLiveSpecification={"AttributeName": "expires", "Enabled": True})
    same(dynamodb.describe_time_to_live(TableName=NAME)["TimeToLiveDescription"],
         {"AttributeName": "expires", "TimeToLiveStatus": "ENABLED"})
    dynamodb.put_item(TableName=NAME, Item=item(pk="x", sk="kept", expires=int(time.time()) + 3600))
    same(get(pk="x", sk="kept")["sk"], "kept")


def check_a_scan_and_the_end():
    pages = dynamodb.get_paginator("scan").paginate(TableName=NAME, PaginationConfig={"PageSize": 7})
    same(sum(len(page["Items"]) for page in pages), 1 + 20 + 2 + 25 + 1)
    dynamodb.delete_table(TableName=NAME)
    until("the table to go", lambda: NAME not in dynamodb.list_tables()["TableNames"])
    refused("ResourceNotFoundException", lambda: dynamodb.get_item(TableName=NAME, Key=item(pk="a", sk="1")))
