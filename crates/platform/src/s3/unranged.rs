//! Reads whose `Range` is not one range of bytes: they get the whole object.
//!
//! RFC 9110, section 14.2: a field that cannot be understood is ignored, and S3 answers several ranges with the whole
//! object too. `s3s` would refuse it. The field may be signed, so it can go only after the signature was checked: this is
//! a route behind that check.

use async_trait::async_trait;
use http::{Extensions, HeaderMap, Method, Uri, header};
use s3s::{Body, HttpRequest, S3Request, S3Response, S3Result, dto::Range, route::S3Route, service::S3Service};

use super::access::Access;

/// Answers such reads by a service that checks neither signatures nor access.
pub struct Unranged(pub S3Service, pub Access);

#[async_trait]
impl S3Route for Unranged {
    fn is_match(&self, method: &Method, _: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        let is_range = |value: &header::HeaderValue| value.to_str().is_ok_and(|text| Range::parse(text).is_ok());
        matches!(*method, Method::GET | Method::HEAD) && headers.get(header::RANGE).is_some_and(|value| !is_range(value))
    }

    async fn check_access(&self, req: &mut S3Request<Body>) -> S3Result<()> {
        self.1.read(req)
    }

    async fn call(&self, req: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let mut request = HttpRequest::new(req.input);
        *request.method_mut() = req.method;
        *request.uri_mut() = unsigned(&req.uri);
        *request.headers_mut() = req.headers;
        request.headers_mut().remove(header::RANGE);
        request.headers_mut().remove(header::AUTHORIZATION);
        let answer =
            self.0.call(request).await.map_err(|error| s3s::S3Error::with_source(s3s::S3ErrorCode::InternalError, error.into()))?;
        let (parts, body) = answer.into_parts();
        let mut response = S3Response::with_status(body, parts.status);
        response.headers = parts.headers;
        Ok(response)
    }
}

/// The address without what a presigned one has in its query.
fn unsigned(uri: &Uri) -> Uri {
    let of_signature = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("x-amz-") || ["awsaccesskeyid", "signature", "expires"].contains(&name.as_str())
    };
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let kept: Vec<&str> = pairs.filter(|pair| !of_signature(pair.split('=').next().unwrap_or_default())).collect();
    let text = if kept.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), kept.join("&")) };
    text.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_presigned_address() {
        let left = |text: &str| unsigned(&text.parse().unwrap()).to_string();
        assert_eq!(left("/b/k%20?X-Amz-Signature=1&response-expires=x&X-Amz-Date=2"), "/b/k%20?response-expires=x");
        assert_eq!(left("/b/k?AWSAccessKeyId=test&Signature=a&Expires=1"), "/b/k");
        assert_eq!(left("/b/k?partNumber=2"), "/b/k?partNumber=2");
    }
}
