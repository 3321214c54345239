// Shows one chain: its state at a step and the changes of this step, the energy by step, and the positions that changed.

import { element, number, wordsOf } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const CURVE = [4, 46], MAP = [54, 100]; // top and bottom, in units of the plot, which is one unit wide for each step
const MASKED = "▒";

export class Chain {
  // `held`: the set of positions that no move changes. `sweeps`: the number of sweeps of the chain.
  constructor(length, chain, held, sweeps) {
    Object.assign(this, { frames: [], held, sweeps, changes: "" });
    this.node = element("article", "", { class: "chain" });
    this.title = element("h3", `Chain ${chain + 1}, length ${length}`);
    this.state = element("p", "", { class: "state", role: "group", "aria-label": "State at this step" });
    this.counts = element("p", "", { class: "counts" });
    this.ends = element("p", "", { class: "ends" });
    this.plot = svgElement("svg", { preserveAspectRatio: "none", role: "img", "aria-label": "Energy by step, and the positions changed" });
    this.curve = svgElement("polyline");
    this.map = svgElement("path");
    this.cursor = svgElement("line", { y1: 0, y2: MAP[1] });
    this.plot.append(this.map, this.curve, this.cursor);
    this.node.append(this.title, this.state, this.counts, this.ends, this.plot);
  }

  // Adds a step: its `pieces`, which of them are `masked`, and the `record` of the trace if there is one.
  add(frame) {
    const step = this.frames.push(frame) - 1, before = this.frames[step - 1];
    const row = (MAP[1] - MAP[0]) / frame.pieces.length;
    frame.pieces.forEach((_, n) => {
      if (before && textAt(frame, n) !== textAt(before, n)) {
        this.changes += `M${step + 0.1} ${MAP[0] + n * row}h.8v${0.8 * row}h-.8z`;
      }
    });
  }

  get last() { return this.frames.length - 1; }

  show(step) {
    const here = Math.min(step, this.last);
    const frame = this.frames[here], before = this.frames[Math.max(0, here - 1)];
    const pieces = frame.pieces.map((_, n) => piece(frame, before, n, this.held.has(n)));
    this.state.replaceChildren(...wordsOf(frame.pieces, pieces));
    this.counts.textContent = counts(frame, this.sweeps);
    this.draw(here);
  }

  draw(here) {
    this.plot.toggleAttribute("hidden", this.last === 0);
    const energies = this.frames.map(({ record }) => record?.energy ?? null);
    const known = energies.filter((energy) => energy !== null);
    const ends = known.length > 1 ? [`energy ${number(known[0])}`, `${number(known.at(-1))} nats`] : [];
    this.ends.replaceChildren(...ends.map((text) => element("span", text)));
    const least = Math.min(...known), most = Math.max(...known);
    const y = (energy) => CURVE[1] - ((energy - least) * (CURVE[1] - CURVE[0])) / (most - least || 1);
    const points = energies.flatMap((energy, step) => (energy === null ? [] : `${step + 0.5},${y(energy)}`));
    set(this.plot, { viewBox: `0 0 ${this.frames.length} ${MAP[1]}` });
    set(this.curve, { points: points.join(" ") });
    set(this.map, { d: this.changes });
    set(this.cursor, { x1: here + 0.5, x2: here + 0.5 });
  }
}

const set = (node, attributes) => Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));

function svgElement(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  set(made, attributes);
  return made;
}

const textAt = (frame, n) => (frame.masked?.[n] ? MASKED : frame.pieces[n][0]);

function piece(frame, before, n, held) {
  const [, begins] = frame.pieces[n], text = textAt(frame, n), old = textAt(before, n);
  const made = element("span", "", { class: `piece${begins ? " begins" : ""}${held ? " held" : ""}` });
  if (text === old) made.append(element("span", text));
  else made.append(element("del", old), element("ins", text));
  return made;
}

function counts({ record, masked }, sweeps) {
  if (!record) return masked.some(Boolean) ? `${masked.filter(Boolean).length} masked` : "filled";
  const { energy, sweep, proposals, accepted, novel, temperature } = record;
  const moved = sweep ? ` · ${proposals} proposal${proposals === 1 ? "" : "s"}, ${accepted} accepted, ${novel || "none"} changed the sentence` : "";
  const position = sweep ? `sweep ${sweep} of ${sweeps} · ` : "";
  const heat = sweep ? ` · temperature ${number(temperature, 2)}` : "";
  return `${position}energy ${number(energy)} nats${moved}${heat}`;
}
