//! Addresses of APIs in a template's own words: `https://${Api}.execute-api.${AWS::Region}.amazonaws.com` is where the
//! platform serves the API, in outputs and in what functions are told.

use crate::stack::{REGION, Stack, http_api_id};

/// Replaces the addresses that the stack's APIs have on AWS. `endpoints`: of its APIs, in order, as
/// `http://127.0.0.1:4567`.
pub(crate) fn localise<'a>(stack: &mut Stack, endpoints: impl Iterator<Item = &'a str>) {
    let on_aws = |id: &str| format!("https://{}.execute-api.{REGION}.amazonaws.com", http_api_id(id));
    let places: Vec<(String, &str)> = stack.http_apis.iter().map(|api| on_aws(&api.logical_id)).zip(endpoints).collect();
    let environments = stack.functions.iter_mut().flat_map(|function| function.environment.values_mut());
    for value in environments.chain(stack.outputs.values_mut()) {
        for (on_aws, here) in &places {
            if value.contains(on_aws) {
                *value = value.replace(on_aws, here);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::HttpApi;

    #[test]
    fn addresses_of_own_apis_are_where_they_are_served() {
        let id = http_api_id("Api");
        let api = HttpApi { logical_id: "Api".into(), ..HttpApi::default() };
        let address = format!("https://{id}.execute-api.us-east-1.amazonaws.com/dev/films");
        let foreign = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/".to_owned();
        let outputs = [("Films".to_owned(), address), ("Foreign".to_owned(), foreign.clone())].into();
        let mut stack = Stack { http_apis: vec![api], outputs, ..Stack::default() };
        localise(&mut stack, ["http://127.0.0.1:4567"].into_iter());
        assert_eq!(stack.outputs["Films"], "http://127.0.0.1:4567/dev/films");
        assert_eq!(stack.outputs["Foreign"], foreign);
    }
}
