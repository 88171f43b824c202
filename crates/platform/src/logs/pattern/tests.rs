//! Patterns with answers worked out by hand from the guide's grammar and its examples.

use proptest::prelude::*;

use super::*;

/// A line, the patterns that match it, and those that do not.
struct Case {
    line: &'static str,
    yes: &'static [&'static str],
    no: &'static [&'static str],
}

const TERMS: &[Case] = &[
    Case {
        line: "[ERROR 400] BAD REQUEST",
        yes: &[
            "",
            " ",
            "ERROR",
            "ERROR REQUEST",
            "REQUEST ERROR",
            "\"BAD REQUEST\"",
            "\"[ERROR 400]\"",
            "?ERROR ?FATAL",
            "?FATAL ?BAD",
            "ERROR -ARGUMENTS",
            "-FATAL",
            "ERROR ?FATAL",
            "RROR",
            "400]",
            "%ERROR%",
            "%ERR[A-Z]+%",
            r"%\[ERROR [0-9]{3}\]%",
            "%400|401%",
            "%^\\[ERROR%",
            "%REQUEST$%",
            "%BAD.REQ%",
            "%E?RROR%",
            "-\"OUT OF\"",
            "-%[a-z]%",
            "ERROR %4[0-9]0%",
        ],
        no: &[
            "error",
            "ERROR FATAL",
            "\"REQUEST BAD\"",
            "?FATAL ?WARN",
            "ERROR -BAD",
            "-ERROR",
            "-\"BAD REQUEST\"",
            "%error%",
            "%^ERROR%",
            "%40[1-9]%",
            "-%ERROR%",
            "ERROR %500%",
        ],
    },
    Case {
        line: r#"they say "x" and 100% sure \ done"#,
        yes: &[r#""say \"x\"""#, "100%", r#""\\ done""#, r#""%""#, "%sure . done%"],
        no: &[r#""say x""#, "%sure done%"],
    },
    Case { line: "[ERROR 401] UNAUTHORIZED REQUEST", yes: &["%AUTHORIZED%", "AUTHORIZED", "?ERROR ?ARGUMENTS"], no: &["%^AUTHORIZED%"] },
    Case {
        line: "colour gray 127.0.0.7",
        yes: &["%colou?r%", "%gr[ae]y%", r"%127\.0\.0\.[1-9]%", "%[0-9]+%"],
        no: &[r"%127\.0\.0\.[1-6]%"],
    },
];

const DOCUMENT: &str = r#"{"eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "arrayKey": ["value", "another value"],
 "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], "SomeObject": null, "cluster.name": "c", "errors": true, "ok": false,
 "users": [{"email": "John.Doe@example.com"}], "user": {"id": 1, "email": "John.Stiles@example.com"}, "bandwidth": 75.5, "code": "404",
 "message": "bind: address already in use", "big": 1.5e3, "empty": "", "negative": -3, "kind@": "x y"}"#;

const JSON: &[Case] = &[
    Case {
        line: DOCUMENT,
        yes: &[
            r#"{ $.eventType = "UpdateTrail" }"#,
            "{ $.eventType = UpdateTrail }",
            "{$.eventType=UpdateTrail}",
            "{ $.eventType = Update* }",
            r#"{ $.eventType = "*Trail" }"#,
            "{ $.eventType = *date* }",
            "{ $.eventType = * }",
            "{ $.eventType = U*T*l }",
            r#"{ $.eventType != "CreateTrail" }"#,
            "{ $.sourceIPAddress != 123.123.* }",
            "{ $.sourceIPAddress = 111.111.* }",
            "{ $.arrayKey[0] = \"value\" }",
            "{ $.arrayKey[1] = \"another value\" }",
            "{ $.arrayKey[*] = \"another value\" }",
            "{ $.objectList[1].id = 2 }",
            "{ $.objectList[*].name = b }",
            "{ $.SomeObject IS NULL }",
            "{ $.SomeOtherObject NOT EXISTS }",
            "{ $.errors IS TRUE }",
            "{ $.ok IS FALSE }",
            "{ $.ok is false }",
            "{ $.['cluster.name'] = c }",
            "{ $.[\"cluster.name\"] = \"c\" }",
            "{ $.bandwidth > 75 }",
            "{ $.bandwidth >= 75.5 }",
            "{ $.bandwidth < 1e2 }",
            "{ $.bandwidth <= 75.5 }",
            "{ $.bandwidth = 75.5 }",
            "{ $.bandwidth != 75 }",
            "{ $.big = 1500 }",
            "{ $.big >= 1.5E3 }",
            "{ $.negative < -2 }",
            "{ $.code = 404 }",
            "{ $.code = 4* }",
            "{ $.code >= 400 }",
            "{ ($.user.id = 1) && ($.users[0].email = \"John.Doe@example.com\") }",
            "{ $.user.id = 2 || $.users[0].email = \"John.Doe@*\" }",
            "{ ($.user.email = \"John.Stiles@example.com\" || $.coordinates[0][1] = nonmatch) && $.errors IS TRUE }",
            "{ $.user.id = 9 && $.user.id = 8 || $.errors IS TRUE }",
            "{ $.errors IS TRUE || $.user.id = 9 && $.user.id = 8 }",
            "{ (($.user.id = 1)) }",
            "{ $.message = \"bind: address already in use\" }",
            "{ $.message = %address.already% }",
            "{ $.message != %^address% }",
            r"{ $.sourceIPAddress = %^111\.[0-9]+% }",
            "{ $.empty = \"\" }",
            "{ $.kind@ = \"x y\" }",
            "{ $.eventType = %Trail$% && $.code = %^4% }",
        ],
        no: &[
            "{ $.eventType = \"updatetrail\" }",
            "{ $.eventType = \"Update\" }",
            "{ $.eventType = *update* }",
            "{ $.eventType != Update* }",
            "{ $.sourceIPAddress != 111.111.* }",
            "{ $.arrayKey[0] = \"another value\" }",
            "{ $.arrayKey[2] = \"value\" }",
            "{ $.arrayKey = \"value\" }",
            "{ $.objectList[*].name = c }",
            "{ $.eventType IS NULL }",
            "{ $.missing IS NULL }",
            "{ $.SomeObject NOT EXISTS }",
            "{ $.missing = x }",
            "{ $.missing != x }",
            "{ $.missing > 1 }",
            "{ $.errors IS FALSE }",
            "{ $.eventType IS TRUE }",
            "{ $.cluster.name = c }",
            "{ $.bandwidth > 75.5 }",
            "{ $.bandwidth < 75.5 }",
            "{ $.eventType > 1 }",
            "{ $.user = 1 }",
            "{ $.user.id = 1 && $.ok IS TRUE }",
            "{ ($.user.id = 2 || $.ok IS FALSE) && $.code = 500 }",
            "{ $.message = %already.address% }",
            "{ $.SomeObject = null }",
        ],
    },
    Case { line: "plain text { \"a\": 1 }", yes: &["a"], no: &["{ $.a = 1 }", "{ $.a NOT EXISTS }"] },
    Case { line: "{\"a\": 1", yes: &["\"{\""], no: &["{ $.a = 1 }"] },
    Case { line: "[{\"a\": 1}, {\"a\": 2}]", yes: &["{ $[1].a = 2 }", "{ $[*].a = 1 }"], no: &["{ $[0].a = 2 }", "{ $.a = 1 }"] },
];

const ACCESS: &str = r#"127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#;

const FIELDS: &[Case] = &[
    Case {
        line: ACCESS,
        yes: &[
            "[ip, user, username, timestamp, request, status_code, bytes]",
            "[ip, user, username, timestamp, request, status_code = 4*, bytes]",
            "[ip, user, username, timestamp, request = *.html*, status_code = 4*, bytes]",
            "[ip, user, username, timestamp, request, status_code, bytes > 1000]",
            "[ip, user, username, timestamp, request, status_code = 404, bytes >= 1534]",
            "[..., status_code=4*, bytes]",
            "[ip=127.0.0.1, ...]",
            r"[ip=%127\.0\.0\.[1-9]%, ...]",
            "[ip, user=Prod, ..., bytes]",
            "[..., bytes]",
            "[...]",
            "[,,,,,,]",
            "[ip, , , , , , bytes = 1534]",
            "[ip != 10.*, ...]",
            "[..., request = \"GET *\", status_code, bytes]",
            "[..., status_code = 500 || status_code = 404, bytes]",
            "[..., status_code >= 400 && status_code < 500, bytes]",
            "[..., (status_code = 404 || status_code = 410) && status_code != 500, bytes]",
            "[ip, user, username = fr*, timestamp = \"10/Oct/2000*\", ...]",
        ],
        no: &[
            "[ip, user, username, timestamp, request, status_code]",
            "[ip, user, username, timestamp, request, status_code, bytes, more]",
            "[ip, user, username, timestamp, request, status_code = 5*, bytes]",
            "[ip, user, username, timestamp, request, status_code, bytes > 1534]",
            "[..., status_code=4*]",
            "[ip=127.0.0.2, ...]",
            r"[ip=%127\.0\.0\.[2-9]%, ...]",
            "[a, b, c, d, e, f, g, ..., h]",
            "[..., status_code > 400 && status_code < 404, bytes]",
            "[ip, user = prod, ...]",
            "[..., user > 5, a, b, c, d, e]",
            "[]",
        ],
    },
    Case {
        line: "ERROR 12 started",
        yes: &["[w1=ERROR || w1=%WARN%, w2, w3]", "[w1, w2>=12, w3]", "[w1, w2!=13, w3]", "[w1!=WARN && w1!=INFO, ...]"],
        no: &["[w1=%WARN%, w2, w3]", "[w1!=ERROR, w2, w3]", "[w1, w2<12, ...]"],
    },
];

#[test]
fn patterns_answer_as_worked_out_by_hand() {
    let mut patterns = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    for case in TERMS.iter().chain(JSON).chain(FIELDS) {
        let rows = case.yes.iter().map(|pattern| (pattern, true)).chain(case.no.iter().map(|pattern| (pattern, false)));
        for (pattern, expected) in rows {
            patterns.insert(*pattern);
            match Filter::parse(pattern) {
                Ok(filter) if filter.matches(case.line) == expected => {}
                Ok(_) => wrong.push(format!("{pattern}  on  {}: should be {expected}", case.line)),
                Err(error) => wrong.push(format!("{pattern}: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(patterns.len() >= 120, "{} patterns", patterns.len());
}

#[test]
fn what_is_no_pattern_is_refused_with_its_reason() {
    let reasons: Vec<String> = [
        "\"open",
        "{ $.a = 1",
        "{ $.a }",
        "{ $.a = }",
        "{ a = 1 }",
        "{ $ = 1 }",
        "{ $.a[x] = 1 }",
        "{ $.a = 1 } more",
        "{ ($.a = 1 }",
        "{ $.a > word }",
        "{ $.a > %x% }",
        "{ $.a IS MISSING }",
        "{ $.a NOT NULL }",
        "{ $.a = 1 && }",
        "[a, b",
        "[a b]",
        "[a=1 || b=2]",
        "[..., a, ...]",
        "[a>x]",
        "%(a)%",
        "%a!%",
        "%%",
        "%[a%",
        "{ $.a = %x% && $.b = %y% && $.c = %z% }",
        "{ $.a = %x }",
    ]
    .into_iter()
    .map(|pattern| format!("{pattern}   {}", Filter::parse(pattern).map_or_else(|error| error.message, |_| "TAKEN".into())))
    .collect();
    insta::assert_snapshot!(reasons.join("\n"));
    assert!(Filter::parse(&"a".repeat(1025)).is_err() && Filter::parse(&format!("{{ {}$.a = 1", "(".repeat(900))).is_err());
}

#[test]
fn a_match_names_what_it_found() {
    let captures = |pattern: &str, line: &str| Filter::parse(pattern).unwrap().captures(line);
    let named = captures("[ip, , user, ..., status = 4*, bytes]", ACCESS).unwrap();
    let expected = [("ip", "127.0.0.1"), ("$2", "Prod"), ("user", "frank"), ("status", "404"), ("bytes", "1534")];
    assert_eq!(named, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let named = captures("{ $.user.id = 1 && $.eventType = * }", DOCUMENT).unwrap();
    assert_eq!(named, [("$.user.id", "1"), ("$.eventType", "UpdateTrail")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(captures("ERROR", "ERROR"), Some(vec![]));
    assert_eq!(captures("ERROR", "fine"), None);
}

/// Texts that look like patterns, so that a reader is led deep into itself.
fn near_patterns() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "{", "}", "[", "]", "(", ")", "$", ".", "a", "b c", "=", "!=", ">", "<", "&&", "||", "%", "\"", "'", "\\", "*", "1", "-2.5e9",
        "IS", "NULL", "NOT", "EXISTS", ",", "...", "?", "-", "é", " ", "$.a", "[0]", "[*]",
    ]);
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// Names of a document's fields, one of them written in two ways.
fn names() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![r#""a""#, r#""\u0061""#, r#""ab""#, r#""b""#])
}

fn values() -> impl Strategy<Value = &'static str> {
    let all = [
        r#""ERROR""#,
        r#""\u0045RROR""#,
        r#""1e2""#,
        "1e2",
        "100.0",
        "100",
        "true",
        r#""true""#,
        "null",
        r#"["ERROR"]"#,
        r#""a/b""#,
        r#""a\/b""#,
    ];
    prop::sample::select(all.to_vec())
}

fn tests() -> impl Strategy<Value = &'static str> {
    let all = [
        " = ERROR",
        " != ERROR",
        " = E*R",
        " = \"100\"",
        " = \"100.0\"",
        " = 100",
        " = 1e2",
        " = \"1e*\"",
        " = true",
        " IS TRUE",
        " IS NULL",
        " NOT EXISTS",
        " = a/b",
        " = %ERR%",
        " = *",
    ];
    prop::sample::select(all.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_pattern_is_read_or_refused(pattern in prop_oneof![near_patterns(), ".{0,60}"], line in prop_oneof![Just(DOCUMENT.to_owned()), Just(ACCESS.to_owned()), ".{0,60}"]) {
        if let Ok(filter) = Filter::parse(&pattern) {
            prop_assert_eq!(filter.matches(&line), filter.captures(&line).is_some());
        }
    }

    /// What is told by a line's bytes alone is what its document says, however that is written.
    #[test]
    fn a_line_that_is_passed_over_does_not_match(
        pairs in prop::collection::vec((names(), values()), 0..4),
        nested in any::<bool>(),
        tests in prop::collection::vec((names(), any::<bool>(), tests()), 1..4),
        joined in prop::sample::select(vec![" && ", " || "]),
    ) {
        let object = format!("{{{}}}", pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(","));
        let line = if nested { format!("{{\"b\":{object},\"a\":[{object}]}}") } else { object };
        let tests = tests.iter().map(|(name, deep, test)| format!("$.{}[{name}]{test}", if *deep { "b." } else { "" }));
        let filter = Filter::parse(&format!("{{ {} }}", tests.collect::<Vec<_>>().join(joined)).replace("\\u0061", "a")).unwrap();
        prop_assert_eq!(filter.matches(&line), filter.captures(&line).is_some(), "{} of {:?}", line, filter);
    }

    #[test]
    fn a_line_has_its_own_words(words in prop::collection::vec("[a-zA-Z0-9]{1,8}", 1..6)) {
        let line = words.join(" ");
        prop_assert!(Filter::parse(&line).unwrap().matches(&line));
        let names = format!("[{}]", vec!["w"; words.len()].join(","));
        prop_assert!(Filter::parse(&names).unwrap().matches(&line), "{names}");
    }

    #[test]
    fn stars_stand_for_anything(parts in prop::collection::vec("[a-c]{0,3}", 1..4), fill in "[a-c]{0,3}") {
        prop_assert!(compare::like(&parts.join("*"), &parts.join(&fill)));
        prop_assert!(compare::like("*", &fill));
    }

    #[test]
    fn numbers_are_ordered(a in -1000i32..1000, b in -1000i32..1000) {
        let line = format!("{{\"n\":{a}}}");
        let holds = |sign: &str| Filter::parse(&format!("{{ $.n {sign} {b} }}")).unwrap().matches(&line);
        let held = ["<", ">", "=", "!=", "<=", ">="].map(holds);
        prop_assert_eq!(held, [a < b, a > b, a == b, a != b, a <= b, a >= b]);
    }
}
