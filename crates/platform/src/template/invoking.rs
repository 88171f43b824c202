//! How asynchronous invocations end: `EventInvokeConfig`, `DeadLetterQueue` and their plain forms.

use super::{error::Problems, links::At, props::Props};
use crate::stack::Asynchronous;

/// Of `AWS::Serverless::Function`: `EventInvokeConfig` and `DeadLetterQueue`.
pub(super) fn of_serverless(props: &mut Props<'_>, problems: &mut Problems) -> Asynchronous {
    let mut how = Asynchronous::default();
    if let Some(mut dead) = props.map("DeadLetterQueue", problems) {
        dead.required("Type", problems);
        dead.only("Type", &["SQS"], problems);
        how.dead_letter = dead.required("TargetArn", problems).map(str::to_owned);
        dead.finish(problems);
    }
    if let Some(mut config) = props.map("EventInvokeConfig", problems) {
        bounds(&mut config, &mut how, problems);
        destinations(&mut config, &mut how, true, problems);
        config.finish(problems);
    }
    how
}

/// Of `AWS::Lambda::Function`: `DeadLetterConfig`.
pub(super) fn of_plain(props: &mut Props<'_>, problems: &mut Problems) -> Asynchronous {
    let mut how = Asynchronous::default();
    if let Some(mut dead) = props.map("DeadLetterConfig", problems) {
        how.dead_letter = dead.text("TargetArn", problems).map(str::to_owned);
        dead.finish(problems);
    }
    how
}

/// `AWS::Lambda::EventInvokeConfig`: the function's name, and how.
pub(super) fn resource(mut props: Props<'_>, problems: &mut Problems) -> Option<At<(String, Asynchronous)>> {
    let place = props.place("FunctionName");
    let function = props.required("FunctionName", problems).map(super::function_name);
    props.required("Qualifier", problems);
    props.only("Qualifier", &["$LATEST"], problems);
    let mut how = Asynchronous::default();
    bounds(&mut props, &mut how, problems);
    destinations(&mut props, &mut how, false, problems);
    props.finish(problems);
    Some(((function?, how), place))
}

fn bounds(props: &mut Props<'_>, how: &mut Asynchronous, problems: &mut Problems) {
    how.retries = props.number("MaximumRetryAttempts", 0..=2, problems).unwrap_or(how.retries);
    how.max_age = props.seconds("MaximumEventAgeInSeconds", 60..=21_600, problems).unwrap_or(how.max_age);
}

/// `typed`: SAM names the kind of each destination beside it.
fn destinations(props: &mut Props<'_>, how: &mut Asynchronous, typed: bool, problems: &mut Problems) {
    let Some(mut config) = props.map("DestinationConfig", problems) else { return };
    for (key, target) in [("OnFailure", &mut how.on_failure), ("OnSuccess", &mut how.on_success)] {
        let Some(mut destination) = config.map(key, problems) else { continue };
        if typed {
            destination.required("Type", problems);
            destination.only("Type", &["SQS", "Lambda"], problems);
        }
        *target = destination.required("Destination", problems).map(str::to_owned);
        destination.finish(problems);
    }
    config.finish(problems);
}
