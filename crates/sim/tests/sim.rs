use sim::{Scenario, check, run};

#[test]
fn happy() {
    let outcome = run(&Scenario { films: 1, trace: true, ..Scenario::default() });
    for line in outcome.state.trace.iter().flatten() { println!("{line}"); }
    println!("ops {} took {} {:?}", outcome.state.ops, outcome.took_ms, outcome.invocations);
    for (k, v) in check::published(&outcome.state, outcome.state.jobs.keys().next().unwrap()) { println!("{k}: {} bytes", v.len()); }
    assert!(check::leftovers(&outcome.state).is_empty(), "{:#?}", check::leftovers(&outcome.state));
}
