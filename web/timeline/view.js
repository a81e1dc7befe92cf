// Draws the timeline on one canvas, and says what lies under the pointer.

import { loudestOffset } from "./model.js";

export const RULER = 22, LANE = 46, RESULT = 46, MEL = 56;
const EDGE = 6, HANDLE = 5, LINE = 6;
const HUES = [200, 28, 140, 280, 350, 60, 170, 240];
export const colour = (lane, lightness = 60, alpha = 1) => `hsl(${HUES[lane % HUES.length]} 55% ${lightness}% / ${alpha})`;
const GAIN_TOP = 12, GAIN_BOTTOM = -36;

export class View {
  constructor(canvas, timeline) {
    this.canvas = canvas;
    this.timeline = timeline;
    this.width = 300;
    this.zoom = 1; // 1 shows all
    this.scroll = 0; // seconds at the left edge
    this.fps = 0; // 0: the ruler counts seconds
    this.playhead = null;
    this.result = null; // {seconds, peaks, picture}
    this.hover = null;
    this.ghost = null; // arrangement of the last run, shown while the node reads the prompt
    this.drawn = 0;
  }

  get height() {
    return RULER + Math.max(1, this.timeline.lanes.length) * LANE + (this.result ? RESULT + MEL : 0);
  }

  get scale() {
    return ((this.width - 2) * this.zoom) / this.timeline.seconds;
  }

  x(time) {
    return 1 + (time - this.scroll) * this.scale;
  }

  time(x) {
    return (x - 1) / this.scale + this.scroll;
  }

  zoomTo(zoom, around = this.scroll + this.timeline.seconds / this.zoom / 2) {
    const at = this.x(around);
    this.zoom = Math.min(200, Math.max(1, zoom));
    this.scrollTo(around - (at - 1) / this.scale);
  }

  scrollTo(seconds) {
    const { seconds: total } = this.timeline;
    this.scroll = Math.min(Math.max(0, seconds), total - total / this.zoom);
    this.request();
  }

