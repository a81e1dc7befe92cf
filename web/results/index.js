// Save Audio and Preview Audio show a row for each file of its last run.

import { app } from "../../../scripts/app.js";
import { make, styles } from "../dom.js";
import { widget } from "../timeline/graph.js";
import { ROW, Row } from "./row.js";

const SHOWN = 10; // rows before the list scrolls
const REFERENCE = "DreamAudioLoadReference";
const NODES = new Set(["DreamAudioSaveAudio", "DreamAudioPreviewAudio"]);

/** A new reference of a file, below the node that made it. */
function useAsReference(node, name) {
  const reference = LiteGraph.createNode(REFERENCE);
  reference.pos = [node.pos[0], node.pos[1] + node.size[1] + 60];
  node.graph.add(reference);
  const audio = widget(reference, "audio");
  audio.value = name;
  audio.callback?.(name, app.canvas, reference);
  app.canvas.selectNode?.(reference);
  node.graph.setDirtyCanvas(true, true);
}

class Results {
  constructor(node) {
    this.node = node;
    this.rows = [];
    this.list = make("div", { role: "list", "aria-label": "Files of the last run" });
    this.element = make("div", { class: "da-results" }, styles("./results.css", import.meta.url), this.list);
    this.observer = new ResizeObserver(() => this.rows.forEach((row) => row.draw()));
    this.observer.observe(this.element);
  }

  get height() {
    return this.rows.length ? ROW * Math.min(SHOWN, this.rows.length) + 12 : 0;
  }

  stop() {
    for (const row of this.rows) row.player.stop();
  }

  remove() {
    this.stop();
    this.observer.disconnect();
  }

  show(files, seeds = []) {
    this.stop();
    const { node } = this;
    const started = () => this.stop();
    this.rows = files.map((file, k) => new Row(file, { seed: seeds[k],  use: (name) => useAsReference(node, name), started }));
    this.list.replaceChildren(...this.rows.map((row) => row.element));
    const [width, height] = node.computeSize();
    if (height > node.size[1]) node.setSize([Math.max(node.size[0], width), height]);
    node.graph?.setDirtyCanvas(true, true);
  }
}

app.registerExtension({
  name: "dreamaudio.results",

  nodeCreated(node) {
    if (!NODES.has(node.comfyClass)) return;
    const results = new Results(node);
    const height = () => results.height;
    // Last, as values of widgets are stored by their places.
    const shown = node.addDOMWidget("results", "DREAMAUDIO_RESULTS", results.element, {
      serialize: false, hideOnZoom: false, getMinHeight: height, getMaxHeight: height,
    });
    shown.serialize = false;
    shown.results = results;
    const { onExecuted } = node;
    node.onExecuted = function (output) {
      onExecuted?.call(this, output);
      if (output?.audio) results.show(output.audio, output.seeds);
    };
    const removed = shown.onRemove;
    shown.onRemove = function () {
      results.remove();
      removed?.call(this);
    };
  },
});
