// The plain mix of the references at a timeline, and the result of a run, by Web Audio.

import { loudestOffset } from "./model.js";

const CROSSFADE = 0.5;
const CUT = 0.005;
let context = null;
const decoded = new Map();

function audioContext() {
  context ??= new AudioContext();
  if (context.state === "suspended") context.resume();
  return context;
}

/** Decoded sound of an address; each is fetched once. */
export function fetchSound(url) {
  if (!decoded.has(url)) {
    const sound = fetch(url)
      .then((answer) => {
        if (!answer.ok) throw new Error(`the sound cannot be fetched (${answer.status})`);
        return answer.arrayBuffer();
      })
      .then((bytes) => audioContext().decodeAudioData(bytes));
    decoded.set(url, sound);
    sound.catch(() => decoded.delete(url));
    if (decoded.size > 64) decoded.delete(decoded.keys().next().value);
  }
  return decoded.get(url);
}

/** Magnitudes of `count` stretches of a decoded sound. */
export function peaksOf(buffer, count = 2000) {
  const peaks = new Float32Array(count);
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, c) => buffer.getChannelData(c));
  for (let i = 0; i < count; i++) {
    const [a, b] = [i, i + 1].map((k) => Math.floor((k / count) * buffer.length));
    for (const data of channels) for (let j = a; j < b; j++) peaks[i] = Math.max(peaks[i], Math.abs(data[j]));
  }
  return peaks;
}

function ramp(samples, rising) {
  return Float32Array.from({ length: samples }, (_, i) => {
    const rise = 0.5 - 0.5 * Math.cos((Math.PI * i) / (samples - 1));
    return rising ? rise : 1 - rise;
  });
}

/** Where the pieces of a block lie: [start in the block, second of the sound, length, fades in, fades out]. */
export function pieces(place, sound) {
  const offset = place.offset ?? loudestOffset(sound, place.duration);
  const rest = Math.max(0.01, sound.seconds - offset);
  if (place.duration <= rest + 0.001) {
    return [[0, offset, Math.min(place.duration, rest), offset > 0 ? CUT : 0, place.duration < rest - 0.001 ? CUT : 0]];
  }
  const fade = Math.min(CROSSFADE, rest / 4);
  const found = [];
  for (let at = 0; at < place.duration; at += rest - fade) {
    const length = Math.min(rest, place.duration - at);
    found.push([at, offset, length, at ? Math.min(fade, length) : 0, Math.min(fade, length)]);
  }
  return found;
}

/** The mix as a stereo buffer: what the references alone sound like, without the network. */
export async function mix(timeline) {
  const rate = audioContext().sampleRate;
  const offline = new OfflineAudioContext(2, Math.max(1, Math.ceil(timeline.seconds * rate)), rate);
  const silent = [];
  for (const [k, lane] of timeline.lanes.entries()) {
    const reference = timeline.references[k];
    if (!lane.used || !lane.placements.length) continue;
    if (!reference?.url || !lane.sound) {
      silent.push(lane.caption || lane.name);
      continue;
    }
    const buffer = await fetchSound(reference.url);
    for (const place of lane.placements) {
      // A mono sound in the middle is as loud on both sides as it is; the panner takes 3 dB from it.
      const middle = buffer.numberOfChannels === 1 ? Math.SQRT2 : 1;
      const out = new GainNode(offline, { gain: middle * 10 ** ((place.gain + (reference.gain ?? 0)) / 20) });
      const envelope = new GainNode(offline);
      const [pan, panEnd] = [place.pan, place.pan_end ?? place.pan].map((p) => Math.min(1, Math.max(-1, p + (reference.pan ?? 0))));
      const panner = new StereoPannerNode(offline, { pan });
      if (panEnd !== pan) panner.pan.setValueCurveAtTime(new Float32Array([pan, panEnd]), place.start, place.duration);
      out.connect(envelope).connect(panner).connect(offline.destination);
      shape(envelope.gain, place.start, place.duration, Math.max(place.fade_in, reference.fade_in ?? 0), Math.max(place.fade_out, reference.fade_out ?? 0));
      for (const [at, from, length, fadeIn, fadeOut] of pieces(place, lane.sound)) {
        const source = new AudioBufferSourceNode(offline, { buffer });
        const gain = new GainNode(offline);
        shape(gain.gain, place.start + at, length, fadeIn, fadeOut);
        source.connect(gain).connect(out);
        source.start(place.start + at, (lane.sound.begin ?? 0) + from, length);
      }
    }
  }
  return { buffer: await offline.startRendering(), silent };
}

function shape(gain, start, length, fadeIn, fadeOut) {
  const samples = (seconds) => Math.max(2, Math.ceil(seconds * 400));
  const overlap = fadeIn + fadeOut > length;
  const [rise, fall] = overlap ? [fadeIn, fadeOut].map((f) => (f * length) / (fadeIn + fadeOut)) : [fadeIn, fadeOut];
  if (rise > 0.0005) gain.setValueCurveAtTime(ramp(samples(rise), true), start, rise * 0.999);
  if (fall > 0.0005) gain.setValueCurveAtTime(ramp(samples(fall), false), start + length - fall, fall * 0.999);
}

/** One sound at a time, played from any second. */
export class Player {
  constructor(moved, ended) {
    this.moved = moved;
    this.ended = ended;
    this.source = null;
  }

  get playing() {
    return this.source !== null;
  }

  get position() {
    return this.from + (context.currentTime - this.began);
  }

  play(buffer, from = 0, until = buffer.duration) {
    this.stop();
    const player = audioContext();
    const source = new AudioBufferSourceNode(player, { buffer });
    source.connect(player.destination);
    [this.source, this.from, this.began] = [source, from, player.currentTime];
    source.onended = () => {
      if (this.source === source) this.stop(true);
    };
    source.start(0, Math.min(from, buffer.duration), Math.max(0, until - from));
    const step = () => {
      if (this.source !== source) return;
      this.moved(Math.min(this.position, until));
      requestAnimationFrame(step);
    };
    step();
  }

  stop(finished = false) {
    const { source } = this;
    this.source = null;
    if (!source) return;
    source.onended = null;
    source.stop();
    this.ended(finished);
  }
}
