// The widget: toolbar, lane heads, canvas, fields of the selected block, messages; mouse and keyboard.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { make, styles } from "../dom.js";
import { Answers, ask } from "../server.js";
import { fetchSound } from "./audio.js";
import { dependsOn, scene, soundUrl } from "./graph.js";
import { Listening } from "./listening.js";
import { Timeline } from "./model.js";
import { colour, LANE, MEL, RESULT, RULER, View } from "./view.js";

const REACH = 6; // pixels within which a block snaps to another
const POLL = 400; // ms between looks at the graph
const FIELDS = [
  ["start", "Start", "s", 0.01],
  ["duration", "Length", "s", 0.01],
  ["offset", "From", "s", 0.01],
  ["gain", "Gain", "dB", 0.5],
  ["fade_in", "Fade in", "s", 0.01],
  ["fade_out", "Fade out", "s", 0.01],
  ["pan", "Pan", "", 0.05],
];
const CURSORS = { ruler: "text", result: "text", start: "ew-resize", end: "ew-resize", gain: "ns-resize", fadeIn: "col-resize", fadeOut: "col-resize", block: "grab" };
let count = 0;

export class TimelineWidget {
  constructor(node) {
    this.node = node;
    this.id = `dreamaudio-timeline-${++count}`;
    this.timeline = new Timeline(() => this.#changed());
    this.answers = new Answers(() => { this.sceneKey = ""; });
    this.sounds = new Map();
    this.library = []; // lanes of sounds that nothing is connected for
    this.note = "";
    this.snap = "10 ms";
    this.#build();
    this.element.prepend(styles("./timeline.css", import.meta.url));
    this.view = new View(this.canvas, this.timeline);
    this.listening = new Listening(this.view, {
      // While the node follows the prompt, the answer of the last run is what can be played.
      shown: () => (this.timeline.state ? this.timeline : this.#ghostTimeline()),
      say: (text) => this.#say(text),
      changed: () => this.#heard(),
    });
    this.player = this.listening.player;
    this.observer = new ResizeObserver(() => this.refresh());
    this.observer.observe(this.element);
    this.timer = setInterval(() => this.#poll(), POLL);
    this.onExecuted = ({ detail }) => this.#executed(detail);
    api.addEventListener("executed", this.onExecuted);
    queueMicrotask(() => this.#poll());
  }

  remove() {
    clearInterval(this.timer);
    this.observer.disconnect();
    this.player.stop();
    api.removeEventListener("executed", this.onExecuted);
  }

  // Value

  get value() {
    return this.timeline.text;
  }

  set value(text) {
    if (text === this.timeline.text) return;
    this.timeline.text = text ?? "";
    this.refresh();
  }

  #changed() {
    this.listening.edited();
    this.refresh();
    this.node.graph?.setDirtyCanvas?.(true, true);
    const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
    (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
  }

  // Elements

  #button(label, title, press, extra = {}) {
    return make("button", { type: "button", title, "aria-label": title, onclick: press, ...extra }, label);
  }

  #build() {
    this.playButton = this.#button("▶", "Play (Space)", () => this.listening.toggle());
    this.sourceButton = this.#button("Mix", "", () => this.listening.choose(this.listening.source === "mix" ? "result" : "mix"), { hidden: "" });
    this.readButton = this.#button("Read", "Read from prompt: fill the lanes with the arranger's answer; pinned blocks stay", () => this.readPrompt());
    this.readButton.append(make("span", { class: "da-wide" }, " from prompt"));
    this.undoButton = this.#button("↶", "Undo (Ctrl Z)", () => this.timeline.undo());
    this.redoButton = this.#button("↷", "Redo (Ctrl Shift Z)", () => this.timeline.redo());
    this.clearButton = this.#button("✕", "Clear: the node reads the prompt when it runs", () => this.timeline.replace(""));
    this.snapSelect = make("select", { title: "Grid to which blocks snap", "aria-label": "Grid to which blocks snap", onchange: () => this.#setSnap() },
      ...["10 ms", "24 fps", "25 fps", "30 fps", "60 fps", "off"].map((name) => make("option", { value: name }, name)));
    this.textButton = this.#button("{ }", "Show the timeline as JSON", () => this.#toggleText(), { "aria-pressed": "false" });
    const bar = make("div", { class: "da-bar", role: "toolbar", "aria-label": "Timeline" },
      this.playButton, this.sourceButton, this.readButton, this.undoButton, this.redoButton, make("span", { class: "da-gap" }),
      this.snapSelect,
      this.#button("−", "Zoom out (-)", () => this.view.zoomTo(this.view.zoom / 1.5)),
      this.#button("+", "Zoom in (+)", () => this.view.zoomTo(this.view.zoom * 1.5, this.#focusTime())),
      this.#button("↔", "Show all (0)", () => this.view.zoomTo(1)),
      this.textButton, this.clearButton);
    this.heads = make("div", { class: "da-heads" });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.list = make("div", { class: "da-hidden" });
    this.area = make("div", { class: "da-area", tabindex: "0", role: "listbox", "aria-label": "Blocks of the timeline. Arrow keys choose, Alt and arrow keys move, Shift and arrow keys change the length, Control D repeats, Delete removes." }, this.canvas, this.list);
    // ComfyUI's own undo leaves elements of this type alone.
    this.area.type = "textarea";
    this.fields = make("div", { class: "da-fields" });
    this.inputs = {};
    for (const [key, label, unit, step] of FIELDS) {
      const input = make("input", { type: "number", step, "aria-label": `${label}${unit ? ` in ${unit}` : ""}`, onchange: () => this.#setField(key, input.value) });
      this.inputs[key] = input;
      this.fields.append(make("label", { title: `${label}${unit ? `, ${unit}` : ""}` }, label, input));
    }
    this.pin = make("input", { type: "checkbox", "aria-label": "Pinned: a new reading of the prompt leaves the block where it is", onchange: () => this.timeline.edit(() => this.timeline.set(this.timeline.selected, { pinned: this.pin.checked })) });
    this.fields.append(make("label", { class: "da-pin", title: "Pinned: a new reading of the prompt leaves the block where it is" }, this.pin, "Pinned"));
    this.textArea = make("textarea", { class: "da-text", spellcheck: "false", "aria-label": "The timeline as JSON", hidden: "", onchange: () => this.timeline.replace(this.textArea.value) });
    this.messages = make("ul", { class: "da-messages" });
    this.live = make("div", { class: "da-hidden", "aria-live": "polite" });
    this.body = make("div", { class: "da-body" }, this.heads, this.area);
    this.element = make("div", { class: "da-timeline" }, bar, this.body, this.fields, this.textArea, this.messages, this.live);
    this.#listen();
  }

  #listen() {
    const on = (type, run, options) => this.area.addEventListener(type, run, options);
    on("pointerdown", (event) => this.#press(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#release(event));
    on("lostpointercapture", () => this.drag && this.#release(new Event("pointerup")));
    on("pointercancel", () => this.#cancelDrag());
    on("dblclick", (event) => this.#doubleClick(event));
    on("pointerleave", () => this.#setHover(null));
    on("wheel", (event) => this.#wheel(event), { passive: false });
    on("contextmenu", (event) => event.stopPropagation());
    this.element.addEventListener("keydown", (event) => {
      // ComfyUI's shortcuts, such as Delete for the whole node, wait for keys at the window.
      if (!(event.key === "Enter" && (event.ctrlKey || event.metaKey))) event.stopPropagation();
      if (event.target === this.area) this.#key(event);
    });
  }

  // Refreshing

  get height() {
    const messages = this.messages?.offsetHeight ?? 0;
    const fields = this.fields.hidden ? 0 : this.fields.offsetHeight || 22;
    return 36 + (this.view?.height ?? 100) + fields + (this.textArea.hidden ? 0 : 108) + messages + 12;
  }

  refresh() {
    if (!this.view) return;
    const { timeline, view } = this;
    const lanes = timeline.lanes;
    view.width = Math.max(120, this.area.clientWidth);
    this.element.classList.toggle("da-narrow", this.element.clientWidth < 460);
    this.#heads(lanes);
    this.#options(lanes);
    this.fields.hidden = !timeline.place();
    this.#showFields();
    this.undoButton.disabled = !timeline.done.length;
    this.redoButton.disabled = !timeline.undone.length;
    this.clearButton.disabled = !timeline.text;
    if (document.activeElement !== this.textArea) this.textArea.value = timeline.error ? timeline.unread : timeline.state ? JSON.stringify(JSON.parse(timeline.text), null, 1) : "";
    const state = timeline.text ? [] : ["Follows the prompt when it runs. Read from prompt shows it now; double-click a lane to place a sound by hand."];
    const stale = timeline.state && this.node.properties?.timeline_prompt !== undefined && this.scene && this.node.properties.timeline_prompt !== this.scene.prompt
      ? ["The prompt has changed since it was read."] : [];
    this.#messages([...(this.note ? [this.note] : []), ...stale, ...state, ...timeline.warnings]);
    view.request();
    this.#fit();
  }

  #showFields() {
    const { timeline } = this;
    const place = timeline.place();
    if (!place) return;
    for (const [key] of FIELDS) {
      const found = key === "offset" ? timeline.offset(timeline.selected) : place[key];
      if (document.activeElement !== this.inputs[key]) this.inputs[key].value = String(Math.round(found * 1000) / 1000);
    }
    this.pin.checked = place.pinned;
  }

  /** What changes at each step of a drag; the rest, which costs the page a layout, waits for its end. */
  #dragged() {
    this.#showFields();
    this.view.request();
  }

  #fit() {
    const wanted = Math.ceil(this.height);
    if (wanted === this.fitted) return;
    const grown = wanted > (this.fitted ?? 0);
    this.fitted = wanted;
    this.element.style.minHeight = `${wanted}px`;
    const { node } = this;
    const [width, height] = node.computeSize?.() ?? [0, 0];
    if (height && (grown ? node.size[1] < height : node.size[1] > height)) node.setSize?.([Math.max(node.size[0], width), height]);
    node.graph?.setDirtyCanvas?.(true, true);
  }

  #heads(lanes) {
    const key = JSON.stringify(lanes.map((lane) => [lane.name, lane.caption, lane.muted, lane.placements[0]?.pan, lane.placements.length > 0]));
    if (key === this.headsKey) return;
    this.headsKey = key;
    this.heads.style.paddingTop = `${RULER}px`;
    this.heads.replaceChildren(...lanes.map((lane, k) => {
      const title = `${k + 1} ${lane.name}`;
      const mute = this.#button("M", `Mute ${title}`, () => this.timeline.mute(k), { "aria-pressed": String(lane.muted) });
      mute.disabled = !lane.placements.length;
      const pan = make("input", {
        type: "range", min: -1, max: 1, step: 0.05, value: lane.placements[0]?.pan ?? 0, title: `Pan of ${title}: ${lane.placements[0]?.pan ?? 0} (double-click: middle)`, "aria-label": `Pan of ${title}`,
        oninput: () => { this.timeline.panLane(k, Number(pan.value)); this.view.request(); },
        onchange: () => this.timeline.commit(),
        ondblclick: () => { this.timeline.panLane(k, 0); this.timeline.commit(); },
      });
      pan.disabled = !lane.placements.length;
      const name = make("span", { class: "da-name", title: lane.caption || lane.name }, title);
      const head = make("div", { class: "da-head" }, name, make("div", { class: "da-controls" }, mute, pan));
      head.style.height = `${LANE}px`;
      head.style.borderLeftColor = colour(k);
      return head;
    }));
    if (this.view.result) {
      const play = this.#button("▶", "Play the result of the last run", () => this.listening.play(0, "result"));
      const head = make("div", { class: "da-head" }, make("span", { class: "da-name" }, "Result"), make("div", { class: "da-controls" }, play));
      head.style.height = `${RESULT + MEL}px`;
      this.heads.append(head);
    }
  }

  #describe(lane, k, place, i) {
    const moves = typeof place.pan_end === "number" && place.pan_end !== place.pan;
    const flags = [moves ? `moves from ${place.pan} to ${place.pan_end}` : "", place.pinned ? "pinned" : "from the prompt", this.timeline.isBed(k, place) ? "bed" : "", lane.muted ? "muted" : ""].filter(Boolean).join(", ");
    return `${k + 1} ${lane.name}, block ${i + 1} of ${lane.placements.length}: starts at ${place.start.toFixed(2)} s, lasts ${place.duration.toFixed(2)} s, gain ${+place.gain.toFixed(1)} dB, ${flags}`;
  }

  /** What a screen reader is told: one option a block. */
  #options(lanes) {
    const { selected } = this.timeline;
    const options = lanes.flatMap((lane, k) => lane.placements.map((place, i) => {
      const chosen = selected?.lane === k && selected?.index === i;
      return make("div", { role: "option", id: `${this.id}-${k}-${i}`, "aria-selected": String(chosen), "data-lane": k, "data-index": i }, this.#describe(lane, k, place, i));
    }));
    this.list.replaceChildren(...options);
    if (selected) this.area.setAttribute("aria-activedescendant", `${this.id}-${selected.lane}-${selected.index}`);
    else this.area.removeAttribute("aria-activedescendant");
  }

  #messages(lines) {
    const key = lines.join("\n");
    if (key === this.messagesKey) return;
    this.messagesKey = key;
    this.messages.replaceChildren(...lines.map((line) => make("li", {}, line)));
  }

  #say(text) {
    this.note = text;
    this.live.textContent = text;
    this.refresh();
  }

  // The graph

  #poll() {
    if (document.hidden || !this.node.graph) return;
    const found = scene(this.node);
    const key = JSON.stringify(found);
    if (key === this.sceneKey) return;
    this.sceneKey = key;
    this.scene = found;
    this.timeline.seconds = found.seconds;
    this.timeline.library = found.missing === "library" || found.missing === "auto";
    if (this.libraryKey !== this.#libraryKey(found)) this.library = [];
    this.timeline.references = found.references.map((entry, k) => {
      const sound = entry.audio ? this.#sound(entry) : this.ran?.[k]?.seconds ? this.ran[k] : null;
      return { ...entry, sound, url: entry.audio ? soundUrl(api, entry.audio) : null };
    }).concat(this.library);
    if (this.view.scroll) this.view.scrollTo(this.view.scroll);
    this.listening.forget();
    this.refresh();
  }

  /** What the choice of sounds of the starter library depends on. */
  #libraryKey(found) {
    return JSON.stringify([found.prompt, found.model_name, found.missing, found.references.map((entry) => entry.caption)]);
  }

  /** Show sounds of the starter library, which follow those that are connected: [{name, caption, sound}]. */
  #setLibrary(sounds) {
    this.library = sounds.map((entry) => ({ ...entry, url: null }));
    this.libraryKey = this.#libraryKey(this.scene);
    this.sceneKey = "";
    this.#poll();
  }

  #sound({ audio, trim, begin, end }) {
    const path = `/dreamaudio/peaks?${new URLSearchParams({ audio, trim, begin, end })}`;
    const answer = this.answers.get(path);
    const known = this.sounds.get(path);
    if (known?.answer !== answer) {
      this.sounds.set(path, { answer, sound: known?.sound ?? null });
      answer.then((sound) => {
        this.sounds.set(path, { answer, sound });
        this.sceneKey = "";
        if (this.complaint) this.#say("");
        this.complaint = null;
        this.#poll();
      }, (error) => this.#say(this.complaint = error.message));
    }
    return this.sounds.get(path).sound;
  }

  async readPrompt() {
    this.#poll();
    const { problem, ...values } = this.scene ?? { problem: "Nothing is connected." };
    if (problem) return this.#say(problem);
    this.readButton.disabled = true;
    this.#say("Reading the prompt ...");
    try {
      const found = await ask("/dreamaudio/arrange", { ...values, timeline: this.timeline.error ? "" : this.timeline.text });
      this.node.properties.timeline_prompt = values.prompt;
      this.timeline.replace(JSON.stringify(found.arrangement));
      this.#setLibrary(found.library);
      this.#say("");
      this.live.textContent = "The lanes show the arranger's answer.";
    } catch (error) {
      this.#say(error.message);
    } finally {
      this.readButton.disabled = false;
    }
  }

  /** Results of a run: what the arranger answered, and the sound of a node behind this one. */
  async #executed({ node: id, display_node: shown, output }) {
    const graph = this.node.graph;
    const from = graph?.getNodeById?.(shown ?? id) ?? graph?.getNodeById?.(Number(shown ?? id));
    if (!from || !output) return;
    if (from === this.node && output.arrangement?.[0]) {
      this.view.ghost = JSON.parse(output.arrangement[0]);
      this.ran = output.sounds;
      this.sceneKey = "";
      this.#poll();
      if (!this.scene) return;
      const given = this.scene.references.length;
      this.#setLibrary((output.sounds ?? []).slice(given).map((sound, k) => {
        const { caption } = this.view.ghost.references[given + k];
        return { name: caption, caption, sound };
      }));
    } else if (output.audio?.[0]?.filename && dependsOn(from, this.node)) {
      const query = new URLSearchParams({ ...output.audio[0], rand: Date.now() });
      const buffer = await fetchSound(api.apiURL(`/view?${query}`)).catch(() => null);
      if (!buffer) return;
      this.listening.setResult(buffer);
      this.headsKey = "";
      this.refresh();
    }
  }

  // Sound

  get buffer() {
    return this.listening.buffer;
  }

  #heard() {
    const { player, result, source } = this.listening;
    const title = source === "result" ? "The result of the last run is played; press for the mix of the references" : "The mix of the references is played; press for the result of the last run";
    this.playButton.textContent = player.playing ? "■" : "▶";
    this.sourceButton.hidden = !result;
    this.sourceButton.textContent = source === "result" ? "Result" : "Mix";
    this.sourceButton.title = title;
    this.sourceButton.setAttribute("aria-label", title);
    this.view.request();
  }

  #ghostTimeline() {
    const shown = new Timeline();
    [shown.references, shown.seconds] = [this.timeline.references, this.timeline.seconds];
    if (this.view.ghost) shown.read(JSON.stringify(this.view.ghost));
    return shown;
  }

  // Mouse

  #point(event) {
    // The canvas is drawn at the graph's zoom.
    const box = this.canvas.getBoundingClientRect();
    const zoom = box.width / this.view.width || 1;
    return { x: (event.clientX - box.left) / zoom, y: (event.clientY - box.top) / zoom };
  }

  #grid() {
    const fps = parseFloat(this.snap);
    return this.snap === "off" ? 0 : this.snap.endsWith("fps") ? 1 / fps : 0.01;
  }

  #setSnap() {
    this.snap = this.snapSelect.value;
    this.view.fps = this.snap.endsWith("fps") ? parseFloat(this.snap) : 0;
    this.view.request();
  }

  #snapped(time, free, length = 0) {
    if (free) return time;
    return this.timeline.snap(time, { grid: this.#grid(), reach: this.#grid() || this.snap === "off" ? REACH / this.view.scale : 0, except: this.timeline.selected, length });
  }

  #press(event) {
    if (event.button !== 0) return;
    event.stopPropagation();
    event.preventDefault();
    this.area.focus({ preventScroll: true });
    const { x, y } = this.#point(event);
    let hit = this.view.hit(x, y);
    if (!this.timeline.state && hit.part === "lane" && this.view.ghost) hit = this.#adopt(x, y) ?? hit;
    if (hit.part === "ruler") return void this.listening.play(Math.min(this.timeline.seconds, Math.max(0, this.view.time(x))));
    if (hit.part === "result") return void this.listening.play(Math.max(0, this.view.time(x)), "result");
    if (hit.index === undefined) {
      this.timeline.selected = null;
      this.drag = { part: "scroll", x, scroll: this.view.scroll };
      this.area.setPointerCapture(event.pointerId);
      return this.refresh();
    }
    this.timeline.selected = { lane: hit.lane, index: hit.index };
    const place = this.timeline.place();
    this.drag = { ...hit, x, y, from: { ...place }, copy: hit.part === "block" && (event.altKey || event.ctrlKey || event.metaKey), alt: event.altKey, moved: false };
    this.area.setPointerCapture(event.pointerId);
    this.refresh();
  }

  /** Take over what the last run arranged, when one of its blocks is grasped. */
  #adopt(x, y) {
    const { ghost } = this.view;
    if (ghost.references.length !== this.timeline.references.length) return null;
    const shown = new View(this.canvas, this.#ghostTimeline());
    Object.assign(shown, { width: this.view.width, zoom: this.view.zoom, scroll: this.view.scroll });
    const hit = shown.hit(x, y);
    if (hit.index === undefined) return null;
    this.timeline.replace(JSON.stringify(ghost));
    return hit;
  }

  #move(event) {
    const { x, y } = this.#point(event);
    const { drag, timeline } = this;
    if (!drag) return this.#setHover(this.view.hit(x, y));
    event.stopPropagation();
    if (drag.part === "scroll") return this.view.scrollTo(drag.scroll - (x - drag.x) / this.view.scale);
    if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < 3) return;
    if (!drag.moved && drag.copy) timeline.repeat(timeline.selected, drag.from.start);
    if (!event.altKey) drag.alt = false;
    drag.moved = true;
    // Alt at the press makes a copy; pressed later it lifts the grid.
    const free = event.altKey && !drag.alt;
    const delta = (x - drag.x) / this.view.scale;
    const at = timeline.selected;
    const { from } = drag;
    const end = from.start + from.duration;
    if (drag.part === "block") timeline.move(at, this.#snapped(from.start + delta, free, from.duration));
    else if (drag.part === "start") timeline.trimStart(at, this.#snapped(from.start + delta, free));
    else if (drag.part === "end") timeline.trimEnd(at, this.#snapped(end + delta, free));
    else if (drag.part === "gain") timeline.set(at, { gain: this.view.gainAt(at.lane, y) });
    else if (drag.part === "fadeIn") timeline.set(at, { fade_in: Math.min(from.duration - from.fade_out, Math.max(0, from.fade_in + delta)) });
    else if (drag.part === "fadeOut") timeline.set(at, { fade_out: Math.min(from.duration - from.fade_in, Math.max(0, from.fade_out - delta)) });
    this.#dragged();
  }

  #release(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    event.stopPropagation();
    this.timeline.commit();
    this.refresh();
  }

  #cancelDrag() {
    if (!this.drag) return;
    this.drag = null;
    this.timeline.cancel();
    this.refresh();
  }

  #doubleClick(event) {
    event.stopPropagation();
    event.preventDefault();
    const { x, y } = this.#point(event);
    const hit = this.view.hit(x, y);
    if (hit.part === "gain") this.timeline.edit(() => this.timeline.set(this.timeline.selected, { gain: 0 }));
    if (hit.part !== "lane" || this.timeline.error) return;
    this.timeline.add(hit.lane, this.#snapped(this.view.time(x), event.altKey));
  }

  #setHover(hit) {
    const key = JSON.stringify(hit);
    if (key === this.hoverKey) return;
    this.hoverKey = key;
    this.view.hover = hit;
    this.area.style.cursor = CURSORS[hit?.part] ?? "default";
    this.view.request();
  }

  #wheel(event) {
    // Without a key the wheel zooms the graph, as everywhere on the canvas.
    if (!event.ctrlKey && !event.shiftKey && !event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const turn = event.deltaY || event.deltaX;
    if (event.shiftKey) this.view.scrollTo(this.view.scroll + (turn / this.view.scale) * 0.5);
    else this.view.zoomTo(this.view.zoom * 1.0015 ** -turn, this.view.time(this.#point(event).x));
  }

  // Keyboard

  #focusTime() {
    const place = this.timeline.place();
    return place ? place.start + place.duration / 2 : this.view.playhead ?? undefined;
  }

  #key(event) {
    const { timeline } = this;
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const arrow = { ArrowLeft: -1, ArrowRight: 1 }[key];
    const step = (event.ctrlKey ? 10 : 1) * (this.#grid() || 0.001);
    let done = true;
    if (command && key === "z") event.shiftKey ? timeline.redo() : timeline.undo();
    else if (command && key === "y") timeline.redo();
    else if (command && key === "d") {
      if (timeline.repeat()) timeline.commit();
    } else if (key === "Delete" || key === "Backspace") timeline.remove();
    else if (key === " ") this.listening.toggle();
    else if (key === "Escape" && this.drag) this.#cancelDrag();
    else if (key === "Escape") timeline.selected = null;
    else if (key === "+" || key === "=") this.view.zoomTo(this.view.zoom * 1.5, this.#focusTime());
    else if (key === "-") this.view.zoomTo(this.view.zoom / 1.5, this.#focusTime());
    else if (key === "0") this.view.zoomTo(1);
    else if (key === "m" && !command && timeline.selected) timeline.mute(timeline.selected.lane);
    else if (key === "p" && !command && timeline.place()) timeline.edit(() => timeline.set(timeline.selected, { pinned: !timeline.place().pinned }));
    else if (key === "Enter") this.#addByKey();
    else if (arrow && (event.altKey || event.shiftKey) && timeline.place()) this.#nudge(arrow * step, event.shiftKey);
    else if (event.altKey && (key === "ArrowUp" || key === "ArrowDown") && timeline.place()) {
      const gain = timeline.place().gain + (key === "ArrowUp" ? 0.5 : -0.5);
      timeline.edit(() => timeline.set(timeline.selected, { gain }));
    } else if (arrow || key === "ArrowUp" || key === "ArrowDown") this.#choose(arrow ?? 0, { ArrowUp: -1, ArrowDown: 1 }[key] ?? 0);
    else done = false;
    if (!done) return;
    event.preventDefault();
    this.refresh();
    const place = timeline.place();
    if (place) this.live.textContent = this.#describe(timeline.lanes[timeline.selected.lane], timeline.selected.lane, place, timeline.selected.index);
  }

  #nudge(seconds, length) {
    const { timeline } = this;
    const place = timeline.place();
    timeline.edit(() => length ? timeline.trimEnd(timeline.selected, place.start + place.duration + seconds) : timeline.move(timeline.selected, place.start + seconds));
  }

  #addByKey() {
    const { timeline } = this;
    if (!timeline.lanes.length || timeline.error) return;
    timeline.add(timeline.selected?.lane ?? 0, this.view.playhead ?? 0);
  }

  /** Select the next block in time, or the one of another lane that is nearest in time. */
  #choose(along, across) {
    const { timeline } = this;
    const every = timeline.lanes.flatMap((lane, k) => lane.placements.map((place, i) => ({ lane: k, index: i, start: place.start })));
    if (!every.length) return;
    const place = timeline.place();
    if (!place) timeline.selected = { lane: every[0].lane, index: every[0].index };
    else {
      const { lane } = timeline.selected;
      const row = every.filter((at) => (along ? at.lane === lane : Math.sign(at.lane - lane) === across));
      row.sort((a, b) => (along ? a.start - b.start : Math.abs(a.lane - lane) - Math.abs(b.lane - lane) || Math.abs(a.start - place.start) - Math.abs(b.start - place.start)));
      const next = along ? row[row.findIndex((at) => at.index === timeline.selected.index) + along] : row[0];
      if (next) timeline.selected = { lane: next.lane, index: next.index };
    }
    const { start, duration } = timeline.place();
    if (this.view.x(start) < 0 || this.view.x(start + duration) > this.view.width) this.view.scrollTo(start - timeline.seconds / this.view.zoom / 4);
  }

  #setField(key, text) {
    const number = Number(text);
    const { timeline } = this;
    if (text === "" || !Number.isFinite(number) || !timeline.place()) return this.refresh();
    timeline.edit(() => timeline.set(timeline.selected, { [key]: number }));
  }

  #toggleText() {
    this.textArea.hidden = !this.textArea.hidden;
    this.textButton.setAttribute("aria-pressed", String(!this.textArea.hidden));
    this.refresh();
  }
}
