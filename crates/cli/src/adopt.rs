//! `fanreel adopt`: uploads that are older than the stack, or that nobody told of, become jobs; first it is said how many and
//! what they would cost.

use pipeline::{
    cost::{Prices, rough_usd},
    key::UPLOADS,
    stage::uploads::{self, Lost},
};

use crate::{
    args::{AdoptArgs, Global},
    desk::Desk,
    end::{End, usage},
    remote::Fanreel,
    screen, text,
};

/// Ten million objects.
const MOST_LOOKS: u32 = 10_000_000 / uploads::STEP;
/// A word for whoever waits, with every 100,000 objects.
const LOOKS_PER_NOTE: u32 = 20;

pub async fn run(args: &AdoptArgs, global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let named = args.prefix.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    let (bucket, prefix) = named.map_or((None, args.prefix.as_str()), |(bucket, prefix)| (Some(bucket), prefix));
    let bucket = bucket.filter(|name| *name != fanreel.bucket);
    if bucket.is_none() && !prefix.starts_with(UPLOADS) {
        return Err(usage(format!(
            "{}: uploads lie below {UPLOADS}; write a prefix that begins so, or s3://BUCKET/PREFIX for the stack's SourceBucket",
            args.prefix
        )));
    }
    let mut desk = Desk::of(&fanreel, "adopt");
    if let Some(profile) = fanreel.queue("Profile") {
        desk.policy.profile = profile;
    }
    let mut lost = find(&desk, bucket, prefix).await?;
    let bytes: u64 = lost.uploads.iter().map(|upload| upload.size).sum();
    let prices = Prices::built_in().map_err(anyhow::Error::msg)?;
    let usd = rough_usd(bytes, &prices);
    if !global.json {
        screen::out(&format!(
            "{} uploads below {} have no job by the profile {}: {}, about ${usd:.2} of Lambda if they are 1080p at 8 Mbit/s",
            lost.uploads.len(),
            args.prefix,
            desk.policy.profile,
            text::bytes(bytes)
        ));
    }
    let taken = if args.yes { uploads::take_all(&desk.context(), &mut lost).await } else { 0 };
    let Lost { uploads: found, unseen, next } = lost;
    if let Some(last) = &next {
        screen::note(&format!("there are more objects behind {last}, which were not looked at: name a longer prefix"));
    }
    if let Some(first) = unseen.first.as_ref().filter(|_| !global.json) {
        screen::note(&format!("{} uploads could not be looked at and are left alone; the first is {first}", unseen.count));
    }
    if global.json {
        screen::json(&serde_json::json!({
            "prefix": args.prefix, "profile": desk.policy.profile, "films": found.len(), "bytes": bytes, "usd": usd, "taken": taken,
            "unseen": unseen.count, "first_unseen": unseen.first, "not_behind": next,
        }));
    } else if args.yes {
        screen::out(&format!("{taken} jobs were made; `fanreel jobs{}` lists them", global.there()));
    } else if !found.is_empty() {
        screen::note(&format!("nothing was done; `fanreel adopt {} --yes{}` makes jobs of them", args.prefix, global.there()));
    }
    Ok(End::Done)
}

/// An error behind the first objects does not cost what was found before it.
async fn find(desk: &Desk, bucket: Option<&str>, prefix: &str) -> anyhow::Result<Lost> {
    let cx = desk.context();
    let mut all = uploads::without_job(&cx, bucket, prefix, None).await?;
    for look in 2..=MOST_LOOKS {
        let Some(last) = all.next.clone() else { break };
        match uploads::without_job(&cx, bucket, prefix, Some(&last)).await {
            Ok(more) => all.add(more),
            Err(fault) => {
                screen::note(&format!("the look ended there: {fault}"));
                break;
            }
        }
        if look % LOOKS_PER_NOTE == 0 {
            screen::note(&format!("{} films without a job so far, up to {last}", all.uploads.len()));
        }
    }
    Ok(all)
}