  request() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  #box(lane, place) {
    const x = this.x(place.start);
    return { x, y: RULER + lane * LANE + 3, w: Math.max(3, place.duration * this.scale), h: LANE - 6 };
  }

  #gainY(box, gain) {
    const share = (GAIN_TOP - Math.min(GAIN_TOP, Math.max(GAIN_BOTTOM, gain))) / (GAIN_TOP - GAIN_BOTTOM);
    return box.y + 3 + share * (box.h - 6);
  }

  /** Gain in dB at a height within a lane. */
  gainAt(lane, y) {
    const share = (y - (RULER + lane * LANE + 6)) / (LANE - 12);
    const gain = GAIN_TOP - share * (GAIN_TOP - GAIN_BOTTOM);
    return Math.abs(gain) < 1 ? 0 : Math.round(Math.min(GAIN_TOP, Math.max(GAIN_BOTTOM, gain)) * 2) / 2;
  }

  /** What is under a point: {part, lane, index}. */
  hit(x, y) {
    if (y < RULER) return { part: "ruler" };
    const lane = Math.floor((y - RULER) / LANE);
    const lanes = this.timeline.lanes;
    if (lane >= lanes.length) return { part: this.result ? "result" : "none" };
    const { selected } = this.timeline;
    const order = lanes[lane].placements.map((_, index) => index).reverse();
    // The selected block first, then those that were drawn last.
    if (selected?.lane === lane) order.unshift(selected.index);
    for (const index of order) {
      const place = lanes[lane].placements[index];
      if (!place) continue;
      const box = this.#box(lane, place);
      const near = Math.min(EDGE, box.w / 4 + 2);
      if (x < box.x - near || x > box.x + box.w + near || y < box.y || y > box.y + box.h) continue;
      const chosen = selected?.lane === lane && selected?.index === index;
      const at = { lane, index };
      if (chosen && box.w > 24 && y < box.y + 12) {
        const [left, right] = [this.x(place.start + place.fade_in), this.x(place.start + place.duration - place.fade_out)];
        if (Math.abs(x - Math.max(left, box.x + HANDLE + 1)) <= HANDLE + 1) return { part: "fadeIn", ...at };
        if (Math.abs(x - Math.min(right, box.x + box.w - HANDLE - 1)) <= HANDLE + 1) return { part: "fadeOut", ...at };
      }
      if (Math.abs(x - box.x) <= near) return { part: "start", ...at };
      if (Math.abs(x - box.x - box.w) <= near) return { part: "end", ...at };
      if (chosen && box.w > 24 && Math.abs(y - this.#gainY(box, place.gain)) <= LINE) return { part: "gain", ...at };
      return { part: "block", ...at };
    }
    return { part: "lane", lane };
  }

  draw() {
    const { canvas, width, height } = this;
    const ratio = Math.max(2, window.devicePixelRatio || 1);
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(canvas);
    const ink = style.getPropertyValue("--input-text").trim() || "#ddd";
    this.ink = ink;
    g.clearRect(0, 0, width, height);
    const lanes = this.timeline.lanes;
    for (let k = 0; k < Math.max(1, lanes.length); k++) {
      g.fillStyle = k % 2 ? "rgb(128 128 128 / 0.06)" : "rgb(128 128 128 / 0.13)";
      g.fillRect(0, RULER + k * LANE, width, LANE - 1);
    }
    this.#ruler(g, ink);
    lanes.forEach((lane, k) => {
      const ghost = !this.timeline.state ? this.ghost?.references?.[k]?.placements ?? [] : [];
      ghost.forEach((place) => this.#block(g, k, lane, place, -1, true));
      lane.placements.forEach((place, i) => this.#block(g, k, lane, place, i, false));
      if (!lane.placements.length && !ghost.length) {
        g.fillStyle = ink;
        g.globalAlpha = 0.45;
        g.font = "11px sans-serif";
        const text = this.timeline.state ? (lane.free ? "placed by the network" : "not used: double-click to place") : "as the prompt says";
        g.fillText(text, 8, RULER + k * LANE + LANE / 2 + 4);
        g.globalAlpha = 1;
      }
    });
    if (this.result) this.#result(g, ink);
    if (this.playhead !== null) {
      g.fillStyle = "#ff5c5c";
      g.fillRect(this.x(this.playhead) - 0.5, 0, 1.5, height);
    }
    this.drawn++;
  }

  #ruler(g, ink) {
    const { fps, width, height } = this;
    const unit = fps ? 1 / fps : 0.001;
    const wanted = 58 / this.scale;
    const steps = fps
      ? [1, 2, 5, 10].map((n) => n * unit).concat([1, 2, 5, 10, 20, 30, 60].map((n) => n))
      : [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60];
    const step = steps.find((s) => s >= wanted) ?? 120;
    g.font = "10px sans-serif";
    g.textBaseline = "middle";
    for (let i = Math.floor(this.scroll / step); i * step <= this.timeline.seconds + 1e-6; i++) {
      const x = this.x(i * step);
      if (x > width) break;
      g.fillStyle = ink;
      g.globalAlpha = 0.12;
      g.fillRect(x, RULER, 1, height);
      g.globalAlpha = 0.6;
      g.fillRect(x, RULER - 6, 1, 6);
      for (let j = 1; j < 5; j++) g.fillRect(x + (j * step * this.scale) / 5, RULER - 3, 1, 3);
      g.globalAlpha = 0.85;
      const label = fps ? String(Math.round(i * step * fps)) : `${+(i * step).toFixed(3)}`;
      const text = i || !fps ? label : "0 f";
      if (x > width - 8 - g.measureText(text).width) continue;
      g.fillText(i === 0 && !fps ? "0 s" : text, x + 3, 8);
    }
    g.globalAlpha = 1;
    g.textBaseline = "alphabetic";
  }

  #block(g, k, lane, place, index, ghost) {
    const box = this.#box(k, place);
    if (box.x > this.width || box.x + box.w < 0) return;
    const { hover, timeline: { selected } } = this;
    const chosen = !ghost && selected?.lane === k && selected?.index === index;
    const over = !ghost && hover?.lane === k && hover?.index === index;
    const dim = lane.muted || ghost ? 0.4 : 1;
    g.save();
    g.globalAlpha = dim;
    g.beginPath();
    g.roundRect(box.x, box.y, box.w, box.h, Math.min(4, box.w / 2));
    g.fillStyle = colour(k, 32, chosen ? 0.95 : over ? 0.85 : 0.7);
    g.fill();
    g.clip();
    this.#wave(g, k, lane, place, box);
    g.restore();
    g.save();
    g.globalAlpha = dim;
    g.lineWidth = chosen ? 2 : 1;
    g.strokeStyle = chosen ? this.ink : colour(k, 62);
    if (ghost || !place.pinned) g.setLineDash([4, 3]);
    g.beginPath();
    g.roundRect(box.x + 0.5, box.y + 0.5, Math.max(2, box.w - 1), box.h - 1, Math.min(4, box.w / 2));
    g.stroke();
    g.setLineDash([]);
    if (place.pinned && box.w > 14) {
      g.fillStyle = this.ink;
      g.beginPath();
      g.arc(box.x + box.w - 7, box.y + box.h - 7, 2.5, 0, 7);
      g.fill();
    }
    if (chosen && box.w > 24) this.#handles(g, place, box);
    else if (place.gain && box.w > 40) {
      g.fillStyle = this.ink;
      g.font = "9px sans-serif";
      g.fillText(`${place.gain > 0 ? "+" : ""}${+place.gain.toFixed(1)} dB`, box.x + 5, box.y + 10);
    }
    g.restore();
  }

  #handles(g, place, box) {
    const y = this.#gainY(box, place.gain);
    g.strokeStyle = g.fillStyle = "#ffe08a";
    g.lineWidth = 1.5;
    g.beginPath();
    g.moveTo(box.x + 4, y);
    g.lineTo(box.x + box.w - 4, y);
    g.stroke();
    const [left, right] = [box.x + place.fade_in * this.scale, box.x + box.w - place.fade_out * this.scale];
    for (const x of [Math.max(left, box.x + HANDLE + 1), Math.min(right, box.x + box.w - HANDLE - 1)]) {
      g.fillRect(x - HANDLE + 1, box.y + 1, 2 * HANDLE - 2, 2 * HANDLE - 2);
    }
    if (box.w > 60) {
      g.font = "9px sans-serif";
      const text = `${place.gain > 0 ? "+" : ""}${+place.gain.toFixed(1)} dB`;
      g.fillText(text, box.x + box.w / 2 - g.measureText(text).width / 2, y > box.y + 14 ? y - 3 : y + 10);
    }
  }

  /** Waveform of a block's part of its sound, with gain and fades; beds repeat the sound. */
  #wave(g, k, lane, place, box) {
    const { sound } = lane;
    const middle = box.y + box.h / 2, half = box.h / 2 - 2;
    const gain = 10 ** (place.gain / 20);
    g.fillStyle = colour(k, 68);
    if (!sound?.peaks?.length) {
      g.fillRect(box.x, middle - 0.5, box.w, 1);
      return;
    }
    const offset = place.offset ?? loudestOffset(sound, place.duration);
    const rest = Math.max(0.01, sound.seconds - offset);
    const top = (sound.top ??= Math.max(1, ...sound.peaks));
    const first = Math.max(box.x, 0), last = Math.min(box.x + box.w, this.width);
    for (let x = first; x < last; x++) {
      const t = (x - box.x) / this.scale;
      const inside = t < rest ? offset + t : offset + (t % rest);
      const a = Math.floor((inside / sound.seconds) * sound.peaks.length);
      const b = Math.max(a + 1, Math.floor(((inside + 1 / this.scale) / sound.seconds) * sound.peaks.length));
      let peak = 0;
      for (let i = a; i < b && i < sound.peaks.length; i++) peak = Math.max(peak, sound.peaks[i]);
      const rise = place.fade_in > 0 ? Math.min(1, t / place.fade_in) : 1;
      const fall = place.fade_out > 0 ? Math.min(1, (place.duration - t) / place.fade_out) : 1;
      const h = Math.min(half, Math.max(0.5, (peak / top) * half * 0.85 * gain * Math.max(0, rise * fall)));
      g.fillRect(x, middle - h, 1.02, 2 * h);
    }
    g.fillStyle = this.ink;
    g.globalAlpha *= 0.5;
    for (let t = rest; t < place.duration - 0.005; t += rest) g.fillRect(box.x + t * this.scale, box.y, 1, box.h);
    for (const [at, length, sign] of [[box.x, place.fade_in, 1], [box.x + box.w, place.fade_out, -1]]) {
      if (length <= 0) continue;
      g.strokeStyle = this.ink;
      g.beginPath();
      g.moveTo(at, box.y + box.h);
      g.lineTo(at + sign * length * this.scale, box.y);
      g.stroke();
    }
  }

  #result(g, ink) {
    const y = RULER + Math.max(1, this.timeline.lanes.length) * LANE;
    const { peaks, seconds, picture } = this.result;
    g.fillStyle = "rgb(128 128 128 / 0.2)";
    g.fillRect(0, y, this.width, RESULT - 1);
    g.fillStyle = ink;
    g.globalAlpha = 0.75;
    const per = peaks.length / seconds;
    for (let x = Math.max(0, this.x(0)); x < Math.min(this.width, this.x(seconds)); x++) {
      const a = Math.floor(this.time(x) * per), b = Math.max(a + 1, Math.floor(this.time(x + 1) * per));
      let peak = 0;
      for (let i = a; i < b && i < peaks.length; i++) peak = Math.max(peak, peaks[i]);
      const h = Math.max(0.5, peak * (RESULT / 2 - 4));
      g.fillRect(x, y + RESULT / 2 - h, 1, 2 * h);
    }
    g.globalAlpha = 1;
    const [from, to] = [this.x(0), this.x(seconds)];
    g.drawImage(picture, 0, 0, picture.width, picture.height, from, y + RESULT, to - from, MEL - 2);
  }
}
