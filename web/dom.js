// Elements of our widgets.

/** An element with attributes; those that begin with `on` are listeners. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, given] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), given);
    else if (given !== undefined) element.setAttribute(key, given);
  }
  element.append(...children);
  return element;
}

/** Styles within our own element, so that nothing of ours lies in the page's head. */
export function styles(name, module) {
  return make("link", { rel: "stylesheet", href: new URL(name, module).href });
}
