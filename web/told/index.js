// What a node has to tell after a run (where each sound plays, warnings) stands on the node.

import { app } from "../../../scripts/app.js";
import { make, styles } from "../dom.js";

const NODES = new Set([
  "DreamAudioScene", "DreamAudioMRCFlowSampler", "DreamAudioReferenceDetail", "DreamAudioReferenceFromAudio",
  "DreamAudioVideoLength", "DreamAudioLoadScenes", "DreamAudioRetrieveReferences",
]);
const HIGHEST = 94; // beyond it the text scrolls

class Told {
  constructor(node) {
    this.node = node;
    this.lines = make("div", { class: "da-told-lines", role: "status" });
    this.element = make("div", { class: "da-told" }, styles("./told.css", import.meta.url), this.lines);
    // The text's height is known only when it is drawn.
    this.observer = new ResizeObserver(() => this.grow());
    this.observer.observe(this.lines);
  }

  get height() {
    return this.lines.textContent ? Math.min(HIGHEST, this.lines.offsetHeight + 22) : 0;
  }

  show(text) {
    this.lines.textContent = text;
    this.grow();
  }

  grow() {
    const { node } = this;
    const [, height] = node.computeSize();
    if (this.height && height > node.size[1]) node.setSize([node.size[0], height]);
    node.graph?.setDirtyCanvas(true, true);
  }
}

app.registerExtension({
  name: "dreamaudio.told",

  nodeCreated(node) {
    if (!NODES.has(node.comfyClass)) return;
    const told = new Told(node);
    const height = () => told.height;
    // Last, as values of widgets are stored by their places.
    const shown = node.addDOMWidget("told", "DREAMAUDIO_TOLD", told.element, {
      serialize: false, hideOnZoom: false, getMinHeight: height, getMaxHeight: height,
    });
    shown.serialize = false;
    const { onExecuted } = node;
    node.onExecuted = function (output) {
      onExecuted?.call(this, output);
      told.show((output?.text ?? []).join("\n"));
    };
    const removed = shown.onRemove;
    shown.onRemove = function () {
      told.observer.disconnect();
      removed?.call(this);
    };
  },
});
