// Puts the waveform and the hints on Load Reference.

import { app } from "../../../scripts/app.js";
import { ReferenceWidget } from "./widget.js";

// Set by the handles of the waveform; their numbers would only take space.
const BY_HANDLES = new Set(["begin", "end"]);

app.registerExtension({
  name: "dreamaudio.reference",

  nodeCreated(node) {
    if (node.comfyClass !== "DreamAudioLoadReference") return;
    const reference = new ReferenceWidget(node);
    for (const found of node.widgets) {
      if (!BY_HANDLES.has(found.name)) continue;
      found.hidden = true;
      found.options = { ...found.options, hidden: true };
    }
    // Last, as values of widgets are stored by their places.
    const shown = node.addDOMWidget("waveform", "DREAMAUDIO_WAVEFORM", reference.element, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: () => reference.height,
      getMaxHeight: () => reference.height,
    });
    shown.serialize = false;
    shown.reference = reference;
    const { onConfigure } = node;
    node.onConfigure = function (...given) {
      reference.configured = true;
      // Its caption is about this file, however soon another is dropped.
      reference.keeper.accept();
      return onConfigure?.apply(this, given);
    };
    const removed = shown.onRemove;
    shown.onRemove = function () {
      reference.remove();
      removed?.call(this);
    };
  },
});
