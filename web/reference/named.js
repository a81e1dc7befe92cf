// Whether the prompt of the scene that a reference is connected to names its caption.

import { modelName, references, textOf } from "../timeline/graph.js";

const UNNAMED = /does not name it|names no reference/;
const SCENES = new Set(["DreamAudioEncodeCaption", "DreamAudioScene"]);

/** Nodes of a scene that use a node's first output, through reroutes. */
function scenes(node, depth = 0) {
  if (depth > 20) return [];
  return (node.getOutputNodes?.(0) ?? []).flatMap((to) => (SCENES.has(to.type) ? [to] : to.type === "Reroute" ? scenes(to, depth + 1) : []));
}

/** What to ask the server for a node, or null where that is not known before a run. */
export function question(node) {
  for (const scene of scenes(node)) {
    const prompt = textOf(scene, "prompt");
    const model_name = modelName(scene) ?? (scene.type === "DreamAudioScene" ? "mini" : null);
    const known = references(scene).filter((reference) => reference.known);
    const at = known.findIndex(({ entry }) => entry.node === node.id);
    if (!prompt?.trim() || !model_name || at < 0 || !known[at].entry.caption.trim()) continue;
    // A start that is set needs no name.
    if (known[at].entry.start.trim() !== "auto" || known[at].entry.strength === 0) continue;
    return { at, body: { prompt, model_name, seconds: 10.24, missing: "silence", references: known.map(({ entry }) => ({ ...entry, start: "auto" })) } };
  }
  return null;
}

/** Whether the server's answer says that the prompt does not name the reference. */
export function isUnnamed(answer, at) {
  return UNNAMED.test(answer.arrangement.references[at].reason);
}
