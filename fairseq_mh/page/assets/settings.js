// The settings of the samplers: a fieldset each, and the address's hash, which holds them all.

import { at, copyOf } from "./dom.js";

const NAMES = ["A", "B"];
// Fields that a decoder does not read.
const UNREAD = { "mask-predict": ["preset", "sweeps", "chains", "temperature", "final_temperature", "seed"] };
const NO_PRESET = { gibbs: ["fast", "best"] }; // their energy is a target of Metropolis-Hastings alone
const LISTED = 5; // translations listed, unless the field says otherwise

export class Settings {
  // `numbers`: by the name of a field, the least and the most that the server takes. `presets`: their names.
  constructor({ numbers, presets }) {
    this.fieldsets = NAMES.map((name) => {
      const made = copyOf("settings");
      made.dataset.name = name.toLowerCase();
      made.elements.preset.append(...presets.map((preset) => new Option(preset)));
      for (const field of made.elements) {
        const limits = numbers[field.name];
        if (limits) Object.assign(field, { min: limits.least, max: limits.most });
        field.addEventListener("input", () => this.changed());
      }
      return made;
    });
    this.fieldsets[1].elements.decoding.value = "mask-predict";
    at("samplers").replaceChildren(...this.fieldsets);
    for (const id of ["source", "compare"]) at(id).addEventListener("input", () => this.changed());
    window.addEventListener("hashchange", () => this.read());
    this.read();
  }

  // What each shown sampler asks the server for.
  requests() {
    const shown = at("compare").checked ? this.fieldsets : this.fieldsets.slice(0, 1);
    return shown.map((fieldset) => {
      const request = { nbest: LISTED };
      for (const field of fields(fieldset)) {
        if (field.disabled) continue;
        if (field.validity.badInput) request[field.name] = "?"; // no number: the server says so
        else if (field.value !== "") request[field.name] = field.type === "number" ? Number(field.value) : field.value;
      }
      return request;
    });
  }

  changed() {
    this.show();
    const hash = new URLSearchParams({ source: at("source").value });
    if (at("compare").checked) hash.set("compare", "1");
    for (const field of this.fieldsets.flatMap(fields)) {
      if (field.value !== "") hash.set(hashName(field), field.value);
    }
    history.replaceState(null, "", `#${hash}`);
    at("link").href = `#${hash}`;
  }

  // Set the fields as the address says; a field that it does not name stays as it is.
  read() {
    const hash = new URLSearchParams(location.hash.slice(1));
    if (hash.has("source")) at("source").value = hash.get("source");
    if (location.hash.length > 1) at("compare").checked = hash.has("compare");
    for (const fieldset of this.fieldsets) {
      for (const field of fields(fieldset)) {
        const value = hash.get(hashName(field));
        const known = field.localName === "input" || [...(field.options ?? [])].some((option) => option.value === value);
        if (value !== null && known) field.value = value;
      }
    }
    this.changed();
  }

  show() {
    const both = at("compare").checked;
    this.fieldsets.forEach((fieldset, n) => {
      fieldset.hidden = n > 0 && !both;
      fieldset.querySelector("legend").textContent = both ? `Decoder ${NAMES[n]}` : "Decoder";
      const decoding = fieldset.elements.decoding.value;
      for (const field of fields(fieldset)) field.disabled = (UNREAD[decoding] ?? []).includes(field.name);
      const preset = fieldset.elements.preset;
      for (const option of preset.options) option.disabled = (NO_PRESET[decoding] ?? []).includes(option.value);
      if (preset.selectedOptions[0]?.disabled) preset.value = "default";
    });
  }
}

const hashName = (field) => `${field.closest("fieldset").dataset.name}.${field.name}`;
const fields = (fieldset) => [...fieldset.elements].filter((field) => field.name);
