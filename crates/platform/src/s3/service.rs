//! The service that answers HTTP: `s3s`, and around it what browsers need and `s3s` does not do.

use std::{future::Future, pin::Pin, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use s3s::{Body, HttpError, S3Error as Answer, S3ErrorCode, service::S3Service};
use uuid::Uuid;

use super::{
    S3,
    access::Access,
    cors::{Crossing, Unclear},
    post, settings, wire,
};
use crate::iam::Iam;

/// One key, one store. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    s3s: S3Service,
    s3: Arc<S3>,
    keys: Arc<Keys>,
    access: Access,
}

/// What requests are signed with.
pub struct Keys {
    pub access_key: String,
    pub secret_key: String,
}

impl Service {
    pub(super) fn new(s3: Arc<S3>, access_key: &str, secret_key: &str, iam: Arc<Iam>) -> Self {
        let (keys, access) = (Keys { access_key: access_key.into(), secret_key: secret_key.into() }, Access::new(iam));
        Self { s3s: wire::service(s3.clone(), access_key, secret_key, &access), s3, keys: Arc::new(keys), access }
    }

    /// Answers one request. An error is one of the connection.
    pub async fn call(&self, request: Request<Body>) -> Result<Response<Body>, HttpError> {
        let bucket = bucket_of(request.uri().path());
        let crossing = Crossing::actual(request.method(), request.headers());
        let blind = self.access.blind(&request);
        let mut response = if request.method() == Method::OPTIONS {
            self.preflight(&bucket, &request).await.or_else(refused)?
        } else if post::is_form(&request) {
            post::take(&self.s3, &self.keys, &self.access, &bucket, request).await.or_else(refused)?
        } else {
            self.s3s.call(request).await?
        };
        if response.status() == StatusCode::NOT_FOUND
            && let Some(denied) = blind
        {
            response = refused(denied)?;
        }
        if let Some(crossing) = crossing
            && response.headers().get(http::header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none()
            && let Ok(Some(rules)) = self.s3.db.read(move |conn| settings::cors(conn, &bucket)).await
            && let Some(rule) = crossing.allowed_by(&rules)
        {
            crossing.answer(rule, response.headers_mut());
        }
        let id = Uuid::new_v4().simple().to_string().to_ascii_uppercase();
        if let Ok(id) = HeaderValue::from_str(id.get(..16).unwrap_or_default()) {
            response.headers_mut().entry("x-amz-request-id").or_insert(id);
        }
        Ok(response)
    }

    /// `OPTIONS`: whether a browser may send what it is about to.
    async fn preflight(&self, bucket: &str, request: &Request<Body>) -> Result<Response<Body>, Answer> {
        let crossing = Crossing::preflight(request.headers()).map_err(|unclear| {
            let text = match unclear {
                Unclear::Origin => "Insufficient information. Origin request header needed.".to_owned(),
                Unclear::Method(found) => {
                    format!("Invalid Access-Control-Request-Method: {}", found.unwrap_or_else(|| "null".into()))
                }
            };
            let mut answer = Answer::with_message(S3ErrorCode::Custom("BadRequest".into()), text);
            answer.set_status_code(StatusCode::BAD_REQUEST);
            answer
        })?;
        let forbidden = |why: &'static str| {
            let mut answer = Answer::with_message(S3ErrorCode::Custom("AccessForbidden".into()), format!("CORSResponse: {why}"));
            answer.set_status_code(StatusCode::FORBIDDEN);
            answer
        };
        let asked = bucket.to_owned();
        let rules = self.s3.db.read(move |conn| settings::cors(conn, &asked)).await?;
        let rules = rules.ok_or_else(|| forbidden("CORS is not enabled for this bucket."))?;
        let Some(rule) = crossing.allowed_by(&rules) else {
            return Err(forbidden("this CORS request is not allowed: no rule has its origin, method and headers together."));
        };
        let mut response = Response::new(Body::empty());
        crossing.answer(rule, response.headers_mut());
        Ok(response)
    }
}

/// An error as an answer.
fn refused(error: Answer) -> Result<Response<Body>, HttpError> {
    error.to_http_response().map_err(|error| HttpError::new(Box::new(error)))
}

/// The first component of a path, decoded; empty if it is no UTF-8.
fn bucket_of(path: &str) -> String {
    let first = path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or_default();
    percent_decode_str(first).decode_utf8().map(std::borrow::Cow::into_owned).unwrap_or_default()
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Self::call(&service, request.map(Body::from)).await })
    }
}
