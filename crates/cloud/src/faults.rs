//! The one classification of what AWS and the local disk may answer.

use std::{error::Error, io, path::Path};

use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use pipeline::{Fault, Shortage};

/// Codes below 500 that pass: load, clocks, credentials that are about to be renewed, requests that were cut off. SQS has two names
/// for one of them: `KmsThrottled` in the body, and `KMS.ThrottlingException` in `x-amzn-query-error`, which the SDK believes.
const TRANSIENT: [&str; 22] = [
    "BandwidthLimitExceeded",
    "ExpiredToken",
    "ExpiredTokenException",
    "InternalError",
    "KMS.ThrottlingException",
    "KmsThrottled",
    "LimitExceededException",
    "OperationAborted",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "RequestTimeoutException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

/// `what` says what was tried and on what: `reading s3://b/k`. By now the SDK has tried again in place.
pub fn classify<E>(what: &str, error: &SdkError<E, Response>) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => {
            Fault::escalate(Shortage::Tool, format!("{what}: the request cannot be made: {}", chain(error)))
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or("no code");
            let message = service.err().message().unwrap_or("no message");
            let text = format!("{what}: {code} ({status}): {message}");
            if status >= 500 || matches!(status, 408 | 429) || TRANSIENT.contains(&code) {
                Fault::Retry(text)
            } else {
                Fault::escalate(Shortage::Tool, text)
            }
        }
        // No connection, no answer in time, an answer that broke off; and kinds that the SDK may yet invent.
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_) | _ => {
            Fault::Retry(format!("{what}: {}", chain(error)))
        }
    }
}

/// The HTTP status of a service's answer, if it answered.
pub fn status<E>(error: &SdkError<E, Response>) -> Option<u16> {
    match error {
        SdkError::ServiceError(service) => Some(service.raw().status().as_u16()),
        _ => None,
    }
}

/// The fault of a local file: no room is a shortage of disk, anything else may pass.
pub fn local(what: &str, path: &Path, error: &io::Error) -> Fault {
    let text = format!("{what} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Fault::escalate(Shortage::Disk, text),
        _ => Fault::Retry(text),
    }
}

/// A blocking task that was stopped: only at the end of the process.
pub fn stopped(error: &tokio::task::JoinError) -> Fault {
    Fault::Retry(format!("a file operation was stopped: {error}"))
}

/// An error and its causes in one line, without repeats.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// An upload that is not there was given up by another worker; an object that is not there may come back.
pub fn gone(status: Option<u16>, fault: Fault) -> Fault {
    if status == Some(404) { Fault::Retry(fault.to_string()) } else { fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::error::ErrorMetadata;

    fn answered(status: u16, code: &str) -> Fault {
        let response = Response::new(status.try_into().unwrap(), "".into());
        let error = ErrorMetadata::builder().code(code).message("m").build();
        classify("reading", &SdkError::service_error(error, response))
    }

    #[test]
    fn load_and_broken_servers_pass_and_refusals_do_not() {
        // As each service's reference has them.
        let s3: &[(u16, &str)] = &[
            (400, "ExpiredToken"),
            (400, "RequestTimeout"),
            (403, "RequestTimeTooSkewed"),
            (409, "OperationAborted"),
            (500, "InternalError"),
            (503, "ServiceUnavailable"),
            (503, "SlowDown"),
        ];
        let sqs: &[(u16, &str)] = &[
            (400, "KMS.ThrottlingException"),
            (400, "KmsThrottled"),
            (400, "ThrottlingException"),
            (403, "RequestThrottled"),
            (500, "InternalFailure"),
            (503, "ServiceUnavailable"),
        ];
        let dynamodb: &[(u16, &str)] = &[
            (400, "ExpiredTokenException"),
            (400, "LimitExceededException"),
            (400, "ProvisionedThroughputExceededException"),
            (400, "RequestLimitExceeded"),
            (400, "ThrottlingException"),
            (400, "TransactionInProgressException"),
            (500, "InternalServerError"),
            (503, "ServiceUnavailable"),
        ];
        let others: &[(u16, &str)] = &[(408, "?"), (429, "?"), (502, "?"), (504, "?")];
        for (status, code) in [s3, sqs, dynamodb, others].concat() {
            assert_eq!(answered(status, code), Fault::Retry(format!("reading: {code} ({status}): m")));
        }
        for code in TRANSIENT {
            assert!(matches!(answered(400, code), Fault::Retry(_)), "{code}");
        }
        for (status, code) in [
            (400, "AWS.SimpleQueueService.NonExistentQueue"),
            (400, "InvalidMessageContents"),
            (400, "KMS.AccessDeniedException"),
            (400, "ResourceNotFoundException"),
            (400, "ValidationException"),
            (403, "AccessDenied"),
            (403, "InvalidAccessKeyId"),
            (404, "NoSuchBucket"),
        ] {
            assert_eq!(answered(status, code), Fault::escalate(Shortage::Tool, format!("reading: {code} ({status}): m")));
        }
    }

    #[test]
    fn a_full_disk_is_a_shortage() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(local("writing", Path::new("/x"), &full), Fault::Escalate { reason: Shortage::Disk, .. }));
        assert!(matches!(local("writing", Path::new("/x"), &io::Error::other("odd")), Fault::Retry(_)));
    }
}
