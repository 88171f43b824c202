//! Profiles on the command line: a file of one's own, and what there is.

use std::{io::Read, path::Path};

use anyhow::Context;
use pipeline::{
    key,
    plan::Profile,
    ports::Blobs,
    profile::{MAX_BYTES, Profiles},
};
use serde::Serialize;

use crate::{
    args::{Global, ProfilesArgs},
    end::{End, usage},
    remote::Fanreel,
    screen,
};

/// Profiles to choose from, and the text of the person's own file.
#[derive(Clone, Debug)]
pub struct Choice {
    pub profiles: Profiles,
    own: Option<String>,
}

impl Choice {
    /// The built-in profiles and those of `file`. All that is wrong with it is told at once.
    pub fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = file else { return Ok(Self { profiles: Profiles::built_in().clone(), own: None }) };
        let mut text = String::new();
        let opened = std::fs::File::open(file).and_then(|opened| opened.take(MAX_BYTES as u64 + 1).read_to_string(&mut text));
        opened.map_err(|error| usage(format!("the profiles {} cannot be read: {error}", file.display())))?;
        let profiles = Profiles::with(&text).map_err(|problems| {
            let told: Vec<String> = problems.0.iter().map(|problem| format!("  line {}: {}", problem.line, problem.text)).collect();
            usage(format!("{} is not as it should be:\n{}", file.display(), told.join("\n")))
        })?;
        Ok(Self { profiles, own: Some(text) })
    }

    /// Gives a platform the person's own file, where `split` finds it.
    pub async fn store(&self, fanreel: &Fanreel) -> anyhow::Result<()> {
        let Some(text) = &self.own else { return Ok(()) };
        let stored = fanreel.blobs.store(key::PROFILES, text.clone().into(), "application/toml").await;
        stored.context("the profiles could not be given to the platform")
    }
}

/// The profiles a platform has.
pub async fn of(fanreel: &Fanreel) -> anyhow::Result<Profiles> {
    let own = fanreel.blobs.read(key::PROFILES).await?;
    let own = own.map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok(own.and_then(|text| Profiles::with(&text).ok()).unwrap_or_else(|| Profiles::built_in().clone()))
}

#[derive(Serialize)]
struct Listed<'a> {
    profiles: Vec<&'a Profile>,
}

pub fn run(args: &ProfilesArgs, global: &Global) -> anyhow::Result<End> {
    let choice = Choice::read(args.check.as_deref())?;
    if global.json {
        screen::json(&Listed { profiles: choice.profiles.iter().collect() });
        return Ok(End::Done);
    }
    let rows = choice.profiles.iter().map(|profile| {
        let rungs: Vec<String> = profile.ladder.iter().map(|rung| rung.short_side.to_string()).collect();
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let outputs: Vec<String> = profile.outputs.iter().map(|output| word(&serde_json::to_value(output).unwrap_or_default())).collect();
        vec![
            profile.name.clone(),
            word(&serde_json::to_value(profile.codec).unwrap_or_default()),
            profile.preset.clone(),
            profile.target.map_or_else(|| profile.crf.to_string(), |target| format!("for {:?} {}", target.metric, target.score)),
            rungs.join(" "),
            outputs.join(" "),
        ]
    });
    screen::out(&screen::table(&["profile", "codec", "preset", "crf", "ladder", "outputs"], &[], rows.collect()));
    Ok(End::Done)
}
