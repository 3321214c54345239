// Makes elements. Text is never parsed as markup.

export const at = (id) => document.getElementById(id);

// Makes an element with a text and attributes.
export const element = (name, text = "", attributes = {}) => {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

export const copyOf = (template) => at(template).content.firstElementChild.cloneNode(true);

export const number = (value, digits = 2) => (value === null || value === undefined ? "–"
  : value.toFixed(digits).replace("-", "−"));
