// Stored nodes of older releases, brought to the form that this release reads.
//
// Each node in a workflow tells the release that stored it (`properties.ver`, as for other packs) and the form of its inputs
// (`properties.dreamaudio`). Appending an input needs no new form; every other change of a node's inputs does: raise FORMAT and
// add what turns the form before into it to MIGRATIONS.

export const VERSION = "0.1.0"; // that of pyproject.toml
export const FORMAT = 1;
export const PACK = "dreamaudio";

// Form that a migration starts from: { node type: (stored node) => void }, which changes the stored node: `type`, `inputs`
// (their links hold by position), `outputs`, `widgets_values` (by position).
export const MIGRATIONS = {};

/** Whether a stored node is one of ours. */
export const isOurs = (stored) => /^DreamAudio[A-Z]/.test(stored?.type ?? "");

/** The form of a stored node's inputs; what was stored before forms had numbers is the first. */
export function formOf(stored) {
  const found = Number(stored?.properties?.[PACK] ?? 1);
  return Number.isInteger(found) && found > 0 ? found : 1;
}

/** Mark a stored node, or one on the canvas, as of this release. */
export function mark(node, { format = FORMAT, version = VERSION } = {}) {
  node.properties = { ...node.properties, cnr_id: PACK, ver: version, [PACK]: format };
}

/** Bring a stored node to the present form, in place. Returns the release that stored it if that is newer, else "". */
export function migrate(stored, { migrations = MIGRATIONS, format = FORMAT } = {}) {
  if (!isOurs(stored)) return "";
  const form = formOf(stored);
  if (form > format) return String(stored.properties.ver ?? "of a later date");
  for (let step = form; step < format; step++) migrations[step]?.[stored.type]?.(stored);
  if (form < format) mark(stored, { format });
  return "";
}

/** Our stored nodes of a workflow, those inside of subgraphs too. */
export function storedNodes(workflow) {
  const graphs = [workflow, ...(workflow?.definitions?.subgraphs ?? [])];
  return graphs.flatMap((graph) => (Array.isArray(graph?.nodes) ? graph.nodes : [])).filter(isOurs);
}
