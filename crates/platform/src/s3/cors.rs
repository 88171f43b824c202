//! Cross-origin requests: which a bucket allows, and the headers that tell a browser so.
//!
//! Rules: S3 user guide, "Elements of a CORS configuration", and the Fetch standard's CORS protocol. The first rule that
//! fits decides.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};

use crate::stack;

/// One rule of a bucket, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub id: Option<String>,
    /// Each with at most one `*`.
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    /// Each with at most one `*`; compared without case.
    pub headers: Vec<String>,
    pub expose_headers: Vec<String>,
    pub max_age_seconds: Option<u32>,
}

impl From<&stack::CorsRule> for Rule {
    fn from(of: &stack::CorsRule) -> Self {
        Self {
            id: of.id.clone(),
            origins: of.origins.clone(),
            methods: of.methods.clone(),
            headers: of.headers.clone(),
            expose_headers: of.expose_headers.clone(),
            max_age_seconds: of.max_age_seconds,
        }
    }
}

/// A request that comes from a page of another origin, or asks whether one may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    origin: String,
    /// What the request does, or would do.
    method: String,
    /// `Access-Control-Request-Headers`, of a preflight.
    headers: Vec<String>,
}

/// Why a preflight asks nothing that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unclear {
    Origin,
    Method(Option<String>),
}

const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

impl Crossing {
    /// What an actual request is; nothing without an origin.
    pub fn actual(method: &Method, headers: &HeaderMap) -> Option<Self> {
        Some(Self { origin: text(headers, &header::ORIGIN)?, method: method.as_str().to_owned(), headers: Vec::new() })
    }

    /// What a preflight asks.
    pub fn preflight(headers: &HeaderMap) -> Result<Self, Unclear> {
        let origin = text(headers, &header::ORIGIN).ok_or(Unclear::Origin)?;
        let method = text(headers, &header::ACCESS_CONTROL_REQUEST_METHOD);
        let method = method
            .filter(|method| METHODS.contains(&method.as_str()))
            .ok_or_else(|| Unclear::Method(text(headers, &header::ACCESS_CONTROL_REQUEST_METHOD)))?;
        let asked = text(headers, &header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let headers = asked.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect();
        Ok(Self { origin, method, headers })
    }

    /// The first rule that allows this, with the origin pattern that fitted.
    pub fn allowed_by<'a>(&self, rules: &'a [Rule]) -> Option<(&'a Rule, &'a str)> {
        rules.iter().find_map(|rule| {
            let origin = rule.origins.iter().find(|pattern| fits(pattern, &self.origin))?;
            let headers = || self.headers.iter().all(|name| rule.headers.iter().any(|pattern| fits(&pattern.to_ascii_lowercase(), name)));
            (rule.methods.contains(&self.method) && headers()).then_some((rule, origin.as_str()))
        })
    }

    /// Adds what tells the browser that `rule` allows this.
    pub fn answer(&self, (rule, pattern): (&Rule, &str), to: &mut HeaderMap) {
        let mut insert = |name: HeaderName, value: &str| {
            // What a rule or a browser says that no header can hold is left out, and the browser refuses.
            if let Ok(value) = HeaderValue::from_str(value) {
                to.insert(name, value);
            }
        };
        if pattern == "*" {
            insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        } else {
            insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, &self.origin);
            insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        insert(header::ACCESS_CONTROL_ALLOW_METHODS, &rule.methods.join(", "));
        if !self.headers.is_empty() {
            insert(header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers.join(", "));
        }
        if !rule.expose_headers.is_empty() {
            insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, &rule.expose_headers.join(", "));
        }
        if let Some(seconds) = rule.max_age_seconds {
            insert(header::ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
        insert(header::VARY, "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Whether `text` is `pattern`, in which one `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origins: &[&str], methods: &[&str], headers: &[&str]) -> Rule {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        Rule { origins: owned(origins), methods: owned(methods), headers: owned(headers), ..Rule::default() }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_star_stands_for_anything_once() {
        for (pattern, text, expected) in [
            ("*", "https://a", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", true),
            ("aba*aba", "aba", false),
            ("https://a", "https://A", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = [rule(&["https://a"], &["GET"], &[]), rule(&["*"], &["GET", "PUT"], &["X-Amz-*", "content-type"])];
        let asks = |method: &'static str, asked: &'static str| {
            let pairs = [("origin", "https://a"), ("access-control-request-method", method), ("access-control-request-headers", asked)];
            Crossing::preflight(&headers(&pairs)).unwrap()
        };
        let index = |crossing: Crossing| crossing.allowed_by(&rules).and_then(|(rule, _)| rules.iter().position(|it| it == rule));
        assert_eq!(index(asks("GET", "")), Some(0));
        assert_eq!(index(asks("GET", "Content-Type, x-amz-date")), Some(1));
        assert_eq!(index(asks("PUT", "content-type")), Some(1));
        assert_eq!(index(asks("PUT", "authorization")), None);
        assert_eq!(index(asks("DELETE", "")), None);
    }

    #[test]
    fn answers_name_the_origin_unless_all_are_allowed() {
        let ask = Crossing::actual(&Method::GET, &headers(&[("origin", "https://a")])).unwrap();
        let mut named = HeaderMap::new();
        let one = Rule { expose_headers: vec!["ETag".into()], max_age_seconds: Some(5), ..rule(&["https://*"], &["GET"], &[]) };
        ask.answer((&one, "https://*"), &mut named);
        assert_eq!(named["access-control-allow-origin"], "https://a");
        assert_eq!(named["access-control-allow-credentials"], "true");
        assert_eq!(named["access-control-expose-headers"], "ETag");
        assert_eq!(named["access-control-max-age"], "5");
        let mut all = HeaderMap::new();
        ask.answer((&rule(&["*"], &["GET"], &[]), "*"), &mut all);
        assert_eq!(all["access-control-allow-origin"], "*");
        assert!(!all.contains_key("access-control-allow-credentials"));
    }

    #[test]
    fn a_preflight_says_where_from_and_what() {
        assert_eq!(Crossing::preflight(&HeaderMap::new()), Err(Unclear::Origin));
        let asks = |pairs: &[(&'static str, &'static str)]| Crossing::preflight(&headers(pairs));
        assert_eq!(asks(&[("origin", "x")]), Err(Unclear::Method(None)));
        let patch = [("origin", "x"), ("access-control-request-method", "PATCH")];
        assert_eq!(asks(&patch), Err(Unclear::Method(Some("PATCH".into()))));
    }
}
