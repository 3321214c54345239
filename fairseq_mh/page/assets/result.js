// What one sampler made of a sentence: its chains side by side, and the translations found.

import { copyOf, element, number } from "./dom.js";
import { Chain } from "./chain.js";
import { Words } from "./words.js";

export class Result {
  // `request`: what the server was asked for. `told` is called with what the page is to do: `failed`, with an Error to
  // show; `again`, with this result and what to ask for besides.
  constructor(title, request, told) {
    Object.assign(this, { title, request, told, chains: new Map(), records: [] });
    this.node = copyOf("result");
    this.node.querySelector("h2").textContent = title;
    this.node.querySelector(".download").addEventListener("click", () => this.download());
  }

  // Take in an event of the server; return whether there is something new to look at.
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
      const from = `chain ${found.chain + 1}${several ? `, length ${found.length}` : ""}, sweep ${found.sweep}`;
      return new Words(found, this, from).node;
    }));
    const strange = unknown ? `; ${unknown} of ${symbols} pieces of the source are unknown to the model` : "";
    this.node.querySelector(".cost").textContent = `${rows} decoder rows, ${number(seconds)} s${strange}`;
  }

  download() {
    const lines = this.records.map((record) => `${JSON.stringify(record)}\n`);
    const address = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    element("a", "", { href: address, download: "trace.jsonl" }).click();
    URL.revokeObjectURL(address);
  }
}
