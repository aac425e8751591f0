// What the components share. Texts go in as text nodes only: nothing that a model or a tool said is ever parsed as HTML.

function el(name, options = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(node.style, value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

function icon(name) { return el("span", { class: `lg-icon lg-${name}`, "aria-hidden": "true" }); }

// The one view of a component: made at its first call, told of every later one.
function viewOf(component, make) {
  const root = component.parentElement;
  root.ledgentView ??= make(root);
  root.ledgentView.update(component);
}
