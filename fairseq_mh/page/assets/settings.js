// The settings of the samplers: a fieldset for each, and the hash of the address, which holds all settings.

import { at, copyOf } from "./dom.js";

const NAMES = ["A", "B"];
// Fields that a decoder does not use.
const UNUSED = { "mask-predict": ["preset", "sweeps", "chains", "temperature", "final_temperature", "seed"] };
const NO_PRESET = { gibbs: ["rerank", "fast", "best"] }; // only Metropolis-Hastings can sample their energy
const LISTED = 5; // number of translations to list if the field is empty
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

export class Settings {
  // `numbers`: field name -> the least and the largest value that the server accepts. `presets`: name of a preset ->
  // its values of these fields.
  constructor({ numbers, presets }) {
    this.presets = presets;
    this.fieldsets = NAMES.map((name) => {
      const made = copyOf("settings");
      made.dataset.name = name.toLowerCase();
      made.elements.preset.append(...Object.keys(presets).map((preset) => new Option(preset)));
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

  // Returns the request of each shown sampler.
  requests() {
    const shown = at("compare").checked ? this.fieldsets : this.fieldsets.slice(0, 1);
    return shown.map((fieldset) => {
      const request = { nbest: LISTED };
      for (const field of fields(fieldset)) {
        if (field.disabled) continue;
        if (field.validity.badInput) request[field.name] = "?"; // not a number: the server refuses it with a message
        else if (field.name === "phrases") request.phrases = lines(field.value);
        else if (field.value !== "") request[field.name] = field.type === "number" ? Number(field.value) : field.value;
      }
      return request;
    });
  }

  // Returns the number of sweeps that a request asks for.
  sweeps({ sweeps, preset = "default" }) { return sweeps ?? this.presets[preset].sweeps; }

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

  // Sets the fields as the address says; those that it does not name are emptied, unless it is empty itself.
  read() {
    const hash = new URLSearchParams(location.hash.slice(1));
    if (hash.has("source")) at("source").value = hash.get("source");
    if (location.hash.length > 1) at("compare").checked = hash.has("compare");
    for (const fieldset of this.fieldsets) {
      for (const field of fields(fieldset)) {
        const value = hash.get(hashName(field));
        const known = !field.options || [...field.options].some((option) => option.value === value);
        if (known && (value !== null || location.hash.length > 1)) field.value = value ?? "";
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
      for (const field of fields(fieldset)) field.disabled = (UNUSED[decoding] ?? []).includes(field.name);
      const preset = fieldset.elements.preset;
      for (const option of preset.options) option.disabled = (NO_PRESET[decoding] ?? []).includes(option.value);
      if (preset.selectedOptions[0]?.disabled) preset.value = "default";
      const values = { ...this.presets[preset.value], nbest: LISTED };
      for (const field of fields(fieldset)) {
        if (field.type === "number") field.placeholder = field.disabled ? "" : values[field.name];
      }
    });
  }
}

const hashName = (field) => `${field.closest("fieldset").dataset.name}.${field.name}`;
const fields = (fieldset) => [...fieldset.elements].filter((field) => field.name);
