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

// Puts the nodes of pieces into one element for each word, with the punctuation that ends it, so that no line begins
// within a word or with a full stop.
export function wordsOf(pieces, nodes) {
  const words = [];
  pieces.forEach(([text, begins], n) => {
    if (!n || (begins && !/^[\p{Pe}\p{Pf}.,;:!?…]+$/u.test(text))) words.push(element("span", "", { class: "whole" }));
    words.at(-1).append(nodes[n]);
  });
  return words;
}

export const number = (value, digits = 2) => (value === null || value === undefined ? "–"
  : value.toFixed(digits).replace("-", "−"));
