import { app } from "../../scripts/app.js";

// Of our sockets and wires, for the classic canvas and for Nodes 2.0; apart from those of ComfyUI's own types.
const COLORS = {
  DREAMAUDIO_MODEL: "#b39ddb",
  DREAMAUDIO_REFERENCES: "#8bc34a",
  DREAMAUDIO_CONDITIONING: "#ffa931",
  DREAMAUDIO_ARRANGEMENT: "#4dd0e1",
  DREAMAUDIO_MEL: "#f06292",
};

/** Sets colours that stay: a palette clears those of types that it does not know, but may have its own. */
function keep(target) {
  if (!target) return;
  for (const type of Object.keys(COLORS)) {
    let color = COLORS[type];
    Object.defineProperty(target, type, {
      get: () => color,
      set: (value) => (color = value || COLORS[type]),
      enumerable: true,
      configurable: true,
    });
  }
}

app.registerExtension({
  name: "dreamaudio.colors",

  setup() {
    keep(app.canvas?.default_connection_color_byType);
    keep(app.canvas?.constructor?.link_type_colors);
    for (const [type, color] of Object.entries(COLORS)) {
      document.documentElement.style.setProperty(`--color-datatype-${type}`, color);
    }
  },
});
