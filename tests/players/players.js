// Every player behind one shape: `open(video, film, errors)` answers `{ lock(rendition), close() }`. The first track
// of text is shown from the beginning: of a film that has ended, players fetch none any more. Where that loses it,
// `text()` chooses it once the film is in the buffer, and says in `loaded` when it is there. `rendition` is the
// height of its pictures; hls.js knows "each in turn" as well, another for every segment, and tells them in `loaded`.
// Errors of every kind go into `errors`, as text.

const WHOLE = 600; // seconds to buffer ahead: the whole film

export const players = { "hls.js": hls, "dash.js": dash, shaka, file };

// Tries of a player's own would hide that a segment cannot be had.
const ONCE = { maxNumRetry: 0, retryDelayMs: 0, maxRetryDelayMs: 0 };

async function hls(video, film, errors) {
  const load = { default: { maxTimeToFirstByteMs: 20000, maxLoadTimeMs: 20000, timeoutRetry: ONCE, errorRetry: ONCE } };
  const player = new Hls({ maxBufferLength: WHOLE, maxMaxBufferLength: WHOLE, maxBufferSize: 1e9, autoStartLoad: false, fragLoadPolicy: load });
  // Told as errors, and none: a stretch without pictures, a request that was given up for another, a busy machine.
  const harmless = ["fragGap", "aborted", "bufferStalledError"];
  player.on(Hls.Events.ERROR, (_, { type, details, fatal, error, reason }) => {
    if (fatal || !harmless.includes(details)) errors.push(`${type} ${details}${fatal ? " (fatal)" : ""}: ${error ?? reason ?? ""}`);
  });
  const parsed = new Promise((resolve) => player.on(Hls.Events.MANIFEST_PARSED, resolve));
  player.loadSource(film);
  player.attachMedia(video);
  await parsed;
  const loaded = [];
  const lock = async (height) => {
    if (height === "each in turn") {
      player.on(Hls.Events.FRAG_LOADED, (_, { frag }) => {
        if (frag.type !== "main" || frag.sn === "initSegment") return;
        loaded.push(player.levels[frag.level].height);
        player.loadLevel = (frag.level + 1) % player.levels.length;
      });
      player.loadLevel = 0;
    } else if (!height) {
      player.loadLevel = 0; // sound alone
    } else {
      const level = player.levels.findIndex((l) => l.height === height);
      if (level < 0) throw new Error(`no level of ${height} lines among ${player.levels.map((l) => l.height)}`);
      player.loadLevel = level;
    }
    player.startLoad(0);
    if (player.subtitleTracks.length) player.subtitleTrack = 0;
  };
  return { lock, loaded, close: () => player.destroy() };
}

async function dash(video, film, errors) {
  const player = dashjs.MediaPlayer().create();
  const ahead = { bufferTimeDefault: WHOLE, bufferTimeAtTopQuality: WHOLE, bufferTimeAtTopQualityLongForm: WHOLE, initialBufferLevel: NaN };
  const attempts = Object.fromEntries(["MPD", "MediaSegment", "InitializationSegment"].map((kind) => [kind, 0]));
  player.updateSettings({
    debug: { logLevel: 0 },
    streaming: {
      buffer: { ...ahead, bufferToKeep: WHOLE, bufferPruningInterval: WHOLE },
      text: { defaultEnabled: false }, // see `text` below
      retryAttempts: attempts,
      abr: { autoSwitchBitrate: { video: false } },
    },
  });
  const events = dashjs.MediaPlayer.events;
  for (const event of [events.ERROR, events.PLAYBACK_ERROR]) {
    player.on(event, (e) => errors.push(`${event}: ${e.error?.message ?? JSON.stringify(e.error)}`));
  }
  player.on(events.FRAGMENT_LOADING_COMPLETED, (e) => e.error && errors.push(`fragment: ${JSON.stringify(e.error)}`));
  const ready = new Promise((resolve) => player.on(events.STREAM_INITIALIZED, resolve));
  player.initialize(video, undefined, false);
  let wanted;
  player.setCustomInitialTrackSelectionFunction((tracks) => tracks.slice(0, 1));
  // Asked before the first segment is chosen: from its first byte on, one rendition only.
  player.registerCustomCapabilitiesFilter((r) => !wanted || !r.height || r.height === wanted);
  const lock = async (height) => {
    wanted = height;
    player.attachSource(film);
    await ready;
    if (height && !player.getRepresentationsByType("video").every((r) => r.height === height)) throw new Error(`no representation of ${height} lines`);
  };
  // dash.js 5.2.1 loses text that is one file when a seek comes while the file is under way, without an error: to a seek,
  // NotFragmentedTextBufferController answers that it has every moment, StreamProcessor's
  // prepareInnerPeriodPlaybackSeeking then marks the text as complete, and _onInitFragmentLoaded drops what comes for
  // complete text. It seeks by itself at the start of a film whose pictures begin later than its sound. So the text is
  // chosen behind that seek, as a viewer chooses it, and nobody seeks before it is there.
  const text = () => {
    if (!player.getTracksFor("text").length) return undefined;
    const state = { loaded: false };
    player.on(events.FRAGMENT_LOADING_COMPLETED, ({ request }) => (state.loaded ||= request.mediaType === "text"));
    player.setTextTrack(0);
    return state;
  };
  return { lock, text, close: () => player.destroy() };
}

async function shaka(video, film, errors) {
  const player = new window.shaka.Player();
  await player.attach(video);
  player.addEventListener("error", (e) => errors.push(`shaka ${e.detail.code}: ${e.detail.message}`));
  const retryParameters = { maxAttempts: 1 };
  const streaming = { bufferingGoal: WHOLE, rebufferingGoal: 0.1, bufferBehind: WHOLE, retryParameters };
  const lock = async (height) => {
    const restrictions = height ? { minHeight: height, maxHeight: height } : {};
    player.configure({ streaming, restrictions, abr: { enabled: false } });
    await player.load(film);
    const [first] = player.getTextTracks();
    if (first) player.selectTextTrack(first);
  };
  return { lock, close: () => player.destroy() };
}

async function file(video, film) {
  return { lock: async () => { video.src = film; video.preload = "auto"; video.load(); }, close: () => {} };
}
