import { app } from "../../scripts/app.js";

// Of our sockets and wires, for the classic canvas and for Nodes 2.0; apart from those of ComfyUI's own types.
const COLORS = {
  DREAMAUDIO_MODEL: "#b39ddb",
  DREAMAUDIO_REFERENCES: "#8bc34a",
  DREAMAUDIO_CONDITIONING: "#ffa931",
  DREAMAUDIO_ARRANGEMENT: "#4dd0e1",
  DREAMAUDIO_MEL: "#f06292",
};

app.registerExtension({
  name: "DreamAudio.Colors",

  setup() {
    const { canvas } = app;
    if (canvas?.default_connection_color_byType) Object.assign(canvas.default_connection_color_byType, COLORS);
    const links = canvas?.constructor?.link_type_colors;
    if (links) Object.assign(links, COLORS);
    for (const [type, color] of Object.entries(COLORS)) {
      document.documentElement.style.setProperty(`--color-datatype-${type}`, color);
    }
  },
});
