//! Which route of an API a request takes.
//!
//! Source: API Gateway developer guide, "Create routes for HTTP APIs": a full match, then a greedy one, then `$default`.
//! What it leaves open is as it was observed on AWS: a route of the method goes before `ANY`, also where the path of the
//! other says more, and of two paths the one that is literal where they first differ. A variable takes one component that
//! is not empty, a greedy one what is left and not empty. Nothing is 405.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use crate::stack;

/// All routes of an API, the one that goes first before the others.
#[derive(Debug)]
pub(super) struct Router {
    routes: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    route: stack::Route,
    key: String,
    path: Path,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Path {
    Default,
    Segments(Vec<Segment>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Variable(String),
    Greedy(String),
}

/// The route that a request takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match<'a> {
    pub(super) route: &'a stack::Route,
    /// `GET /films/{id}`, `ANY /{proxy+}` or `$default`.
    pub(super) key: &'a str,
    /// Decoded.
    pub(super) parameters: BTreeMap<String, String>,
}

impl Router {
    pub(super) fn new(routes: Vec<stack::Route>) -> Self {
        let mut routes: Vec<Entry> = routes.into_iter().map(Entry::new).collect();
        routes.sort_by_key(Entry::rank);
        Self { routes }
    }

    /// `path`: as it was sent, without the stage.
    pub(super) fn find(&self, method: &str, path: &str) -> Option<Match<'_>> {
        let segments: Vec<String> = path.strip_prefix('/')?.split('/').map(decoded).collect();
        self.routes.iter().find_map(|entry| {
            let takes = entry.route.method.as_deref().is_none_or(|wanted| wanted == method) || entry.path == Path::Default;
            let parameters = takes.then(|| entry.path.parameters(&segments)).flatten()?;
            Some(Match { route: &entry.route, key: &entry.key, parameters })
        })
    }
}

impl Entry {
    fn new(route: stack::Route) -> Self {
        let path = Path::parse(&route.path);
        let key = match path {
            Path::Default => route.path.clone(),
            Path::Segments(_) => format!("{} {}", route.method.as_deref().unwrap_or("ANY"), route.path),
        };
        Self { route, key, path }
    }

    /// The smaller goes first.
    fn rank(&self) -> (u8, bool, Vec<u8>) {
        let Path::Segments(segments) = &self.path else { return (2, true, Vec::new()) };
        let ranks: Vec<u8> = segments.iter().map(Segment::rank).collect();
        let greedy = matches!(segments.last(), Some(Segment::Greedy(_)));
        (u8::from(greedy), self.route.method.is_none(), ranks)
    }
}

impl Path {
    fn parse(text: &str) -> Self {
        if text == "$default" {
            return Self::Default;
        }
        let inner = text.strip_prefix('/').unwrap_or(text);
        Self::Segments(inner.split('/').map(Segment::parse).collect())
    }

    /// The variables of a path that fits.
    fn parameters(&self, given: &[String]) -> Option<BTreeMap<String, String>> {
        let Self::Segments(segments) = self else { return Some(BTreeMap::new()) };
        let mut parameters = BTreeMap::new();
        let mut rest = given;
        for segment in segments {
            let (first, after) = rest.split_first()?;
            match segment {
                Segment::Literal(wanted) if wanted == first => {}
                Segment::Variable(name) if !first.is_empty() => {
                    parameters.insert(name.clone(), first.clone());
                }
                Segment::Greedy(name) if rest.iter().any(|part| !part.is_empty()) => {
                    parameters.insert(name.clone(), rest.join("/"));
                    return Some(parameters);
                }
                _ => return None,
            }
            rest = after;
        }
        rest.is_empty().then_some(parameters)
    }
}

impl Segment {
    fn parse(text: &str) -> Self {
        let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            return Self::Literal(text.to_owned());
        };
        match name.strip_suffix('+') {
            Some(name) => Self::Greedy(name.to_owned()),
            None => Self::Variable(name.to_owned()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Variable(_) => 1,
            Self::Greedy(_) => 2,
        }
    }
}

/// What `%XX` stand for; what is no UTF-8 then becomes the replacement character.
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
