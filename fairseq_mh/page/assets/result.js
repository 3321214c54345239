// Shows the result of one sampler for a sentence: its chains side by side, and the translations found.

import { copyOf, element, number } from "./dom.js";
import { Chain } from "./chain.js";
import { Words } from "./words.js";

export class Result {
  // `request`: the request to the server. `actions`: functions of the page. `showError` shows an Error; `translateAgain`
  // replaces this result by that of its request with changes.
  constructor(title, request, actions) {
    Object.assign(this, { title, request, actions, chains: new Map(), records: [] });
    this.node = copyOf("result");
    this.node.querySelector("h2").textContent = title;
    this.node.querySelector(".download").addEventListener("click", () => this.download());
  }

  // Adds an event of the server; returns whether the chains must be drawn again.
  add(event) {
    if (event.kind === "done") {
      this.list(event);
      return false;
    }
    const { length, chain } = event.record ?? event, key = `${length}/${chain}`;
    if (event.record) this.records.push(event.record);
    if (!this.chains.has(key)) {
      this.chains.set(key, new Chain(length, chain, new Set(this.request.held)));
      this.node.querySelector(".chains").append(this.chains.get(key).node);
    }
    this.chains.get(key).add(event);
    return true;
  }

  get last() { return Math.max(0, ...[...this.chains.values()].map((chain) => chain.last)); }

  show(step) {
    for (const chain of this.chains.values()) chain.show(step);
  }

  list({ translations, rows, seconds, symbols, unknown }) {
    this.node.querySelector(".found").hidden = false;
    const several = new Set(translations.map(({ length }) => length)).size > 1;
    this.node.querySelector("ol").replaceChildren(...translations.map((found) => {
      const sweep = this.request.decoding === "mask-predict" ? "" : `, sweep ${found.sweep}`;
      const from = `chain ${found.chain + 1}${several ? `, length ${found.length}` : ""}${sweep}`;
      return new Words(found, this, from).node;
    }));
    const warning = unknown ? `; ${unknown} of ${symbols} pieces of the source are unknown to the model` : "";
    this.node.querySelector(".cost").textContent = `${rows} decoder rows, ${number(seconds)} s${warning}`;
  }

  download() {
    const lines = this.records.map((record) => `${JSON.stringify(record)}\n`);
    const address = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    element("a", "", { href: address, download: "trace.jsonl" }).click();
    URL.revokeObjectURL(address);
  }
}
