// A timeline whose length is that of a video shows it, and its blocks snap to the video's frames: Video Length tells both after a run.

import { app } from "../../../scripts/app.js";
import { make } from "../dom.js";
import { source, widget } from "./graph.js";

/** Set a timeline's grid to frames of a rate, which its menu gets if it has it not. */
function snapTo(timeline, fps) {
  const menu = timeline.snapSelect;
  const name = `${Math.round(fps * 1000) / 1000} fps`;
  if (![...menu.options].some((option) => option.value === name)) menu.append(make("option", { value: name }, name));
  if (menu.value === name) return;
  menu.value = name;
  menu.dispatchEvent(new Event("change"));
}

app.registerExtension({
  name: "dreamaudio.video",

  setup() {
    app.api.addEventListener("executed", ({ detail }) => {
      const [fps, seconds] = [detail.output?.fps?.[0], detail.output?.seconds?.[0]].map(Number);
      if (!(fps > 0 && seconds > 0)) return;
      for (const node of app.graph.nodes) {
        const timeline = widget(node, "timeline")?.timeline;
        if (!timeline || String(source(node, "seconds")?.id) !== String(detail.node)) continue;
        widget(node, "seconds").value = seconds; // what is shown where the input is connected
        snapTo(timeline, fps);
      }
    });
  },
});
