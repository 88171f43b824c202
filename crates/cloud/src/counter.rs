//! Counts what is asked of S3, SQS and DynamoDB: once for every try that is sent, at the one place that all calls go through.
//!
//! DynamoDB is asked to say what each call took (`ReturnConsumedCapacity`, in the answer and for nothing): only it knows how
//! large an item was and which indexes it is in.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::{
    operation::{
        batch_write_item::{BatchWriteItemInput, BatchWriteItemOutput},
        get_item::{GetItemInput, GetItemOutput},
        put_item::{PutItemInput, PutItemOutput},
        query::{QueryInput, QueryOutput},
        update_item::{UpdateItemInput, UpdateItemOutput},
    },
    types::{ConsumedCapacity, ReturnConsumedCapacity},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
                BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextRef, Output,
            },
        },
        orchestrator::Metadata,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use pipeline::{ports::Meter, usage::Requests};

/// What the clients that share it asked so far.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<Mutex<Requests>>);

impl Counter {
    fn add(&self, more: Requests) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all = all.plus(more);
    }
}

impl Meter for Counter {
    fn asked(&self) -> Requests {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let wanted = Some(ReturnConsumedCapacity::Total);
        let input = context.input_mut();
        if let Some(input) = input.downcast_mut::<GetItemInput>() {
            input.return_consumed_capacity = wanted;
        } else if let Some(input) = input.downcast_mut::<QueryInput>() {
            input.return_consumed_capacity = wanted;
        } else if let Some(input) = input.downcast_mut::<PutItemInput>() {
            input.return_consumed_capacity = wanted;
        } else if let Some(input) = input.downcast_mut::<UpdateItemInput>() {
            input.return_consumed_capacity = wanted;
        } else if let Some(input) = input.downcast_mut::<BatchWriteItemInput>() {
            input.return_consumed_capacity = wanted;
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let header = |name| request.headers().get(name).and_then(|text| text.parse().ok());
        // Of a body that goes in chunks with a checksum behind it, the first is what is stored.
        let bytes = header("x-amz-decoded-content-length").or_else(|| request.body().content_length()).unwrap_or(0);
        self.add(config.load::<Metadata>().map_or_else(Requests::default, |operation| sent(operation.service(), operation.name(), bytes)));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if config.load::<Metadata>().is_some_and(|operation| operation.name() == "GetObject") {
            let length = context.response().headers().get("content-length").and_then(|text| text.parse().ok());
            self.add(Requests { from_s3_bytes: length.unwrap_or(0), ..Requests::default() });
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let taken = context.output_or_error().ok().and_then(capacity);
        self.add(config.load::<Metadata>().map_or_else(Requests::default, |operation| written_or_read(operation.name(), taken)));
        Ok(())
    }
}

/// A request's class ("Amazon S3 pricing", "Requests & data retrievals").
fn sent(service: &str, operation: &str, bytes: u64) -> Requests {
    let none = Requests::default();
    match (service.to_ascii_lowercase().as_str(), operation) {
        ("s3", "GetObject" | "HeadObject" | "HeadBucket") => Requests { s3_get: 1, ..none },
        ("s3", "DeleteObject" | "DeleteObjects" | "AbortMultipartUpload") => Requests { s3_free: 1, ..none },
        ("s3", "PutObject" | "UploadPart") => Requests { s3_put: 1, to_s3_bytes: bytes, ..none },
        // Copies, the beginning and the end of an upload, lists; and whatever is dear, should it be asked one day.
        ("s3", _) => Requests { s3_put: 1, ..none },
        ("sqs", _) => Requests { sqs: 1, ..none },
        _ => none,
    }
}

/// Units that an answer says it took, in total.
fn capacity(output: &Output) -> Option<f64> {
    let one = |taken: &Option<ConsumedCapacity>| taken.as_ref().and_then(|taken| taken.capacity_units);
    if let Some(output) = output.downcast_ref::<GetItemOutput>() {
        one(&output.consumed_capacity)
    } else if let Some(output) = output.downcast_ref::<QueryOutput>() {
        one(&output.consumed_capacity)
    } else if let Some(output) = output.downcast_ref::<PutItemOutput>() {
        one(&output.consumed_capacity)
    } else if let Some(output) = output.downcast_ref::<UpdateItemOutput>() {
        one(&output.consumed_capacity)
    } else if let Some(output) = output.downcast_ref::<BatchWriteItemOutput>() {
        let tables = output.consumed_capacity.as_ref()?;
        Some(tables.iter().filter_map(|table| table.capacity_units).sum())
    } else {
        None
    }
}

/// The least where an answer does not say it: a refused condition takes as much as a write, and a store that is like DynamoDB
/// may not count.
fn written_or_read(operation: &str, taken: Option<f64>) -> Requests {
    let none = Requests::default();
    match operation {
        "PutItem" | "UpdateItem" | "BatchWriteItem" => Requests { ledger_write_units: whole(taken.unwrap_or(1.0)), ..none },
        "GetItem" | "Query" => Requests { ledger_read_halves: whole(taken.unwrap_or(0.5) * 2.0), ..none },
        _ => none,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few units, never below zero")]
fn whole(units: f64) -> u64 {
    units.max(0.0).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_cost() {
        let put = Requests { s3_put: 1, to_s3_bytes: 7, ..Requests::default() };
        assert_eq!([sent("S3", "PutObject", 7), sent("S3", "UploadPart", 7)], [put; 2]);
        assert_eq!(sent("S3", "UploadPartCopy", 7), Requests { s3_put: 1, ..Requests::default() });
        assert_eq!(sent("S3", "HeadObject", 7), Requests { s3_get: 1, ..Requests::default() });
        assert_eq!(sent("SQS", "SendMessageBatch", 7), Requests { sqs: 1, ..Requests::default() });
        assert_eq!(sent("DynamoDB", "PutItem", 7), Requests::default());
    }

    #[test]
    fn what_the_ledger_does_not_say_counts_for_one() {
        assert_eq!(written_or_read("UpdateItem", Some(3.0)).ledger_write_units, 3);
        assert_eq!(written_or_read("PutItem", None).ledger_write_units, 1);
        assert_eq!(written_or_read("Query", Some(2.5)).ledger_read_halves, 5);
        assert_eq!(written_or_read("GetItem", None).ledger_read_halves, 1);
        assert_eq!(written_or_read("SendMessage", None), Requests::default());
    }
}
