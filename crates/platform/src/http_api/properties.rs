use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::{answer, route::Router, tests::route};
use crate::{lambda::Outcome, stack};

/// A path of few words, so that routes and requests meet.
fn word() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("")]
}

fn template() -> impl Strategy<Value = String> {
    let segment = prop_oneof![3 => word().prop_map(str::to_owned), 2 => (0..3_u8).prop_map(|n| format!("{{v{n}}}"))];
    (proptest::collection::vec(segment, 1..4), any::<bool>()).prop_map(|(mut segments, greedy)| {
        if greedy {
            segments.push("{rest+}".to_owned());
        }
        format!("/{}", segments.join("/"))
    })
}

/// Whether a path fits, by the words of the guide and nothing clever.
fn fits(template: &[&str], path: &[&str]) -> bool {
    match (template, path) {
        ([], []) => true,
        (["{rest+}"], rest) => rest.iter().any(|part| !part.is_empty()),
        ([first, template @ ..], [given, path @ ..]) => {
            (if first.starts_with('{') { !given.is_empty() } else { first == given }) && fits(template, path)
        }
        _ => false,
    }
}

/// Whether `a` says more than `b` about a path that both fit.
fn says_more(a: &stack::Route, b: &stack::Route) -> bool {
    let greedy = |route: &stack::Route| route.path.ends_with("+}");
    if greedy(a) != greedy(b) {
        return greedy(b);
    }
    if a.method.is_some() != b.method.is_some() {
        return a.method.is_some();
    }
    let kind = |segment: &str| u8::from(segment.starts_with('{')) + u8::from(segment.ends_with("+}"));
    let differ = a.path.split('/').zip(b.path.split('/')).find(|(a, b)| kind(a) != kind(b));
    differ.is_some_and(|(a, b)| kind(a) < kind(b))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_route_that_fits_says_more_than_the_one_taken(
        templates in proptest::collection::vec((prop_oneof![Just("ANY"), Just("GET"), Just("PUT")], template()), 0..12),
        path in proptest::collection::vec(word(), 1..5),
        has_default in any::<bool>(),
    ) {
        let mut routes: Vec<_> = templates.iter().map(|(method, path)| route(&format!("{method} {path}"))).collect();
        if has_default {
            routes.push(route("$default"));
        }
        let router = Router::new(routes.clone());
        let text = format!("/{}", path.join("/"));
        let fitting: Vec<_> = routes.iter().filter(|route| {
            let template: Vec<&str> = route.path.split('/').skip(1).collect();
            route.path != "$default" && route.method.as_deref().is_none_or(|method| method == "GET") && fits(&template, &path)
        }).collect();
        match router.find("GET", &text) {
            Some(found) if found.key == "$default" => prop_assert!(has_default && fitting.is_empty()),
            Some(found) => {
                prop_assert!(fitting.contains(&found.route));
                prop_assert!(fitting.iter().all(|other| !says_more(other, found.route)));
            }
            None => prop_assert!(fitting.is_empty() && !has_default),
        }
    }

    #[test]
    fn nothing_that_is_asked_panics(method in "[A-Z]{1,7}", path in "[/%a-z0-9{}+.]{0,40}", key in "[A-Z]{3} [/{}a-z+$]{0,20}") {
        let router = Router::new(vec![route(&key), route("ANY /{proxy+}"), route("GET /a/{b}")]);
        let _ = router.find(&method, &path);
    }

    #[test]
    fn no_answer_of_a_function_panics(payload in proptest::collection::vec(any::<u8>(), 0..200), status in any::<i64>(), text in ".*") {
        let structured = json!({ "statusCode": status, "headers": { text.clone(): text.clone() }, "cookies": [text.clone()], "body": text });
        for payload in [Bytes::from(payload), Bytes::from(structured.to_string())] {
            let outcome = Outcome { payload, function_error: None, log_tail: String::new(), request_id: "r".into() };
            prop_assert!(answer::of(Ok(outcome)).status().as_u16() >= 200);
        }
    }
}
