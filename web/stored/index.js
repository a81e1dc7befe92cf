// Stored workflows open for years: our nodes carry the release that stored them, and older ones are brought up to date.

import { app } from "../../../scripts/app.js";
import { FORMAT, VERSION, formOf, isOurs, mark, migrate, storedNodes } from "./migrate.js";

/** Say in words that a workflow comes from a later release. */
function warn(release) {
  app.extensionManager?.toast?.add({
    severity: "warn",
    summary: "Workflow of a newer DreamAudio",
    detail:
      `It was saved by DreamAudio ${release}, and ${VERSION} is installed. Nodes may lack settings or have wrong ones: ` +
      "update DreamAudio before you run or save it.",
  });
}

app.registerExtension({
  name: "dreamaudio.stored",

  // A whole workflow, before its nodes are made: the type of a node may still change.
  beforeConfigureGraph(workflow) {
    const releases = storedNodes(workflow).map((stored) => migrate(stored)).filter(Boolean);
    if (releases.length) warn(releases[0]);
  },

  // What comes on other ways, such as pasted nodes and blueprints. A node is saved with the marks of this release, but one from a
  // later release keeps its own.
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!isOurs({ type: nodeData.name })) return;
    const configure = nodeType.prototype.configure;
    nodeType.prototype.configure = function (stored, ...rest) {
      migrate(stored);
      const result = configure.call(this, stored, ...rest);
      if (formOf(stored) <= FORMAT) mark(this);
      return result;
    };
  },

  nodeCreated(node) {
    if (isOurs({ type: node.comfyClass })) mark(node);
  },
});
