import { app } from "../../scripts/app.js";

// Nodes that show a player. ComfyUI adds one only to its own audio nodes, and its upload button needs one to exist.
const PLAYERS = new Set(["DreamAudioLoadReference", "DreamAudioSaveAudio", "DreamAudioPreviewAudio"]);
const SAVES = new Set(["DreamAudioSaveAudio", "DreamAudioSaveVideo"]);

/** Prompt and workflow from the comment in a WAV file's INFO list, or null. */
async function notesOfWav(file) {
  const view = new DataView(await file.arrayBuffer());
  const tag = (at) => String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
  if (view.byteLength < 12 || tag(0) !== "RIFF" || tag(8) !== "WAVE") return null;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    const end = Math.min(at + 8 + size, view.byteLength);
    if (tag(at) === "LIST" && size >= 12 && tag(at + 8) === "INFO" && tag(at + 12) === "ICMT") {
      const text = new Uint8Array(view.buffer, at + 20, Math.min(view.getUint32(at + 16, true), end - at - 20));
      try {
        return JSON.parse(new TextDecoder().decode(text).replace(/\0+$/, ""));
      } catch {
        return null;
      }
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

app.registerExtension({
  name: "dreamaudio",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!PLAYERS.has(nodeData.name)) return;
    const { required } = nodeData.input;
    const { upload } = required;
    delete required.upload;
    required.audioUI = ["AUDIO_UI", {}];
    if (upload) required.upload = upload;
  },

  nodeCreated(node) {
    if (!SAVES.has(node.comfyClass)) return;
    // ComfyUI replaces %date:..% and %Node.widget% in the names of its own save nodes only.
    const prefix = node.widgets?.find((widget) => widget.name === "filename_prefix");
    const replaced = window.comfyAPI?.utils?.applyTextReplacements;
    if (prefix && replaced) prefix.serializeValue = () => replaced(app.graph, prefix.value);
  },

  setup() {
    // ComfyUI opens the workflow of flac, mp3 and ogg files by itself, but not that of wav files.
    const handleFile = app.handleFile;
    app.handleFile = async function (file, ...rest) {
      const notes = file?.name?.toLowerCase().endsWith(".wav") ? await notesOfWav(file) : null;
      const name = file?.name?.replace(/\.wav$/i, "");
      if (notes?.workflow) return app.loadGraphData(notes.workflow, true, true, name);
      if (notes?.prompt) return app.loadApiJson(notes.prompt, name);
      return handleFile.call(this, file, ...rest);
    };
  },
});
