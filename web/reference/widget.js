// On Load Reference: the waveform with what is used of it, and hints about the caption.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { make, styles } from "../dom.js";
import { Answers, ask } from "../server.js";
import { fetchSound, Player } from "../timeline/audio.js";
import { soundUrl, value, widget } from "../timeline/graph.js";
import { CaptionKeeper } from "./caption.js";
import { isUnnamed, question } from "./named.js";
import { Waveform } from "./waveform.js";

const POLL = 300; // ms between looks at the node
const SETTLED = 700; // ms without typing before the prompt is read

export class ReferenceWidget {
  constructor(node) {
    this.node = node;
    this.answers = new Answers();
    this.waveform = new Waveform({
      changed: (begin, end) => this.#setPart(begin, end),
      pressed: (second) => this.#play(second),
      reset: () => this.#setPart(0, 0),
    });
    this.length = make("div", { class: "da-length" });
    this.hints = make("div", { "aria-live": "polite" });
    this.element = make("div", { class: "da-reference" }, styles("./reference.css", import.meta.url), this.waveform.element, this.length, this.hints);
    this.keeper = new CaptionKeeper({
      read: () => ({ file: value(node, "audio") ?? "", caption: value(node, "caption") ?? "" }),
      write: (text) => this.#write({ caption: text }),
      suggest: (file) => this.#suggest(file),
      fresh: () => !this.configured,
    });
    this.player = new Player((at) => this.#playhead(at), () => this.#playhead(null));
    this.observer = new ResizeObserver(() => this.waveform.draw());
    this.observer.observe(this.element);
    this.timer = setInterval(() => this.look(), POLL);
  }

  remove() {
    clearInterval(this.timer);
    this.observer.disconnect();
    this.player.stop();
  }

  get height() {
    return 54 + this.hints.offsetHeight;
  }

  #typed(name) {
    return this.node.inputs?.find((input) => input.name === name)?.link == null;
  }

  /** Give widgets of the node values, as if they were typed. */
  #write(values) {
    for (const [name, given] of Object.entries(values)) {
      const found = widget(this.node, name);
      if (!found || !this.#typed(name) || found.value === given) continue;
      found.value = given;
      found.callback?.(given, app.canvas, this.node);
    }
    this.node.graph?.setDirtyCanvas?.(true, true);
    const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
    (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
    this.look();
  }

  async #suggest(file) {
    return (await this.answers.get(`/dreamaudio/caption?${new URLSearchParams({ audio: file })}`)).caption;
  }

  /** See whether something has changed on the node or in the scene that it belongs to. */
  look() {
    if (document.hidden || !this.node.graph) return;
    this.#sound();
    if (this.#typed("audio") && this.#typed("caption")) this.keeper.look().then(() => this.#hint());
    else this.#hint();
    this.#askIfNamed();
  }

  // The sound

  #sound() {
    const [audio, trim, begin, end] = ["audio", "trim", "begin", "end"].map((name) => value(this.node, name));
    const peaks = (values) => this.answers.get(`/dreamaudio/peaks?${new URLSearchParams(values)}`);
    const whole = peaks({ audio, trim: "off" });
    const used = peaks({ audio, trim: trim ?? "", begin: begin ?? 0, end: end ?? 0 });
    if (whole === this.asked?.[0] && used === this.asked?.[1]) return;
    this.asked = [whole, used];
    if (audio !== this.wholeOf) {
      this.whole = null;
      this.player.stop();
    }
    this.#show(this.asked, audio, begin, end);
  }

  async #show(asked, audio, begin, end) {
    try {
      const whole = await asked[0];
      if (asked !== this.asked) return;
      [this.whole, this.wholeOf] = [whole, audio];
      const used = await asked[1];
      if (asked !== this.asked) return;
      this.waveform.show(this.whole, [used.begin, used.end]);
      const hand = begin || end ? ", by hand" : "";
      this.length.textContent = `${used.total.toFixed(2)} s, used ${(used.end - used.begin).toFixed(2)} s (${used.begin.toFixed(2)} to ${used.end.toFixed(2)}${hand})`;
      if (this.failed) this.namedKey = "";
      this.failed = false;
    } catch (error) {
      if (asked !== this.asked) return;
      this.failed = true;
      this.waveform.show(this.whole, this.whole ? [begin ?? 0, end || this.whole.total] : null);
      this.length.textContent = error.message;
    }
  }

  #setPart(begin, end) {
    const whole = this.whole && begin <= 0 && end >= this.whole.total;
    // The whole file by hand is an end at its end, as 0 and 0 leave it to trim.
    this.#write({ begin, end: whole ? Math.ceil(this.whole.total * 100) / 100 : end });
  }

  async #play(second) {
    if (this.player.playing) return this.player.stop();
    const [begin, end] = this.waveform.part;
    const buffer = await fetchSound(soundUrl(api, value(this.node, "audio"))).catch(() => null);
    if (buffer) this.player.play(buffer, second >= begin && second < end ? second : begin, end);
  }

  #playhead(at) {
    this.waveform.playhead = at;
    this.waveform.draw();
  }

  // Hints

  /** Ask the server, when nothing has changed for a moment, whether the prompt names this reference. */
  #askIfNamed() {
    const asked = question(this.node);
    const key = JSON.stringify(asked);
    if (key === this.namedKey) return;
    this.namedKey = key;
    clearTimeout(this.waiting);
    this.unnamed = "";
    if (!asked) return this.#hint();
    this.waiting = setTimeout(async () => {
      const answer = await ask("/dreamaudio/arrange", asked.body).catch(() => null);
      if (key !== this.namedKey) return;
      this.unnamed = answer && isUnnamed(answer, asked.at) ? "The prompt does not name this caption." : "";
      this.#hint();
    }, SETTLED);
  }

  #hint() {
    const { stale } = this.keeper;
    const caption = value(this.node, "caption") ?? "";
    const audio = value(this.node, "audio");
    const found = [];
    if (this.#typed("caption") && !caption.trim()) found.push({ text: "No caption: the prompt cannot name this sound." });
    else if (stale) found.push({ text: `This caption was written for ${this.keeper.of}.`, keep: true });
    else if (this.unnamed) found.push({ text: this.unnamed });
    const key = JSON.stringify([found, audio, caption]);
    if (key === this.hintKey) return;
    this.hintKey = key;
    const lines = found.map(({ text, keep }) => {
      const line = make("div", { class: "da-hint" }, text);
      if (keep) line.append(make("button", { type: "button", onclick: () => { this.keeper.accept(); this.#hint(); } }, "Keep"));
      return line;
    });
    this.hints.replaceChildren(...lines);
    if (found.length && (stale || !caption.trim())) this.#offer(audio, lines[0]);
    this.#fit();
  }

  async #offer(audio, line) {
    const offer = await this.#suggest(audio).catch(() => "");
    if (!offer || !line.isConnected || offer === value(this.node, "caption")) return;
    line.append(make("button", { type: "button", onclick: () => this.#write({ caption: offer }) }, `Use “${offer}”`));
    this.#fit();
  }

  #fit() {
    const { node } = this;
    const [width, height] = node.computeSize?.() ?? [0, 0];
    if (height > node.size[1]) node.setSize?.([Math.max(node.size[0], width), height]);
    node.graph?.setDirtyCanvas?.(true, true);
  }
}
