// A sound's waveform with two handles for the part that is used, by mouse and keys.

import { make } from "../dom.js";

const HEIGHT = 36;
const SHORTEST = 0.02;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const rounded = (seconds) => Math.round(seconds * 100) / 100;

export class Waveform {
  /** `changed(begin, end)` is called at the end of an edit, `pressed(second)` for a click beside the handles. */
  constructor({ changed, pressed, reset }) {
    Object.assign(this, { changed, pressed, reset });
    this.whole = null; // {total, peaks}
    this.part = [0, 0];
    this.playhead = null;
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.handles = ["begin", "end"].map((name, k) => this.#handle(name, k));
    this.element = make("div", { class: "da-wave", title: "Click: play the part that is used. Drag its edges to change it; double-click: as trim says." }, this.canvas, ...this.handles);
    this.element.style.height = `${HEIGHT}px`;
    this.element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.whole) return;
      event.stopPropagation();
      this.pressed(this.#second(event));
    });
    this.element.addEventListener("dblclick", (event) => {
      event.stopPropagation();
      this.reset();
    });
  }

  #handle(name, k) {
    const handle = make("div", { class: "da-handle", role: "slider", tabindex: "0", "aria-label": `${name} of the part that is used, in seconds` });
    handle.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.whole) return;
      event.stopPropagation();
      event.preventDefault();
      handle.focus({ preventScroll: true });
      handle.setPointerCapture(event.pointerId);
      this.drag = k;
    });
    handle.addEventListener("pointermove", (event) => {
      if (this.drag !== k) return;
      event.stopPropagation();
      this.moved = true;
      this.#set(k, this.#second(event));
    });
    const release = () => {
      if (this.drag !== k) return;
      this.drag = null;
      if (this.moved) this.changed(...this.part);
      this.moved = false;
    };
    handle.addEventListener("pointerup", release);
    handle.addEventListener("lostpointercapture", release);
    handle.addEventListener("keydown", (event) => {
      event.stopPropagation();
      const step = { ArrowLeft: -0.01, ArrowRight: 0.01 }[event.key];
      if (!step || !this.whole) return;
      event.preventDefault();
      this.#set(k, this.part[k] + step * (event.ctrlKey ? 10 : 1));
      this.changed(...this.part);
    });
    return handle;
  }

  #second(event) {
    // The element is drawn at the graph's zoom.
    const box = this.element.getBoundingClientRect();
    return clamp((event.clientX - box.left) / box.width, 0, 1) * this.whole.total;
  }

  #set(k, second) {
    const { total } = this.whole;
    const [begin, end] = this.part;
    this.part[k] = k === 0 ? clamp(rounded(second), 0, end - SHORTEST) : clamp(rounded(second), begin + SHORTEST, total);
    this.draw();
  }

  get dragging() {
    return this.drag === 0 || this.drag === 1;
  }

  /** Show a sound {total, peaks} and its used part [begin, end]; null: none. */
  show(whole, part) {
    this.whole = whole;
    if (part && !this.dragging) this.part = [...part];
    this.draw();
  }

  draw() {
    const { canvas, whole } = this;
    const width = Math.max(60, this.element.clientWidth);
    for (const handle of this.handles) handle.hidden = !whole;
    canvas.width = width * 2;
    canvas.height = HEIGHT * 2;
    const g = canvas.getContext("2d");
    g.scale(2, 2);
    if (!whole) return;
    const at = this.part.map((second) => (second / whole.total) * width);
    g.fillStyle = "rgb(106 169 255 / 0.15)";
    g.fillRect(at[0], 0, at[1] - at[0], HEIGHT);
    const top = Math.max(1, ...whole.peaks);
    for (let x = 0; x < width; x++) {
      const from = Math.floor((x / width) * whole.peaks.length);
      const to = Math.max(from + 1, Math.floor(((x + 1) / width) * whole.peaks.length));
      const h = Math.max(0.5, (Math.max(...whole.peaks.slice(from, to)) / top) * (HEIGHT / 2 - 3));
      g.fillStyle = x >= at[0] && x <= at[1] ? "#6aa9ff" : "rgb(128 128 128 / 0.7)";
      g.fillRect(x, HEIGHT / 2 - h, 1, 2 * h);
    }
    if (this.playhead !== null) {
      g.fillStyle = "#ff5c5c";
      g.fillRect((this.playhead / whole.total) * width, 0, 1.5, HEIGHT);
    }
    this.handles.forEach((handle, k) => {
      handle.style.left = `${at[k]}px`;
      handle.setAttribute("aria-valuemin", "0");
      handle.setAttribute("aria-valuemax", whole.total.toFixed(2));
      handle.setAttribute("aria-valuenow", this.part[k].toFixed(2));
    });
  }
}
