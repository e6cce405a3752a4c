// Small helpers for elements of the page.

export const $ = (id) => document.getElementById(id);

/** Make an element: properties by name, attributes with "-" or in ATTRIBUTES, listeners as on*. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || ["role", "for", "list"].includes(name)) element.setAttribute(name, value);
    else if (name === "class") element.className = value;
    else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Say something to people who listen to the page. */
export function announce(text) {
  if ($("announce").textContent !== text) $("announce").textContent = text;
}

/** Set text only where it differs, so that selections and screen readers are left alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
