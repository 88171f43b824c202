//! What joins resources: held back until all of them are known, then put where it belongs and checked.

use std::collections::BTreeMap;

use super::{error::Problems, notifications};
use crate::stack::{
    Asynchronous, BucketNotification, EVENT_BUS, EventRule, EventSourceMapping, Function, HttpApi, Queue, Route, Schedule, Stack,
    function_arn, queue_arn,
};

/// Where something stands in the template, for problems that show only later.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) resource: String,
    pub(super) property: String,
    pub(super) line: usize,
}

impl Place {
    fn fail(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.add(self.line, &self.resource, &self.property, message);
    }
}

/// A link with its place.
pub(super) type At<T> = (T, Place);

/// What was read of links so far.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) mappings: Vec<At<EventSourceMapping>>,
    pub(super) schedules: Vec<At<Schedule>>,
    pub(super) event_rules: Vec<At<EventRule>>,
    /// Bucket name and what a function wants to hear of it.
    pub(super) notifications: Vec<At<(String, BucketNotification)>>,
    /// Reference of the HTTP API and a route of it.
    pub(super) routes: Vec<At<(String, Route)>>,
    /// Function name and how its asynchronous invocations end.
    pub(super) asynchronous: Vec<At<(String, Asynchronous)>>,
    /// HTTP APIs by their references.
    pub(super) apis: Vec<(String, HttpApi)>,
    /// Places of the properties of queues and buckets that name others: by `queue <name>` and `bucket <name>`.
    pub(super) lines: BTreeMap<String, Place>,
}

impl Links {
    /// Puts every link into the stack.
    pub(super) fn tie(self, stack: &mut Stack, problems: &mut Problems) {
        let Self { mappings, schedules, event_rules, notifications, routes, asynchronous, apis, lines } = self;
        for ((function, how), place) in asynchronous {
            match stack.functions.iter_mut().find(|f| f.name == function) {
                Some(function) => {
                    let dead_letter = function.asynchronous.dead_letter.take();
                    function.asynchronous = Asynchronous { dead_letter, ..how };
                }
                None => place.fail(problems, no_function(&function)),
            }
        }
        for ((bucket, notification), place) in notifications {
            tell(stack, &bucket, notification, &place, problems);
        }
        stack.http_apis = apis.iter().map(|(_, api)| api.clone()).collect();
        for ((api, route), place) in routes {
            match apis.iter().position(|(reference, _)| *reference == api).and_then(|at| stack.http_apis.get_mut(at)) {
                Some(api) => add_route(api, route, &place, problems),
                None => place.fail(problems, format!("`{api}` is no HTTP API of this template; name one with Ref")),
            }
        }
        let check = Check { stack, lines: &lines };
        for (mapping, place) in &mappings {
            check.mapping(mapping, place, problems);
        }
        for (schedule, place) in &schedules {
            if check.function(&schedule.function).is_none() {
                place.fail(problems, no_function(&schedule.function));
            }
        }
        for (rule, place) in &event_rules {
            check.event_rule(rule, place, problems);
        }
        check.queues(problems);
        check.buckets(problems);
        check.asynchronous(problems);
        stack.mappings = mappings.into_iter().map(|(mapping, _)| mapping).collect();
        stack.schedules = schedules.into_iter().map(|(schedule, _)| schedule).collect();
        stack.event_rules = event_rules.into_iter().map(|(rule, _)| rule).collect();
    }
}

fn no_function(name: &str) -> String {
    format!("`{name}` is no function of this template; name one with Ref or Fn::GetAtt Function.Arn")
}

fn no_queue(arn: &str) -> String {
    format!("`{arn}` is no queue of this template; name one with Fn::GetAtt Queue.Arn")
}

fn tell(stack: &mut Stack, bucket: &str, notification: BucketNotification, place: &Place, problems: &mut Problems) {
    let Some(bucket) = stack.buckets.iter_mut().find(|b| b.name == bucket) else {
        place.fail(problems, format!("`{bucket}` is no bucket of this template; name one with Ref"));
        return;
    };
    if bucket.notifications.iter().any(|other| notifications::ambiguous(other, &notification)) {
        let message = "overlaps with another notification of the bucket, which S3 refuses; make event, prefix or suffix differ";
        place.fail(problems, message);
    }
    bucket.notifications.push(notification);
}

fn add_route(api: &mut HttpApi, route: Route, place: &Place, problems: &mut Problems) {
    if api.routes.iter().any(|other| (&other.method, &other.path) == (&route.method, &route.path)) {
        let method = route.method.as_deref().unwrap_or("ANY");
        place.fail(problems, format!("the API has a route {method} {} already; change the path or the method", route.path));
    }
    api.routes.push(route);
}

/// What must hold between resources.
struct Check<'a> {
    stack: &'a Stack,
    lines: &'a BTreeMap<String, Place>,
}

