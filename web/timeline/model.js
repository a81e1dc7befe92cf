// The arrangement that Arrange References takes as JSON, edited in place, with undo.
// No DOM here; the keys are those of dreamaudio_core/scene/timeline.py.

export const MIN_DURATION = 0.02;
export const GAIN_RANGE = [-36, 12];
const MAX_UNDO = 200;
const DEFAULTS = { gain: 0, offset: null, fade_in: 0, fade_out: 0, pan: 0, pan_end: null, pinned: false };

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const rounded = (value) => (typeof value === "number" ? Math.round(value * 1e4) / 1e4 : value);

/** Where a placement without an offset begins in its sound: at the loudest stretch, as the renderer does. */
export function loudestOffset(sound, duration) {
  const { seconds, peaks } = sound ?? {};
  if (!seconds || !peaks?.length || duration >= seconds) return 0;
  const width = Math.max(1, Math.round((duration / seconds) * peaks.length));
  let energy = 0, best = -1, at = 0;
  for (let i = 0; i < peaks.length; i++) {
    energy += peaks[i] ** 2 - (i >= width ? peaks[i - width] ** 2 : 0);
    if (i >= width - 1 && energy > best) [best, at] = [energy, i - width + 1];
  }
  return (at / peaks.length) * seconds;
}

export class Timeline {
  constructor(changed = () => {}) {
    this.changed = changed;
    this.state = null; // null: the node reads the prompt when it runs
    this.unread = ""; // text that is no arrangement: kept, so that nothing is lost
    this.error = "";
    this.references = []; // what is connected: {name, caption, sound: {seconds, peaks} | null}
    this.seconds = 10.24;
    this.library = false; // whether sounds of the starter library may follow those that are connected
    this.selected = null; // {lane, index}
    this.undone = [];
    this.done = [];
  }

  /** The node's value. */
  get text() {
    if (this.error) return this.unread;
    return this.state ? JSON.stringify(this.state, (_, value) => rounded(value)) : "";
  }

  set text(text) {
    this.read(text);
    this.done = [];
    this.undone = [];
  }

  read(text) {
    this.selected = null;
    this.error = "";
    this.unread = text ?? "";
    if (!this.unread.trim()) {
      this.state = null;
      return;
    }
    try {
      const found = JSON.parse(text);
      if (!Array.isArray(found?.references ?? [])) throw new Error("references: expected a list");
      const references = (found.references ?? []).map((entry) => ({
        caption: "", reason: "", ...entry,
        used: entry.used ?? !(Array.isArray(entry.placements) && entry.placements.length === 0),
        placements: entry.placements?.map((place) => ({ ...DEFAULTS, ...place })) ?? null,
      }));
      this.state = { version: 1, missing: "generate", warnings: [], ...found, references };
    } catch (error) {
      this.state = null;
      this.error = `The timeline is no JSON of an arrangement: ${error.message}`;
    }
  }

  /** Lanes to show, as many as references are connected or the arrangement holds. */
  get lanes() {
    const arranged = this.state?.references ?? [];
    const count = Math.max(arranged.length, this.references.length);
    return Array.from({ length: count }, (_, k) => ({
      name: this.references[k]?.name ?? arranged[k]?.caption ?? `reference ${k + 1}`,
      caption: this.references[k]?.caption ?? arranged[k]?.caption ?? "",
      sound: this.references[k]?.sound ?? null,
      used: arranged[k]?.used ?? true,
      muted: !!arranged[k] && !arranged[k].used && !!arranged[k].placements?.length,
      reason: arranged[k]?.reason ?? "",
      placements: arranged[k]?.placements ?? [],
      free: !!arranged[k] && arranged[k].placements === null,
      connected: k < this.references.length,
    }));
  }

  /** Length of a lane's sound, or a guess where it is not known before a run. */
  length(lane) {
    return this.references[lane]?.sound?.seconds ?? 0.5;
  }

  place(at = this.selected) {
    return (at && this.state?.references[at.lane]?.placements?.[at.index]) || null;
  }

  /** An arrangement to edit, empty if there is none yet. */
  start() {
    if (this.error) throw new Error(this.error);
    this.state ??= { version: 1, seconds: this.seconds, missing: "silence", references: [], warnings: [] };
    const { references } = this.state;
    for (let k = references.length; k < this.references.length; k++) {
      references.push({ caption: this.references[k].caption, used: false, placements: [], reason: "not placed yet" });
    }
    return this.state;
  }

  /** Begin an edit; what follows until `commit` is one step of undo. */
  begin() {
    this.before ??= this.text;
  }

  commit() {
    const { before } = this;
    this.before = null;
    if (before === null || before === undefined || before === this.text) return;
    this.done.push(before);
    if (this.done.length > MAX_UNDO) this.done.shift();
    this.undone = [];
    this.changed();
  }

  /** Give an edit up. */
  cancel() {
    const { before, selected } = this;
    this.before = null;
    if (before === null || before === undefined) return;
    this.read(before);
    this.selected = selected;
  }

  edit(change) {
    this.begin();
    const found = change();
    this.commit();
    return found;
  }

