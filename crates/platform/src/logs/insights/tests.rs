//! Queries with answers worked out by hand from the guide's pages.

use proptest::prelude::*;

use super::*;

/// 2024-03-01 00:00:00 UTC, milliseconds.
const START: i64 = 1_709_251_200_000;

/// Milliseconds from the start, and the line.
type Lines = &'static [(i64, &'static str)];

const APP: Lines = &[
    (0, r#"{"level":"INFO","task":"c1","ms":100,"job":{"id":"a","tags":["x","y"]},"ok":true,"a.b":7,"none":null}"#),
    (60_000, r#"{"level":"ERROR","task":"c2","ms":300,"job":{"id":"a"},"ok":false,"error":"timeout"}"#),
    (150_000, r#"{"level":"INFO","task":"c1","ms":200,"job":{"id":"b"}}"#),
    (300_000, r#"{"level":"WARN","task":"a0","ms":50.5,"job":{"id":"b"}}"#),
    (420_000, "user=bob, method:GET, latency := 21"),
    (599_500, r#"{"level":"ERROR","task":"c3","ms":"400","job":{"id":"c"},"error":"Exception: disk full"}"#),
];

const LAMBDA: Lines = &[
    (0, "START RequestId: 11111111-2222-3333-4444-555555555555 Version: $LATEST"),
    (10, "[ERROR] (stage) {\"fault\":\"retry\"} trailing"),
    (20, "END RequestId: 11111111-2222-3333-4444-555555555555"),
    (
        30,
        "REPORT RequestId: 11111111-2222-3333-4444-555555555555\tDuration: 3.16 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB\tMax Memory Used: 64 MB\tInit Duration: 20.5 ms\t",
    ),
    (
        1_000,
        "REPORT RequestId: 66666666-2222-3333-4444-555555555555\tDuration: 6.84 ms\tBilled Duration: 7 ms\tMemory Size: 128 MB\tMax Memory Used: 96 MB\t",
    ),
];

const ACCESS: Lines = &[
    (0, "10.0.0.1 GET /a 200 10"),
    (1_000, "10.0.0.2 GET /b 404 20"),
    (2_000, "192.168.1.9 POST /a 500 30"),
    (3_000, "10.0.0.1 GET /a 200 40"),
    (4_000, "::1 GET /c 200   50"),
];

/// Rows as `name=value, …`, one a line.
fn answer(lines: Lines, query: &str) -> Result<String, String> {
    let mut run = Run::new(parse(query)?, None);
    for (number, (at, message)) in lines.iter().enumerate().rev() {
        let id = i64::try_from(number).unwrap_or_default();
        run.push(&Line { timestamp_ms: START + at, ingested_ms: START + at + 5, group: "/aws/lambda/f", stream: "s/1", message, id })?;
    }
    let rows = run.finish()?;
    let row = |row: &Vec<Cell>| {
        row.iter().filter(|cell| cell.field != "@ptr").map(|cell| format!("{}={}", cell.field, cell.value)).collect::<Vec<_>>().join(", ")
    };
    Ok(rows.iter().map(row).collect::<Vec<_>>().join("\n"))
}

/// Data, query, rows.
type Row = (Lines, &'static str, &'static [&'static str]);

const FIELDS: &[Row] = &[
    (APP, "fields level, ms | limit 2", &["level=ERROR, ms=400", ""]),
    (APP, "fields @timestamp, level | filter level = 'WARN'", &["@timestamp=2024-03-01 00:05:00.000, level=WARN"]),
    (APP, "filter task = 'a0' | display level", &["level=WARN"]),
    (APP, "fields level | fields task | filter ms = 300", &["level=ERROR, task=c2"]),
    (APP, "fields level | display task | filter ms = 300", &["task=c2"]),
    (APP, "FIELDS ms * 2 AS twice | FILTER ms = 100", &["twice=200"]),
    (APP, "fields ms/3 | filter ms = 100", &["ms/3=33.3333"]),
    (APP, "fields job.id, job.tags.1 | filter ms = 100", &["job.id=a, job.tags.1=y"]),
    (APP, "fields job | filter task = 'a0'", &["job={\"id\":\"b\"}"]),
    (APP, "fields `a.b` | filter ispresent(`a.b`)", &["a.b=7"]),
    (APP, "fields ok, error | filter task = 'c2'", &["ok=0, error=timeout"]),
    (APP, "filter ispresent(none) | fields level", &[]),
    (APP, "filter ms > 250 | fields task # a comment\n| sort task asc", &["task=c2", "task=c3"]),
    (APP, "| fields task | limit 1", &["task=c3"]),
    (
        APP,
        "fields @logStream, @log, @ingestionTime | filter task = 'a0'",
        &["@logStream=s/1, @log=000000000000:/aws/lambda/f, @ingestionTime=2024-03-01 00:05:00.005"],
    ),
    (
        APP,
        "filter task = 'a0'",
        &["@timestamp=2024-03-01 00:05:00.000, @message={\"level\":\"WARN\",\"task\":\"a0\",\"ms\":50.5,\"job\":{\"id\":\"b\"}}"],
    ),
    (APP, "display level = 'ERROR' as isError | filter ms >= 300", &["isError=1", "isError=1"]),
    (LAMBDA, "fields fault | filter ispresent(fault)", &["fault=retry"]),
    (
        LAMBDA,
        "filter @type = 'REPORT' | fields @requestId, @duration, @initDuration",
        &[
            "@requestId=66666666-2222-3333-4444-555555555555, @duration=6.84",
            "@requestId=11111111-2222-3333-4444-555555555555, @duration=3.16, @initDuration=20.5",
        ],
    ),
];

const FILTERS: &[Row] = &[
    (APP, "filter level like 'RR' | stats count(*)", &["count(*)=2"]),
    (APP, "filter @message like /(?i)exception/ | fields task", &["task=c3"]),
    (APP, "filter @message =~ /time(out)?/ | fields task", &["task=c2"]),
    (APP, "filter level not like /ERR|WARN/ | stats count(*) as n", &["n=3"]),
    (APP, "filter level in ['WARN', 'ERROR'] | stats count(*) as n", &["n=3"]),
    (APP, "filter level not in ['INFO', 'ERROR'] and ispresent(level) | fields task", &["task=a0"]),
    (APP, "filter ms in [100, 200] | stats count(*) as n", &["n=2"]),
    (APP, "filter not (level = 'INFO') and ispresent(level) | stats count(*) as n", &["n=3"]),
    (APP, "filter level = 'INFO' or level = 'WARN' and ms > 100 | stats count(*) as n", &["n=2"]),
    (APP, "filter (level = 'INFO' or level = 'WARN') and ms > 100 | stats count(*) as n", &["n=1"]),
    (APP, "filter level != 'INFO' | stats count(*) as n", &["n=3"]),
    (APP, "filter missing != 'x' | stats count(*) as n", &["n=0"]),
    (APP, "filter ms >= 50.5 and ms <= 100 | stats count(*) as n", &["n=2"]),
    (APP, "filter ok | fields task", &["task=c1"]),
    (APP, "filter ok = true | fields task", &["task=c1"]),
    (APP, "filter ok = false | fields task", &["task=c2"]),
    (APP, "filter ms % 200 = 0 | stats count(*) as n", &["n=2"]),
    (APP, "filter 2 ^ 3 ^ 2 = 512 and -2 < 1 | stats count(*) as n", &["n=6"]),
    (APP, "filter 2 + 3 * 4 - 6 / 2 = 11 | stats count(*) as n", &["n=6"]),
    (APP, "filter @timestamp > 1709251500000 | stats count(*) as n", &["n=2"]),
    (APP, "filter level = 'ERROR' | filter ms > 300 | fields task", &["task=c3"]),
    (APP, "filter level = \"it's\" | fields task", &[]),
    (APP, "filter error like 'a/b' or error like /disk full$/ | fields task", &["task=c3"]),
    (LAMBDA, "filter @message like /\\[ERROR\\]/ | stats count(*) as n", &["n=1"]),
    (ACCESS, "filter @message not like /GET/ | parse @message '* *' as ip, rest | display ip", &["ip=192.168.1.9"]),
];

const PARSES: &[Row] = &[
    (
        APP,
        "parse @message 'user=*, method:*, latency := *' as user, method, latency | filter ispresent(user) | display user, method, latency * 2",
        &["user=bob, method=GET, latency * 2=42"],
    ),
    (APP, "parse @message /user=(?<user>[a-z]+), method:(?<verb>[A-Z]+)/ | filter verb = 'GET' | fields user", &["user=bob, verb=GET"]),
    (APP, "fields task | parse error '*: *' as kind, rest | filter kind = 'Exception'", &["task=c3, kind=Exception, rest=disk full"]),
    (APP, "parse 'latency := *' as latency | stats avg(latency)", &["avg(latency)=21"]),
    (
        ACCESS,
        "parse @message '* * * * *' as ip, verb, path, status, bytes | stats sum(bytes) as total by path | sort total desc",
        &["path=/a, total=80", "path=/c, total=50", "path=/b, total=20"],
    ),
    (ACCESS, "parse @message /^(?<ip>\\S+) (\\S+) (?<path>\\S+)/ | filter path = '/b' | display ip", &["ip=10.0.0.2"]),
];

const STATS: &[Row] = &[
    (APP, "stats count(*)", &["count(*)=6"]),
    (APP, "stats count() as n", &["n=6"]),
    (APP, "stats count(level) as n", &["n=5"]),
    (APP, "stats count_distinct(level) as n", &["n=3"]),
    (APP, "stats sum(ms), avg(ms), min(ms), max(ms)", &["sum(ms)=1050.5, avg(ms)=210.1, min(ms)=50.5, max(ms)=400"]),
    (
        APP,
        "filter ispresent(level) | stats count(*) as n by level | sort n desc, level asc",
        &["level=ERROR, n=2", "level=INFO, n=2", "level=WARN, n=1"],
    ),
    (APP, "filter ispresent(level) | stats count(*) by level | sort count(*) asc, level | limit 1", &["level=WARN, count(*)=1"]),
    (APP, "stats count(*) as n by bin(5m) as t | sort t asc", &["t=2024-03-01 00:00:00.000, n=3", "t=2024-03-01 00:05:00.000, n=3"]),
    (APP, "stats count(*) by bin(1h)", &["bin(1h)=2024-03-01 00:00:00.000, count(*)=6"]),
    (APP, "stats max(ms) by bin(1d), level | sort level desc | limit 1", &["bin(1d)=2024-03-01 00:00:00.000, level=WARN, max(ms)=50.5"]),
    (APP, "stats pct(ms, 50) as median, pct(ms, 100) as p100, pct(ms, 0) as p0", &["median=200, p100=400, p0=50.5"]),
    (APP, "stats pct(ms, 75) as p", &["p=300"]),
    (ACCESS, "parse @message /(?<bytes>[0-9]+)$/ | stats pct(bytes, 90) as p, stddev(bytes) as d", &["p=46, d=14.1421"]),
    (APP, "stats earliest(task) as first, latest(task) as last", &["first=c1, last=c3"]),
    (APP, "stats sortsFirst(task) as first, sortsLast(level) as last", &["first=a0, last=WARN"]),
    (APP, "stats max(ms) - min(ms) as spread", &["spread=349.5"]),
    (APP, "stats max(ms) as high, min(ms) as low, high - low as spread", &["high=400, low=50.5, spread=349.5"]),
    (APP, "stats sum(ms) / count(ms) as mean", &["mean=210.1"]),
    (APP, "stats sum(ms > 150) as slow", &["slow=3"]),
    (
        APP,
        "filter ispresent(job.id) | stats sum(ms) as total by job.id as id | sort total desc, id asc | limit 2",
        &["id=a, total=400", "id=c, total=400"],
    ),
    (APP, "stats avg(nothing), count(nothing)", &["count(nothing)=0"]),
    (APP, "filter level = 'NONE' | stats count(*) as n by level", &[]),
    (APP, "stats count(*) as n by level, task | stats max(n) as most", &["most=2"]),
    (
        APP,
        "filter ispresent(ms) | stats avg(ms) as mean by task | filter mean > 100 | sort mean asc",
        &["task=c1, mean=150", "task=c2, mean=300", "task=c3, mean=400"],
    ),
    (
        LAMBDA,
        "filter @type = 'REPORT' | stats max(@memorySize / 1000 / 1000) as provisionedMB, max(@maxMemoryUsed / 1000 / 1000) as usedMB, provisionedMB - usedMB as over",
        &["provisionedMB=128, usedMB=96, over=32"],
    ),
    (
        LAMBDA,
        "filter @type = 'REPORT' | stats count(*) as calls, count(@initDuration) as cold, avg(@duration), sum(@billedDuration)",
        &["calls=2, cold=1, avg(@duration)=5, sum(@billedDuration)=11"],
    ),
    (
        LAMBDA,
        "filter @type = 'REPORT' | stats sum(strcontains(@message, 'Init Duration')) / count(*) * 100 as coldStartPercent",
        &["coldStartPercent=50"],
    ),
];

const ORDER: &[Row] = &[
    (APP, "fields task | sort ms asc | limit 3", &["task=a0", "task=c1", "task=c1"]),
    (APP, "filter ispresent(ms) | sort ms desc | display task", &["task=c3", "task=c2", "task=c1", "task=c1", "task=a0"]),
    (APP, "fields task | sort level asc, ms desc | limit 2", &["task=c3", "task=c2"]),
    (APP, "fields task | sort @timestamp asc | limit 2", &["task=c1", "task=c2"]),
    (APP, "fields ms | filter ispresent(ms) | sort by ms | limit 1", &["ms=400"]),
    (APP, "fields task | dedup task", &["task=c3", "", "task=a0", "task=c1", "task=c2"]),
    (APP, "fields task | sort @timestamp asc | dedup task", &["task=c1", "task=c2", "task=a0", "", "task=c3"]),
    (
        APP,
        "fields task, level | filter ispresent(level) | sort ms asc | dedup level, task | limit 2",
        &["task=a0, level=WARN", "task=c1, level=INFO"],
    ),
];

const FUNCTIONS: &[Row] = &[
    (
        APP,
        "filter task = 'a0' | display abs(-3), ceil(1.2), floor(1.8), sqrt(16), greatest(1, 5, 3), least(4, 2)",
        &["abs(-3)=3, ceil(1.2)=2, floor(1.8)=1, sqrt(16)=4, greatest(1, 5, 3)=5, least(4, 2)=2"],
    ),
    (APP, "filter task = 'a0' | display log(1) as zero, exp(0) as one", &["zero=0, one=1"]),
    (APP, "filter task = 'a0' | display strlen('üb 1') as n, toupper('ab') as up, tolower('AB') as low", &["n=4, up=AB, low=ab"]),
    (APP, "filter task = 'a0' | display substr('xyZfooxyZ', 3) as a, substr('xyZfooxyZ', 3, 3) as b", &["a=fooxyZ, b=foo"]),
    (APP, "filter task = 'a0' | display replace('foofoo', 'foo', 'bar') as r, concat('a', 1, 'b') as c", &["r=barbar, c=a1b"]),
    (
        APP,
        "filter task = 'a0' | display trim('  x ') as a, trim('xyZfooxyZ', 'xyZ') as b, ltrim('xyZfoo', 'xyZ') as c, rtrim('fooxyZ', 'xyZ') as d",
        &["a=x, b=foo, c=foo, d=foo"],
    ),
    (
        APP,
        "filter task = 'a0' | display isempty('') as a, isempty(gone) as b, isblank('  ') as c, isblank('x') as d",
        &["a=1, b=1, c=1, d=0"],
    ),
    (APP, "filter task = 'a0' | display coalesce(gone, error, level) as c, ispresent(error) as p", &["c=WARN, p=0"]),
    (APP, "filter task = 'a0' | display if(ms > 50, 'slow', 'quick') as speed", &["speed=slow"]),
    (
        APP,
        "filter task = 'a0' | display toMillis(@timestamp) as ms, fromMillis(0) as epoch",
        &["ms=1709251500000, epoch=1970-01-01 00:00:00.000"],
    ),
    (
        APP,
        "filter task = 'c3' | display datefloor(@timestamp, 1m) as f, dateceil(@timestamp, 5m) as c",
        &["f=2024-03-01 00:09:00.000, c=2024-03-01 00:10:00.000"],
    ),
    (
        APP,
        "filter task = 'c3' | display datefloor(@timestamp, 1mo) as m, datefloor(@timestamp, 1y) as y, dateceil(@timestamp, 1q) as q, datefloor(@timestamp, 1w) as w",
        &["m=2024-03-01 00:00:00.000, y=2024-01-01 00:00:00.000, q=2024-04-01 00:00:00.000, w=2024-02-29 00:00:00.000"],
    ),
    (APP, "filter now() > @timestamp | stats count(*) as n", &["n=6"]),
    (ACCESS, "parse @message '* *' as ip, rest | filter isValidIpv6(ip) | display ip", &["ip=::1"]),
    (
        ACCESS,
        "parse @message '* *' as ip, rest | stats sum(isIpv4InSubnet(ip, '10.0.0.0/8')) as inside, sum(isValidIp(ip)) as valid, sum(isValidIpv4(ip)) as four",
        &["inside=3, valid=5, four=4"],
    ),
    (
        ACCESS,
        "parse @message '* *' as ip, rest | filter isIpInSubnet(ip, '::/64') or isIpInSubnet(ip, '192.168.1.8/31') | sort ip | display ip",
        &["ip=::1", "ip=192.168.1.9"],
    ),
];

#[test]
fn queries_answer_as_worked_out_by_hand() {
    let mut wrong = Vec::new();
    let rows: Vec<&Row> = [FIELDS, FILTERS, PARSES, STATS, ORDER, FUNCTIONS].into_iter().flatten().collect();
    for (lines, query, expected) in &rows {
        match answer(lines, query) {
            Ok(found) if found == expected.join("\n") => {}
            Ok(found) => wrong.push(format!("{query}\n  should be: {expected:?}\n  is: {:?}", found.lines().collect::<Vec<_>>())),
            Err(why) => wrong.push(format!("{query}\n  {why}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert!(rows.len() >= 80, "{} queries", rows.len());
}

#[test]
fn what_is_no_query_is_refused_with_its_reason() {
    let reasons: Vec<String> = [
        "select * from lines",
        "fields",
        "fields a b",
        "filter a = ",
        "filter a like b",
        "filter a in 'x'",
        "filter (a = 1",
        "filter a = 'x",
        "filter @message like /x",
        "filter @message like /(x/",
        "filter count(*) > 1",
        "filter nothing(a)",
        "filter substr(a) = 1",
        "fields 5m",
        "stats a by b",
        "stats avg(count(*))",
        "stats count(*) by bin(5)",
        "stats count(*) by bin(0m)",
        "stats pct(a, 101)",
        "sort count(*)",
        "limit 0",
        "limit 10001",
        "limit 1.5",
        "parse @message '* *' as a",
        "parse @message /x/",
        "dedup",
        "pattern @message",
        "fields a | | fields b",
    ]
    .into_iter()
    .map(|query| format!("{query}   {}", parse(query).map_or_else(|why| why, |_| "TAKEN".into())))
    .collect();
    insta::assert_snapshot!(reasons.join("\n"));
    assert!(parse(&"(".repeat(5_000)).is_err() && parse(&format!("filter {}1", "2^".repeat(3_000))).is_err());
    assert!(parse(&format!("filter {}1 = 1", "not ".repeat(2_000))).is_ok());
}

#[test]
fn memory_is_bounded() {
    let mut run = Run::new(parse("stats count(*) by n").unwrap(), None);
    let ended = (0..=MAX_GROUPS).try_for_each(|n| {
        let message = format!("{{\"n\":{n}}}");
        run.push(&Line { timestamp_ms: 0, ingested_ms: 0, group: "g", stream: "s", message: &message, id: 0 })
    });
    assert!(ended.unwrap_err().contains("groups"));
    let mut run = Run::new(parse("fields n | sort n desc").unwrap(), Some(10));
    for n in 0..50_000 {
        let message = format!("{{\"n\":{n}}}");
        run.push(&Line { timestamp_ms: 0, ingested_ms: 0, group: "g", stream: "s", message: &message, id: 0 }).unwrap();
    }
    let values: Vec<String> = run.finish().unwrap().into_iter().map(|row| row[0].value.clone()).collect();
    assert_eq!(values, (49_990..50_000).rev().map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Texts that look like queries.
fn near_queries() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "fields ", "filter ", "stats ", "sort ", "parse ", "limit ", "dedup ", "display ", "|", "@message", "a", "b.c", "`x`", "'t'", "\"",
        "/r/", "/", "*", "+", "-", "^", "%", "=", "!=", " like ", " in ", "[", "]", "(", ")", ",", " by ", " as ", " and ", " or ",
        " not ", "bin(", "5m", "1e9", "count(*)", "avg(", "pct(", "1", "#", "\n", "é", "if(", "substr(", "'* *'",
    ]);
    prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_query_is_answered_or_refused(query in prop_oneof![near_queries(), ".{0,80}"]) {
        let _ = answer(APP, &query);
    }

    #[test]
    fn any_line_is_taken(line in ".{0,200}", query in prop::sample::select(vec![
        "fields a, b.c | filter a = 1", "stats avg(a), pct(b, 9), count_distinct(c) by bin(1m), d", "parse @message '*{*' as x, y | sort x",
        "filter @type = 'REPORT' | fields @duration", "fields substr(@message, 3, 2), @requestId | dedup @requestId"])) {
        let mut run = Run::new(parse(query).unwrap(), None);
        run.push(&Line { timestamp_ms: START, ingested_ms: START, group: "g", stream: "s", message: &line, id: 1 }).unwrap();
        run.finish().unwrap();
    }

    /// Grouping splits what is counted and summed, and loses nothing.
    #[test]
    fn groups_add_up(values in prop::collection::vec((0u8..4, -100i32..100), 0..40)) {
        let fill = |query: &str| {
            let mut run = Run::new(parse(query).unwrap(), None);
            for (group, value) in &values {
                let message = format!("{{\"g\":\"{group}\",\"v\":{value}}}");
                run.push(&Line { timestamp_ms: 0, ingested_ms: 0, group: "g", stream: "s", message: &message, id: 1 }).unwrap();
            }
            let column = |rows: Vec<Vec<Cell>>, name: &str| -> Vec<f64> {
                rows.iter().flatten().filter(|cell| cell.field == name).map(|cell| cell.value.parse().unwrap()).collect()
            };
            let rows = run.finish().unwrap();
            (column(rows.clone(), "n"), column(rows, "s"))
        };
        let (counts, sums) = fill("stats count(*) as n, sum(v) as s by g");
        let expected: i64 = values.iter().map(|(_, value)| i64::from(*value)).sum();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let (expected, length) = (expected as f64, values.len() as f64);
        let total = |numbers: &[f64]| format!("{:.0}", numbers.iter().sum::<f64>() + 0.0);
        prop_assert_eq!(total(&counts), total(&[length]));
        prop_assert_eq!(total(&sums), total(&[expected]));
        let (whole, _) = fill("stats count(*) as n, sum(v) as s");
        prop_assert_eq!(whole, vec![length]);
    }
}