impl Check<'_> {
    fn function(&self, name: &str) -> Option<&Function> {
        self.stack.functions.iter().find(|f| f.name == name)
    }

    fn queue(&self, arn: &str) -> Option<&Queue> {
        self.stack.queues.iter().find(|queue| queue_arn(&queue.name) == arn)
    }

    fn fail(&self, name: &str, property: &str, problems: &mut Problems, message: String) {
        let place = self.lines.get(name).cloned();
        let (resource, line) = place.map(|place| (place.resource, place.line)).unwrap_or_default();
        problems.add(line, &resource, property, message);
    }

    /// A mapping's queue hides a message for as long as its function may run, and a FIFO queue gives small batches at once.
    /// Source: AWS Lambda API reference, `CreateEventSourceMapping`.
    fn mapping(&self, mapping: &EventSourceMapping, place: &Place, problems: &mut Problems) {
        let function = self.function(&mapping.function);
        if function.is_none() {
            place.fail(problems, no_function(&mapping.function));
        }
        let Some(queue) = self.queue(&mapping.queue_arn) else {
            place.fail(problems, no_queue(&mapping.queue_arn));
            return;
        };
        if queue.fifo.is_some() && (mapping.batch_size > 10 || !mapping.batch_window.is_zero()) {
            let message = "a FIFO queue gives batches of at most 10, without MaximumBatchingWindowInSeconds; change the mapping";
            place.fail(problems, message);
        }
        let Some(function) = function.filter(|function| queue.visibility_timeout < function.timeout) else { return };
        let message = format!(
            "{} s is below the timeout of {} ({} s), which it feeds; Lambda refuses that: raise it to at least the timeout",
            queue.visibility_timeout.as_secs(),
            function.name,
            function.timeout.as_secs()
        );
        self.fail(&format!("queue {}", queue.name), "Properties.VisibilityTimeout", problems, message);
    }

    /// Source: SQS developer guide, "Using dead-letter queues".
    fn queues(&self, problems: &mut Problems) {
        for queue in &self.stack.queues {
            let Some(redrive) = &queue.redrive else { continue };
            let own = queue_arn(&queue.name);
            let message = match self.queue(&redrive.dead_letter_target_arn) {
                None => no_queue(&redrive.dead_letter_target_arn),
                Some(dead) if dead.fifo.is_some() != queue.fifo.is_some() => {
                    format!("`{}` must be a FIFO queue exactly if this one is; change one of them", dead.name)
                }
                Some(dead) if dead.redrive_allow.as_ref().is_some_and(|allowed| !allowed.contains(&own)) => {
                    format!("the RedriveAllowPolicy of `{}` does not let this queue in; add {own} to its sourceQueueArns", dead.name)
                }
                Some(_) => continue,
            };
            self.fail(&format!("queue {}", queue.name), "Properties.RedrivePolicy", problems, message);
        }
    }

    /// Source: S3 user guide, "Supported event destinations": FIFO queues are none.
    fn buckets(&self, problems: &mut Problems) {
        for bucket in &self.stack.buckets {
            for arn in bucket.notifications.iter().map(|notification| &notification.target_arn).filter(|arn| *arn != EVENT_BUS) {
                let message = match self.queue(arn) {
                    Some(queue) if queue.fifo.is_some() => {
                        format!("`{}` is a FIFO queue, which S3 does not send to; use a standard queue", queue.name)
                    }
                    None if !self.is_function(arn) && arn.contains(":function:") => no_function(arn),
                    None if !self.is_function(arn) => no_queue(arn),
                    _ => continue,
                };
                self.fail(&format!("bucket {}", bucket.name), "Properties.NotificationConfiguration", problems, message);
            }
        }
    }

    fn event_rule(&self, rule: &EventRule, place: &Place, problems: &mut Problems) {
        for arn in &rule.targets {
            match self.queue(arn) {
                Some(queue) if queue.fifo.is_some() => {
                    place.fail(problems, format!("`{}` is a FIFO queue, which the platform's bus does not send to", queue.name));
                }
                None if !self.is_function(arn) => {
                    place.fail(
                        problems,
                        format!("`{arn}` is no queue or function of this template, and the platform hands events on nowhere else"),
                    );
                }
                _ => {}
            }
        }
    }

    fn is_function(&self, arn: &str) -> bool {
        self.stack.functions.iter().any(|f| function_arn(&f.name) == arn)
    }

    fn asynchronous(&self, problems: &mut Problems) {
        for function in &self.stack.functions {
            let how = &function.asynchronous;
            let targets =
                [("EventInvokeConfig", &how.on_failure), ("EventInvokeConfig", &how.on_success), ("DeadLetterQueue", &how.dead_letter)];
            for (property, arn) in targets.into_iter().filter_map(|(property, arn)| Some((property, arn.as_ref()?))) {
                let message = match self.queue(arn) {
                    Some(queue) if queue.fifo.is_some() => format!("`{}` is a FIFO queue, which Lambda does not send to here", queue.name),
                    Some(_) => continue,
                    None if property == "EventInvokeConfig" && self.is_function(arn) => continue,
                    None if property == "EventInvokeConfig" => {
                        format!("`{arn}` is no queue or function of this template, and the platform sends such records nowhere else")
                    }
                    None => no_queue(arn),
                };
                self.fail(&format!("function {}", function.name), &format!("Properties.{property}"), problems, message);
            }
        }
    }
}
