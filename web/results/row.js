// One saved sound: play, waveform, length, peak, download, use as reference.

import { api } from "../../../scripts/api.js";
import { make } from "../dom.js";
import { ask } from "../server.js";
import { fetchSound, peaksOf, Player } from "../timeline/audio.js";

const HEIGHT = 28;
export const ROW = HEIGHT + 6;

const decibels = (peak) => (peak > 0 ? `${(20 * Math.log10(peak)).toFixed(1)} dB` : "silent");

export class Row {
  /** `file` is ComfyUI's {filename, subfolder, type}; `use` is called with the name that nodes know it by. */
  constructor(file, { use, started, seed }) {
    this.file = file;
    this.started = started;
    this.seed = seed;
    const { filename, subfolder, type } = file;
    this.name = `${subfolder ? `${subfolder}/` : ""}${filename} [${type}]`;
    this.url = api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
    this.playhead = null;
    this.player = new Player((at) => this.#moved(at), () => this.#moved(null));
    this.button = make("button", { type: "button", title: `Play ${filename}`, "aria-label": `Play ${filename}`, onclick: () => this.toggle() }, "▶");
    this.canvas = make("canvas", { class: "da-row-wave", title: "Click: play from here", onpointerdown: (event) => this.#seek(event) });
    this.about = make("span", { class: "da-row-about" }, "…");
    this.element = make("div", { class: "da-row", role: "listitem" },
      this.button, this.canvas,
      make("div", { class: "da-row-text" }, make("span", { class: "da-row-name", title: this.name }, filename), this.about),
      make("a", { class: "da-row-button", href: this.url, download: filename, title: `Download ${filename}`, "aria-label": `Download ${filename}` }, "⤓"),
      make("button", { type: "button", title: `Use ${filename} as a reference`, "aria-label": `Use ${filename} as a reference`, onclick: () => use(this.name) }, "Ref"));
    if (type === "temp") this.element.append(this.#keepButton());
    this.#read();
  }

  #keepButton() {
    const { filename } = this.file;
    const button = make("button", { type: "button", title: `Keep ${filename} in the output folder`, "aria-label": `Keep ${filename} in the output folder`, onclick: () => this.#keep(button) }, "Keep");
    return button;
  }

  async #keep(button) {
    button.disabled = true;
    try {
      const { subfolder, filename } = await ask("/dreamaudio/keep", { audio: this.name });
      button.textContent = "✓";
      button.title = `Kept as ${subfolder}/${filename}`;
    } catch (error) {
      button.disabled = false;
      button.title = this.about.textContent = error.message;
    }
  }

  async #read() {
    try {
      this.buffer = await fetchSound(this.url);
    } catch (error) {
      this.about.textContent = error.message;
      return;
    }
    this.peaks = peaksOf(this.buffer, 400);
    this.peak = this.peaks.reduce((a, b) => Math.max(a, b), 0);
    const seed = this.seed === undefined ? "" : `seed ${this.seed}, `;
    this.about.textContent = `${seed}${this.buffer.duration.toFixed(2)} s, peak ${decibels(this.peak)}`;
    this.draw();
  }

  toggle(from = 0) {
    if (this.player.playing) return this.player.stop();
    if (!this.buffer) return;
    this.started(this);
    this.player.play(this.buffer, from);
    this.button.textContent = "■";
  }

  #seek(event) {
    if (event.button !== 0 || !this.buffer) return;
    event.stopPropagation();
    const box = this.canvas.getBoundingClientRect();
    this.player.stop();
    this.toggle(((event.clientX - box.left) / box.width) * this.buffer.duration);
  }

  #moved(at) {
    this.playhead = at;
    if (at === null) this.button.textContent = "▶";
    this.draw();
  }

  draw() {
    const { canvas, peaks } = this;
    const width = Math.max(40, canvas.clientWidth);
    [canvas.width, canvas.height] = [2 * width, 2 * HEIGHT];
    if (!peaks) return;
    const g = canvas.getContext("2d");
    g.scale(2, 2);
    g.fillStyle = "#6aa9ff";
    for (let x = 0; x < width; x++) {
      const [a, b] = [x, x + 1].map((k) => Math.floor((k / width) * peaks.length));
      const h = Math.max(0.5, Math.max(...peaks.slice(a, Math.max(a + 1, b))) * (HEIGHT / 2 - 1));
      g.fillRect(x, HEIGHT / 2 - h, 1, 2 * h);
    }
    if (this.playhead !== null) {
      g.fillStyle = "#ff5c5c";
      g.fillRect((this.playhead / this.buffer.duration) * width, 0, 1.5, HEIGHT);
    }
  }
}
