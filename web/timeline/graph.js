// What the canvas says about a node Arrange References: its references, prompt, model and results.

const OFF = new Set([2, 4]); // muted, bypassed

export const widget = (node, name) => node?.widgets?.find((entry) => entry.name === name);
export const value = (node, name) => widget(node, name)?.value;

/** The node behind an input, through reroutes. */
export function source(node, name) {
  let found = node;
  let slot = node?.inputs?.findIndex((input) => input.name === name) ?? -1;
  for (let hops = 0; hops < 20 && slot >= 0; hops++) {
    found = found?.getInputNode?.(slot);
    if (found?.type !== "Reroute") return found ?? null;
    slot = 0;
  }
  return null;
}

/** A text that is typed into a node or into the one that is connected to it; null if neither. */
export function textOf(node, name) {
  const input = node?.inputs?.find((entry) => entry.name === name);
  if (input?.link == null) return value(node, name) ?? null;
  const from = source(node, name);
  return value(from, "value") ?? value(from, "text") ?? value(from, "string") ?? null;
}

/** Address of a sound of ComfyUI's folders by its name, such as "crow.flac" or "x/y.wav [output]". */
export function soundUrl(api, name) {
  const marked = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(name);
  const parts = marked[1].split("/");
  const query = new URLSearchParams({ filename: parts.pop(), subfolder: parts.join("/"), type: marked[2] ?? "input" });
  return api.apiURL(`/view?${query}`);
}

/** Name of the model that a node uses, or null. */
export function modelName(node) {
  let model = source(node, "model");
  for (let hops = 0; hops < 8 && model && model.type !== "DreamAudioLoadModel"; hops++) model = source(model, "model");
  return model ? textOf(model, "model_name") : null;
}

/** References that are connected to a node: [{entry, known}], known if they are files. */
export function references(node) {
  const found = [];
  const number = (input) => Number(/^references\.reference(\d+)$/.exec(input.name)?.[1] ?? NaN);
  const inputs = (node?.inputs ?? []).filter((input) => input.link != null && number(input) >= 0);
  for (const input of inputs.sort((a, b) => number(a) - number(b))) {
    const from = source(node, input.name);
    if (!from) {
      // It comes from outside of a subgraph.
      found.push({ entry: { node: null, name: input.label ?? input.name, caption: "" }, known: false });
      continue;
    }
    if (OFF.has(from.mode)) continue;
    const known = from.type === "DreamAudioLoadReference";
    const entry = { node: from.id, name: from.title ?? from.type, caption: textOf(from, "caption") ?? "" };
    if (known) {
      Object.assign(entry, {
        audio: textOf(from, "audio"),
        strength: value(from, "strength") ?? 1,
        start: String(value(from, "start") ?? "auto"),
        gain: Number(value(from, "gain") ?? 0),
        pan: Number(value(from, "pan") ?? 0),
        fade_in: Number(value(from, "fade_in") ?? 0),
        fade_out: Number(value(from, "fade_out") ?? 0),
        trim: value(from, "trim") ?? "",
        begin: Number(value(from, "begin") ?? 0),
        end: Number(value(from, "end") ?? 0),
      });
      entry.name = (entry.audio ?? "").replace(/^dreamaudio_/, "").replace(/\.[^.]*$/, "") || entry.name;
    }
    found.push({ entry, known });
  }
  return found;
}

/** Everything that a reading of the prompt needs; `problem` says what is missing. */
export function scene(node) {
  const captions = source(node, "conditioning");
  const found = {
    prompt: captions ? textOf(captions, "prompt") : null,
    model_name: modelName(node),
    seconds: Number(value(node, "seconds") ?? 10.24),
    missing: value(node, "missing") ?? "auto",
    references: [],
    problem: "",
  };
  if (!captions) found.problem = "Connect DreamAudio Encode Caption to read its prompt.";
  for (const { entry, known } of references(captions)) {
    if (!known) found.problem = `${entry.name} is known only after a run: run the graph once.`;
    found.references.push(entry);
  }
  if (found.prompt === null && !found.problem) found.problem = "The prompt comes from another node: run the graph once.";
  if (found.model_name === null && !found.problem) found.problem = "Connect DreamAudio Load Model.";
  return found;
}

/** Whether a node's result depends on another node. */
export function dependsOn(node, other, depth = 0) {
  if (!node || depth > 30) return false;
  if (node === other) return true;
  return (node.inputs ?? []).some((input, slot) => input.link != null && dependsOn(node.getInputNode?.(slot), other, depth + 1));
}
