//! `fanreel dead-letters`: messages that no function could read, or that were received too often.

use pipeline::{key::DEAD_LETTERS, message::DeadLetter, ports::Blobs};

use crate::{args::Global, end::End, remote::Fanreel, screen, text};

/// Letters that are shown.
const MOST: u32 = 1_000;
/// Characters of a body on the screen.
const SHOWN: usize = 100;

pub async fn run(global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let mut letters: Vec<DeadLetter> = Vec::new();
    for key in fanreel.blobs.list(DEAD_LETTERS, MOST).await? {
        // One that expires just now is gone.
        let Some(text) = fanreel.blobs.read(&key).await? else { continue };
        letters.extend(serde_json::from_slice::<DeadLetter>(&text).ok());
    }
    letters.sort_by_key(|letter| letter.seen_ms);
    if global.json {
        screen::json(&letters);
        return Ok(End::Done);
    }
    if letters.is_empty() {
        screen::note("there are no dead letters");
        return Ok(End::Done);
    }
    let row = |letter: &DeadLetter| {
        let body: String = screen::clean(&letter.body).chars().take(SHOWN).collect();
        vec![text::date(letter.seen_ms), letter.message.clone(), screen::clean(&letter.verdict), body]
    };
    screen::out(&screen::table(&["seen", "message", "what became of it", "body"], &[], letters.iter().map(row).collect()));
    Ok(End::Done)
}
