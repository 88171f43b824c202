//! What an earlier run left of an upload: found by its key and its label, and proven part by part.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{CompletedPart, MultipartUpload, Part};
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::Fault;

use crate::{
    layout::Layout,
    patience::{Trouble, patiently},
    resume::{Film, millis, trouble},
};

/// Pages of uploads, 1,000 each.
const MAX_PAGES: u32 = 10;
/// Uploads to one key that are looked into, the newest first.
const MAX_LOOKED_INTO: usize = 10;
/// Parts read from the disk and hashed at a time.
const READS_AT_ONCE: usize = 2;

/// An upload that was begun before.
pub struct Unfinished {
    pub id: String,
    /// Its parts that are the film's, by number.
    pub proven: BTreeMap<i32, CompletedPart>,
}

/// The newest upload to the film's key that says of itself that it is of `fanreel submit` and the same profile, and that
/// has at least one part of this film: one that has none is of another film of this name, which may be on its way.
pub async fn find(film: &Film<'_>, layout: Layout) -> Result<Option<Unfinished>, Trouble> {
    match look(film, layout).await {
        // Who may not list begins anew, and is told only when there would have been something to find.
        Err(Trouble::Fault(Fault::Escalate { detail: why, .. }) | Trouble::Moved(why)) => {
            film.sending.cannot_be_listed(why);
            Ok(None)
        }
        found => found,
    }
}

async fn look(film: &Film<'_>, layout: Layout) -> Result<Option<Unfinished>, Trouble> {
    let label = layout.label(film.target.profile);
    for id in newest(film).await? {
        let (first, _) = page(film, &id, layout.count(), 1).await?;
        if !first.first().is_some_and(|part| part.part_number() == Some(layout.label_number()) && label.is_part(part)) {
            continue;
        }
        let proven = proven(film, layout, parts(film, &id).await?).await?;
        if !proven.is_empty() {
            return Ok(Some(Unfinished { id, proven }));
        }
    }
    Ok(None)
}

/// Uploads to the very key, the newest first.
async fn newest(film: &Film<'_>) -> Result<Vec<String>, Trouble> {
    let target = &film.target;
    let what = format!("looking for unfinished uploads to {}", target.name());
    let (mut found, mut key, mut id) = (Vec::<MultipartUpload>::new(), None, None);
    for _ in 0..MAX_PAGES {
        let page = patiently(film.sending, async || {
            let request = target.client.list_multipart_uploads().bucket(target.bucket).prefix(target.key);
            let request = request.set_key_marker(key.clone()).set_upload_id_marker(id.clone());
            request.send().await.map_err(|e| trouble(&what, &e))
        });
        let page = page.await?;
        let uploads = page.uploads.unwrap_or_default();
        // They are listed by key: those of longer keys come behind.
        let all = uploads.last().is_none_or(|last| last.key() > Some(target.key));
        found.extend(uploads.into_iter().filter(|upload| upload.key() == Some(target.key)));
        if all || page.is_truncated != Some(true) {
            break;
        }
        (key, id) = (page.next_key_marker, page.next_upload_id_marker);
    }
    found.sort_by_key(|upload| std::cmp::Reverse(upload.initiated.and_then(|at| millis(&at))));
    Ok(found.into_iter().filter_map(|upload| upload.upload_id).take(MAX_LOOKED_INTO).collect())
}

/// All parts of an upload, the label with them.
async fn parts(film: &Film<'_>, id: &str) -> Result<Vec<Part>, Trouble> {
    let (mut all, mut after) = (Vec::new(), 0);
    for _ in 0..=MAX_PAGES {
        let (parts, next) = page(film, id, after, 1_000).await?;
        all.extend(parts);
        let Some(next) = next else { break };
        after = next;
    }
    Ok(all)
}

/// Parts behind one, and behind which the next page begins.
async fn page(film: &Film<'_>, id: &str, after: i32, most: i32) -> Result<(Vec<Part>, Option<i32>), Trouble> {
    let target = &film.target;
    let what = format!("looking at an unfinished upload to {}", target.name());
    let page = patiently(film.sending, async || {
        let request = target.client.list_parts().bucket(target.bucket).key(target.key).upload_id(id);
        match request.part_number_marker(after.to_string()).max_parts(most).send().await.map_err(|e| trouble(&what, &e)) {
            // Completed or ended since it was listed.
            Err(Trouble::Moved(_)) => Ok(None),
            page => page.map(Some),
        }
    });
    let Some(page) = page.await? else { return Ok((Vec::new(), None)) };
    film.sending.kept_until(page.abort_date.as_ref().and_then(millis));
    let more = page.is_truncated == Some(true);
    let next = page.next_part_number_marker.filter(|_| more).and_then(|number| number.parse().ok());
    Ok((page.parts.unwrap_or_default(), next))
}

/// Those of the parts that the file has in the same place, to the byte.
async fn proven(film: &Film<'_>, layout: Layout, parts: Vec<Part>) -> Result<BTreeMap<i32, CompletedPart>, Trouble> {
    let numbered = parts.into_iter().filter_map(|part| part.part_number().map(|number| (number, part)));
    let of_film = numbered.filter(|(number, part)| *number <= layout.count() && part.size() == i64::try_from(layout.length(*number)).ok());
    let compared = stream::iter(of_film).map(|(number, part)| async move {
        let stretch = layout.read(film.from, number).await?;
        film.sending.compares(layout.length(number));
        let is_ours = stretch.is_part(&part);
        // Its own checksum, which a completion must name: some clouds keep checksums without telling them.
        let part = CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).checksum_sha256(stretch.sha256).build();
        Ok::<_, Fault>(is_ours.then_some((number, part)))
    });
    let compared = compared.buffer_unordered(READS_AT_ONCE).try_filter_map(async |found| Ok(found)).try_collect();
    Ok(compared.await?)
}
