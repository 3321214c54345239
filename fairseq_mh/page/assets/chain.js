// One chain: its state at a step, what the step did, and the energy of all steps.

import { element, number } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240, HEIGHT = 40, EDGE = 4; // of the curve, in its own units
const MASKED = "▒";

export class Chain {
  // `held`: the positions that no move draws again.
  constructor(length, chain, held) {
    this.frames = [];
    this.held = held;
    this.node = element("article", "", { class: "chain" });
    this.title = element("h3", `Chain ${chain + 1}, length ${length}`);
    this.state = element("p", "", { class: "state", role: "group", "aria-label": "State at this step" });
    this.counts = element("p", "", { class: "counts" });
    this.curve = document.createElementNS(SVG, "svg");
    const shape = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "xMinYMid", role: "img", "aria-label": "Energy by step" };
    for (const [name, value] of Object.entries(shape)) this.curve.setAttribute(name, value);
    this.node.append(this.title, this.state, this.counts, this.curve);
  }

  // Take in a sweep. Mask-predict's passes come after their end, and belong before it.
  add(event) {
    if (event.kind === "pass") this.frames.splice(-1, 0, event);
    else this.frames.push(event);
  }

  get last() { return this.frames.length - 1; }

  show(step) {
    const here = Math.min(step, this.last);
    const frame = this.frames[here], before = this.frames[Math.max(0, here - 1)];
    this.state.replaceChildren(...frame.pieces.map((_, n) => piece(frame, before, n, this.held.has(n))));
    this.counts.textContent = counts(frame);
    this.drawCurve(here);
  }

  drawCurve(here) {
    const energies = this.frames.map(({ record }) => record?.energy ?? null);
    const known = energies.filter((energy) => energy !== null);
    this.curve.toggleAttribute("hidden", known.length < 2);
    if (known.length < 2) return;
    const [least, most] = [Math.min(...known), Math.max(...known)];
    const x = (step) => EDGE + (step * (WIDTH - 2 * EDGE)) / Math.max(1, this.last);
    const y = (energy) => HEIGHT - EDGE - ((energy - least) * (HEIGHT - 2 * EDGE)) / (most - least || 1);
    const line = document.createElementNS(SVG, "polyline");
    const places = energies.map((energy, step) => (energy === null ? "" : `${x(step)},${y(energy)}`));
    line.setAttribute("points", places.join(" ").trim());
    this.curve.replaceChildren(line);
    if (energies[here] === null) return;
    const point = document.createElementNS(SVG, "circle");
    for (const [name, value] of [["cx", x(here)], ["cy", y(energies[here])], ["r", 3]]) point.setAttribute(name, value);
    this.curve.append(point);
  }
}

const textOf = (frame, n) => (frame.masked?.[n] ? MASKED : frame.pieces[n][0]);

function piece(frame, before, n, held) {
  const [, begins] = frame.pieces[n], text = textOf(frame, n), old = textOf(before, n);
  const made = element("span", "", { class: `piece${begins ? " begins" : ""}${held ? " held" : ""}` });
  if (text === old) made.append(element("span", text));
  else made.append(element("del", old), element("ins", text));
  return made;
}

function counts({ kind, record, masked }) {
  if (kind === "pass") return masked.some(Boolean) ? `${masked.filter(Boolean).length} masked` : "filled";
  const { energy, sweep, proposals, accepted, novel, temperature } = record;
  const moved = sweep ? ` · accepted ${accepted} of ${proposals}, ${novel} of them new` : "";
  const place = sweep ? `sweep ${sweep} · ` : "";
  const heat = sweep ? ` · temperature ${number(temperature, 2)}` : "";
  return `${place}energy ${number(energy)} nats${moved}${heat}`;
}
