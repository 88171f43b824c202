//! `fanreel fleet`: who works, on what, and how they are.

use pipeline::{
    fleet::{Member, MemberState, Table},
    ports::Ledger,
    view,
};

use crate::{args::Global, end::End, remote::Fanreel, screen, text};

pub async fn run(global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let table: Table = fanreel.ledger.fleet().await?.into_iter().collect();
    if global.json {
        screen::json(&table.members().collect::<Vec<_>>());
        return Ok(End::Done);
    }
    let rows: Vec<Vec<String>> = table.members().map(row).collect();
    if rows.is_empty() {
        screen::note("nobody has told anything of late: environments are there only while there is work");
        return Ok(End::Done);
    }
    screen::out(&screen::table(&["environment", "function", "state", "task", "told", "CPU", "memory", "disk"], &[5, 6, 7], rows));
    Ok(End::Done)
}

fn row(member: &Member) -> Vec<String> {
    let state = match member.state {
        MemberState::Working => "working",
        MemberState::Idle => "idle",
        MemberState::Error => "error",
        MemberState::Gone => "gone",
    };
    let of = |used: u64, limit: u64| format!("{} of {}", text::bytes(used), text::bytes(limit));
    let vitals = &member.vitals;
    vec![
        screen::clean(&member.environment),
        screen::clean(&member.function),
        state.to_owned(),
        format!("{} of {}", member.task, view::short(&member.job)),
        text::date(member.at_ms),
        format!("{:.1} s", std::time::Duration::from_millis(vitals.cpu_ms).as_secs_f64()),
        of(vitals.memory_bytes, vitals.memory_limit),
        of(vitals.disk_bytes, vitals.disk_limit),
    ]
}
