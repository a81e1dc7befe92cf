// Puts the timeline in place of the text box of Arrange References; without it the node takes the
// same JSON as text.

import { app } from "../../../scripts/app.js";
import { TimelineWidget } from "./widget.js";

const TYPE = "DREAMAUDIO_TIMELINE";
const NEW_WIDTH = 620;

app.registerExtension({
  name: "dreamaudio.timeline",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "DreamAudioArrangeReferences") return;
    const timeline = nodeData.input?.required?.timeline;
    // The socket stays a STRING, so that a node may give the JSON; only its widget is another.
    if (timeline) timeline[1] = { ...timeline[1], widgetType: TYPE };
  },

  getCustomWidgets() {
    return {
      [TYPE](node, name) {
        const timeline = new TimelineWidget(node);
        const widget = node.addDOMWidget(name, TYPE, timeline.element, {
          hideOnZoom: false,
          getValue: () => timeline.value,
          setValue: (text) => { timeline.value = text; },
          getMinHeight: () => Math.max(120, Math.ceil(timeline.height)),
        });
        widget.timeline = timeline;
        const removed = widget.onRemove;
        widget.onRemove = function () {
          timeline.remove();
          removed?.call(this);
        };
        return { widget, minWidth: NEW_WIDTH };
      },
    };
  },
});
