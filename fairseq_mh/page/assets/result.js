// Shows the result of one sampler for a sentence: the translations found, and its chains side by side.

import { copyOf, element, number } from "./dom.js";
import { Chain } from "./chain.js";
import { Words } from "./words.js";

// Returns the text of pieces, each of which is its text and whether it begins a word.
const textOf = (pieces) => pieces.map(([text, begins]) => (begins ? ` ${text}` : text)).join("").trim();

export class Result {
  // `request`: the request to the server. `sweeps`: the number of sweeps of each chain. `actions`: functions of the
  // page. `showError` shows an Error; `translateAgain` replaces this result by that of its request with changes.
  constructor(title, request, sweeps, actions) {
    Object.assign(this, { title, request, sweeps, actions, chains: new Map(), records: [], lowest: Infinity, done: null });
    this.found = copyOf("found");
    this.found.querySelector("h2").textContent = title;
    this.found.querySelector(".download").addEventListener("click", () => this.download());
    this.node = copyOf("result");
    this.node.querySelector("h3").textContent = title;
  }

  // Adds an event of the server; returns whether the chains must be drawn again.
  add(event) {
    if (event.kind === "done") {
      this.done = event;
      this.list(event);
      return false;
    }
    const { length, chain } = event.record ?? event, key = `${length}/${chain}`;
    if (event.record) this.records.push(event.record);
    if (!this.chains.has(key)) {
      this.chains.set(key, new Chain(length, chain, new Set(this.request.held), this.sweeps));
      this.node.querySelector(".chains").append(this.chains.get(key).node);
    }
    this.chains.get(key).add(event);
    this.showInterim(event);
    return true;
  }

  // Shows the state of the lowest energy per token so far, until the translations are listed.
  showInterim({ record, pieces }) {
    const energy = record?.energy / record?.length;
    if (!(energy < this.lowest)) return;
    this.lowest = energy;
    this.found.querySelector(".interim").textContent = `So far: ${textOf(pieces)}`;
  }

  fail() { this.found.querySelector(".interim").textContent = "Not translated."; }

  get last() { return Math.max(0, ...[...this.chains.values()].map((chain) => chain.last)); }

  // The names of the energy's terms.
  get terms() { return Object.keys(this.records[0] ?? {}).filter((name) => name.startsWith("energy_")).join(); }

  show(step) {
    for (const chain of this.chains.values()) chain.show(step);
  }

  list({ translations, rows, seconds, symbols, unknown }) {
    this.found.querySelector(".interim").hidden = true;
    this.found.querySelector(".listed").hidden = false;
    const several = new Set(translations.map(({ length }) => length)).size > 1;
    this.found.querySelector("ol").replaceChildren(...translations.map((found) => {
      const sweep = this.request.decoding === "mask-predict" ? "" : `, sweep ${found.sweep}`;
      const from = `chain ${found.chain + 1}${several ? `, length ${found.length}` : ""}${sweep}`;
      return new Words(found, this, from).node;
    }));
    const warning = unknown ? `; ${unknown} of ${symbols} pieces of the source are unknown to the model` : "";
    this.found.querySelector(".cost").textContent = `${rows} decoder rows, ${number(seconds)} s${warning}`;
  }

  download() {
    const lines = this.records.map((record) => `${JSON.stringify(record)}\n`);
    const address = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    element("a", "", { href: address, download: "trace.jsonl" }).click();
    URL.revokeObjectURL(address);
  }
}

// Returns one line that compares the best translations of two results.
export function comparison(one, other) {
  const [best, second] = [one, other].map(({ done }) => done.translations[0]);
  if (!best || !second) return "";
  const tokens = best.length === second.length ? "" : ` (${best.length} and ${second.length} tokens)`;
  const same = one.terms === other.terms;
  const energies = same ? `energy ${number(best.energy)} against ${number(second.energy)} nats${tokens}, ` : "";
  const note = same ? "" : " Their energies are of different kinds, which cannot be compared.";
  return `${one.title} against ${other.title}: ${energies}${one.done.rows} against ${other.done.rows} decoder rows.${note}`;
}
