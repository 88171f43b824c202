// Plays the cases of /cases one after another and posts a report of each. A case:
//   { player, film, height, frames: [seconds], joins: [index of the frame behind each join], patience: seconds,
//     captions: [[seconds, [all that the first track of text shows then]]] }
// Of sound alone, no height, no frames, and { end: seconds } instead.

import { players } from "/page/players.js";

const RATE = 8;
const TICK = 0.0015; // seconds: Matroska's times are rounded to a millisecond

// Waits as long as the case has patience for one step: a film of a few seconds needs a fraction of it.
let patience;
const until = (what, test) =>
  new Promise((resolve, reject) => {
    const begun = performance.now();
    const look = () => {
      const answer = test();
      if (answer) return resolve(answer);
      if (performance.now() - begun > patience * 1000) return reject(new Error(`waited for ${what}`));
      setTimeout(look, 20);
    };
    look();
  });

// What each track has in its buffer: the element's own account hides a track that ends too early once a film has ended.
const sources = [];
const add = MediaSource.prototype.addSourceBuffer;
MediaSource.prototype.addSourceBuffer = function (type) {
  const source = add.call(this, type);
  sources.push({ type, source, media: this });
  return source;
};
// A player that waits before late pictures does not say that it has all.
const filled = (last) =>
  sources.length > 0 && sources.every(({ source, media }) => media.readyState === "ended" || (ranges(source.buffered).at(-1)?.[1] ?? 0) > last);
const tracks = () => sources.map(({ type, source }) => {
  try {
    return { type, ranges: ranges(source.buffered) };
  } catch {
    return { type, ranges: [] }; // taken from its element
  }
});

const event = (target, name) => new Promise((resolve) => target.addEventListener(name, resolve, { once: true }));
const ranges = (list) => Array.from({ length: list.length }, (_, n) => [list.start(n), list.end(n)]);

// Calls `note` with the time of every picture that reaches the screen.
function watch(video, note) {
  const again = (_, seen) => {
    note(seen.mediaTime);
    video.requestVideoFrameCallback(again);
  };
  video.requestVideoFrameCallback(again);
}

// Plays from the first frame to the end: the times of the pictures that reached the screen, before it began and since, and what was decoded.
async function through(video, seen) {
  video.playbackRate = RATE;
  const before = seen.splice(0);
  await video.play();
  await until("the end of the film", () => video.ended);
  const { totalVideoFrames, droppedVideoFrames, corruptedVideoFrames } = video.getVideoPlaybackQuality();
  return {
    before,
    seen: seen.splice(0),
    decoded: totalVideoFrames,
    dropped: droppedVideoFrames,
    corrupted: corruptedVideoFrames,
    sound: video.webkitAudioDecodedByteCount,
  };
}

// Seeks to the frames about each join: each must be the picture that is shown. Nothing depends on how busy the machine is.
async function joins(video, seen, { frames, joins }) {
  let count = 0;
  for (const join of joins) {
    for (let index = Math.max(0, join - 2); index < Math.min(frames.length, join + 2); index += 1) {
      const next = frames[index + 1] ?? frames[index] + (frames[index] - frames[index - 1]);
      const sought = event(video, "seeked");
      video.currentTime = (frames[index] + next) / 2;
      await sought;
      await until(`frame ${index} at ${frames[index]}; ${seen.at(-1)} is shown`, () => Math.abs(seen.at(-1) - frames[index]) < TICK);
      count += 1;
    }
  }
  return count;
}

// Seeks to each moment: the texts that are shown must be those, and no others.
async function captions(video, moments) {
  const active = () => Array.from(video.textTracks).filter((t) => t.mode !== "disabled").flatMap((t) => Array.from(t.activeCues ?? [], (cue) => cue.text));
  const told = (texts) => JSON.stringify([...texts].sort());
  for (const [at, texts] of moments) {
    video.currentTime = at;
    await until(`${told(texts)} at ${at}`, () => !video.seeking && told(active()) === told(texts)).catch((error) => {
      const all = Array.from(video.textTracks, (t) => `${t.mode} ${Array.from(t.cues ?? [], (c) => `${c.startTime}-${c.endTime} ${c.text}`)}`);
      throw new Error(`${error.message}; shown is ${told(active())}, known are ${all}`);
    });
  }
  return moments.length;
}

async function play(one) {
  const video = document.createElement("video");
  video.muted = true;
  video.controls = true;
  document.body.append(video);
  const report = { errors: [] };
  sources.length = 0;
  patience = one.patience;
  const seen = [];
  watch(video, (time) => seen.push(time));
  let player;
  const failed = new Promise((_, reject) => video.addEventListener("error", () => reject(new Error(`media error ${video.error.code}: ${video.error.message}`))));
  failed.catch(() => {});
  try {
    await Promise.race([failed, (async () => {
      player = await players[one.player](video, one.film, report.errors);
      await player.lock(one.height);
      await until("metadata", () => video.readyState >= 1 || report.errors.length);
      if (one.player !== "file") await until("the whole film in the buffer", () => filled(one.end ?? one.frames.at(-1)) || report.errors.length);
      report.tracks = tracks();
      report.loaded = player.loaded;
      report.size = [video.videoWidth, video.videoHeight];
      report.duration = video.duration;
      if (report.errors.length) return;
      const text = player.text?.();
      if (text) await until("the file of the text", () => text.loaded || report.errors.length);
      report.through = await through(video, seen);
      report.joins = await joins(video, seen, one);
      if (one.player !== "file" && one.captions?.length) report.captions = await captions(video, one.captions);
    })()]);
  } catch (error) {
    report.errors.push(String(error.message ?? error));
  }
  report.state = { ready: video.readyState, at: video.currentTime, buffered: ranges(video.buffered) };
  try {
    await player?.close();
  } catch (error) {
    report.errors.push(`close: ${error}`);
  }
  video.remove();
  return report;
}

const cases = await (await fetch("/cases")).json();
for (const [number, one] of cases.entries()) {
  const begun = performance.now();
  const report = await play(one);
  report.ms = Math.round(performance.now() - begun);
  await fetch(`/report/${number}`, { method: "POST", body: JSON.stringify(report) });
}