  #step(from, to) {
    if (!from.length) return false;
    const { selected } = this;
    to.push(this.text);
    this.read(from.pop());
    this.selected = selected;
    if (!this.place()) this.selected = null;
    this.changed();
    return true;
  }

  undo() {
    return this.#step(this.done, this.undone);
  }

  redo() {
    return this.#step(this.undone, this.done);
  }

  replace(text) {
    this.edit(() => this.read(text));
  }

  add(lane, start) {
    return this.edit(() => {
      const entry = this.start().references[lane];
      const duration = Math.min(this.length(lane), this.seconds);
      const place = { start: clamp(start, 0, this.seconds - MIN_DURATION), duration, ...DEFAULTS, pinned: true };
      place.duration = Math.min(duration, this.seconds - place.start);
      entry.placements = [...(entry.placements ?? []), place];
      [entry.used, entry.reason] = [true, "set by hand"];
      this.selected = { lane, index: entry.placements.length - 1 };
      return place;
    });
  }

  remove(at = this.selected) {
    if (!this.place(at)) return;
    this.edit(() => {
      const entry = this.state.references[at.lane];
      entry.placements.splice(at.index, 1);
      if (!entry.placements.length) [entry.used, entry.reason] = [false, "removed by hand"];
      this.selected = entry.placements.length ? { lane: at.lane, index: Math.max(0, at.index - 1) } : null;
    });
  }

  /** A copy of a placement, which becomes the selected one; `start` as given, else right behind it. */
  repeat(at = this.selected, start) {
    const place = this.place(at);
    if (!place) return null;
    const begin = start ?? place.start + place.duration;
    if (begin > this.seconds - MIN_DURATION) return null;
    this.begin();
    const entry = this.state.references[at.lane];
    const copy = { ...place, start: begin, pinned: true };
    copy.duration = Math.min(copy.duration, this.seconds - begin);
    entry.placements.push(copy);
    this.selected = { lane: at.lane, index: entry.placements.length - 1 };
    return copy;
  }

  /** Values of a placement, each kept in its range; it is pinned by that. */
  set(at, values) {
    const place = this.place(at);
    if (!place) return;
    this.begin();
    Object.assign(place, { pinned: true }, values);
    place.start = clamp(place.start, 0, this.seconds - MIN_DURATION);
    place.duration = clamp(place.duration, MIN_DURATION, this.seconds - place.start);
    place.gain = clamp(place.gain, -120, 60);
    place.pan = clamp(place.pan, -1, 1);
    if (values.pan !== undefined) place.pan_end = null;
    place.fade_in = clamp(place.fade_in, 0, place.duration);
    place.fade_out = clamp(place.fade_out, 0, place.duration);
    if (place.offset !== null) place.offset = clamp(place.offset, 0, Math.max(0, this.length(at.lane) - MIN_DURATION));
  }

  move(at, start) {
    const place = this.place(at);
    if (place) this.set(at, { start: clamp(start, 0, Math.max(0, this.seconds - place.duration)) });
  }

  /** The second of the sound at which a placement begins. */
  offset(at) {
    const place = this.place(at);
    return place.offset ?? loudestOffset(this.references[at.lane]?.sound, place.duration);
  }

  trimStart(at, start) {
    const place = this.place(at);
    if (!place) return;
    const [offset, end] = [this.offset(at), place.start + place.duration];
    const begin = clamp(start, Math.max(0, place.start - offset), end - MIN_DURATION);
    this.set(at, { start: begin, duration: end - begin, offset: Math.max(0, offset + begin - place.start) });
  }

  /** Cut the end, or beyond the end of the sound stretch it to a bed. */
  trimEnd(at, end) {
    const place = this.place(at);
    if (!place) return;
    this.set(at, { offset: this.offset(at), duration: end - place.start });
  }

  isBed(lane, place) {
    const sound = this.references[lane]?.sound;
    return !!sound && place.duration > sound.seconds - (place.offset ?? 0) + 0.005;
  }

  mute(lane) {
    this.edit(() => {
      const entry = this.start().references[lane];
      if (entry.placements?.length) entry.used = !entry.used;
    });
  }

  panLane(lane, pan) {
    this.begin();
    for (const place of this.start().references[lane].placements ?? []) [place.pan, place.pan_end, place.pinned] = [pan, null, true];
  }

  /** A time on the grid, or where a block begins or ends if that is within `reach` seconds. */
  snap(time, { grid, reach, except, length = 0 }) {
    let [best, distance] = [grid ? Math.round(time / grid) * grid : time, reach];
    const edges = [0, this.seconds];
    this.lanes.forEach((lane, k) =>
      lane.placements.forEach((place, i) => {
        if (except?.lane === k && except?.index === i) return;
        edges.push(place.start, place.start + place.duration);
      }));
    for (const edge of edges) {
      for (const target of length ? [edge, edge - length] : [edge]) {
        if (Math.abs(target - time) < distance && target >= 0) [best, distance] = [target, Math.abs(target - time)];
      }
    }
    return best;
  }

  /** Sentences for the user: what is wrong, then what the arranger said. */
  get warnings() {
    if (this.error) return [this.error];
    if (!this.state) return [];
    const found = [];
    this.lanes.forEach((lane, k) => {
      const name = `${k + 1} ${lane.caption || lane.name}`;
      if (!lane.connected && this.references.length && !this.library) found.push(`${name}: no longer connected; the run will refuse this timeline. Read the prompt again.`);
      if (!lane.connected && this.references.length && this.library) found.push(`${name}: not connected, so it has to come from the starter library.`);
      if (lane.placements.some((place) => place.start >= this.seconds)) found.push(`${name}: starts behind the end of ${this.seconds} s; move it or make the sound longer.`);
      if (!lane.placements.length && !lane.free) found.push(`${name}: not used${lane.reason ? ` (${lane.reason})` : ""}`);
      if (lane.muted) found.push(`${name}: muted`);
      if (lane.free) found.push(`${name}: the network chooses its place`);
    });
    return [...found, ...(this.state.warnings ?? [])];
  }
}
