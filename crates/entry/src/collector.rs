//! The way to a collector of traces: its address, what it wants to be told besides, and whom it is believed by.
//!
//! Read from OpenTelemetry's standard variables ("OTLP Exporter Configuration").

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Uri,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::otlp;

/// Bytes of an answer.
const MAX_ANSWER: usize = 64 << 10;
/// Bytes of a file of certificates. A whole store of a system has some 250 kB.
const MAX_CERTIFICATES: u64 = 4 << 20;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

pub struct Collector {
    to: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Collector {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` for a whole URL; `OTEL_EXPORTER_OTLP_HEADERS`; and of
    /// a collector with a certificate of one's own `OTEL_EXPORTER_OTLP_CERTIFICATE`, a file of who may sign it, instead of the
    /// system's. `None` where none is named. The error says what to write instead.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let set = |name: &str| var(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let base = set(ENDPOINT).map(|base| format!("{}/v1/traces", base.trim_end_matches('/')));
        let Some(to) = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or(base) else { return Ok(None) };
        let to = address(&to)?;
        let headers = set(HEADERS).as_deref().map_or_else(|| Ok(Vec::new()), headers)?;
        // The system's store is read for those who need it alone: it costs some milliseconds of a cold start.
        let roots = match set(CERTIFICATE) {
            _ if to.scheme_str() != Some("https") => RootCertStore::empty(),
            Some(file) => signers(&file)?,
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be spoken: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(Some(Self { to, headers, client: Client::builder(TokioExecutor::new()).build(connector) }))
    }

    /// Host and port, for the log.
    pub fn authority(&self) -> &str {
        self.to.authority().map_or("", |authority| authority.as_str())
    }

    /// How many of the spans the collector refused. Bounds no time.
    pub async fn send(&self, body: String) -> Result<u64, String> {
        let mut request = Request::post(self.to.clone()).header(CONTENT_TYPE, "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| causes(&error))?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status()));
        }
        // Read to its end, or the connection is of no use for the next time.
        let body =
            Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|error| format!("its answer broke off: {error}"))?;
        Ok(otlp::refused(&body.to_bytes()))
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn address(text: &str) -> Result<Uri, String> {
    if text.contains('@') {
        // Not repeated: it is a secret.
        return Err(format!("{ENDPOINT} holds a name or password: credentials belong into {HEADERS}"));
    }
    // What stands behind a question mark may be a secret as well.
    let told = text.split('?').next().unwrap_or_default();
    let wrong = || format!("{ENDPOINT} leads to `{told}`: it must be the address of a collector, with http:// or https://");
    let to: Uri = text.parse().map_err(|_| wrong())?;
    if !matches!(to.scheme_str(), Some("http" | "https")) || to.host().is_none() {
        return Err(wrong());
    }
    Ok(to)
}

fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let pair = |pair: &str| {
        let wrong = || format!("{HEADERS} must be name=value pairs with commas between them");
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        // As W3C "Baggage" has them: a space is written %20.
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok((name.trim().parse().map_err(|_| wrong())?, value))
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

/// Of a PEM file.
fn signers(file: &str) -> Result<RootCertStore, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{CERTIFICATE} leads to `{file}`: {why}; it must be a PEM file of certificates");
    let bytes = std::fs::metadata(file).map_err(|error| wrong(&error))?.len();
    if bytes > MAX_CERTIFICATES {
        return Err(wrong(&format_args!("it has {bytes} bytes, {MAX_CERTIFICATES} at most")));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"it holds none"));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Option<Collector>, String> {
        Collector::read(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nobody_is_told_unless_somebody_is_named() {
        assert!(read(&[]).unwrap().is_none() && read(&[(ENDPOINT, " ")]).unwrap().is_none());
        let near = read(&[(ENDPOINT, "http://127.0.0.1:4318/"), (HEADERS, "a=b, authorization=Basic%20abc=")]).unwrap().unwrap();
        assert_eq!((near.to.to_string().as_str(), near.headers.len()), ("http://127.0.0.1:4318/v1/traces", 2));
        assert_eq!(near.headers[1].1, "Basic abc=");
        for wrong in ["a", "a=%0a", "a=%ff"] {
            assert!(read(&[(ENDPOINT, "http://127.0.0.1:4318"), (HEADERS, wrong)]).is_err(), "{wrong}");
        }
        let far = read(&[(ENDPOINT, "https://traces.example.com/otlp")]).unwrap().unwrap();
        assert_eq!(far.to.to_string(), "https://traces.example.com/otlp/v1/traces");
        for wrong in ["ftp://x", "collector:4318", "http://u:secret@x", "https://u:secret@x"] {
            let error = read(&[(ENDPOINT, wrong)]).err().unwrap();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_file_that_holds_no_certificates_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for wrong in [file("empty", ""), file("torn", torn), file("text", "hello"), dir.path().join("none").display().to_string()] {
            let error = read(&[(ENDPOINT, "https://x"), (CERTIFICATE, &wrong)]).err().unwrap();
            assert!(error.contains(&wrong) && error.contains("PEM"), "{error}");
        }
    }

    /// Takes one request over TLS after the other. Its address, and its certificate as PEM.
    async fn collector() -> (String, String) {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = own.signing_key.serialize_der().try_into().unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut asked = [0; 1 << 13];
                if stream.read(&mut asked).await.is_ok_and(|read| asked[..read].starts_with(b"POST /v1/traces HTTP/1.1\r\n")) {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"2\"}}  ")
                        .await;
                }
            }
        });
        (address, own.cert.pem())
    }

    #[tokio::test]
    async fn a_collector_is_believed_over_tls_by_its_certificate_alone() {
        let (endpoint, own) = collector().await;
        let (_, other) = collector().await;
        let dir = tempfile::tempdir().unwrap();
        let [own, other] = [("own.pem", own), ("other.pem", other)].map(|(name, pem)| {
            let path = dir.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path.display().to_string()
        });
        let known = read(&[(ENDPOINT, &endpoint), (CERTIFICATE, &own)]).unwrap().unwrap();
        assert_eq!(known.send("{}".into()).await, Ok(2));
        for stranger in [read(&[(ENDPOINT, &endpoint), (CERTIFICATE, &other)]), read(&[(ENDPOINT, &endpoint)])] {
            let error = stranger.unwrap().unwrap().send("{}".into()).await.unwrap_err();
            assert!(error.contains("certificate"), "{error}");
        }
    }
}
