// Shows a translation whose unlikely pieces are shaded, and the alternatives to a piece.

import { alternatives } from "./stream.js";
import { element, number, wordsOf } from "./dom.js";

const DARKEST = 4; // a piece whose log-probability is this many nats below 0, or lower, has the darkest shade
const SHADES = [[255, 255, 255], [240, 160, 80]]; // dark text is readable on both shades

export class Words {
  // `found`: the translation as the server sends it. `result`: the Result that lists it. `from`: its chain and sweep.
  constructor(found, result, from) {
    Object.assign(this, { found, result, from, first: found.energy, held: new Set(result.request.held) });
    this.node = element("li");
    this.words = element("div", "", { class: "words", role: "group", "aria-label": "Translation" });
    this.numbers = element("p", "", { class: "note numbers" });
    this.choices = element("div", "", { class: "choices" });
    this.rest = element("button", "Sample the rest", { type: "button" });
    this.rest.addEventListener("click", () => this.sampleTheRest());
    this.node.append(this.words, this.numbers, this.rest, this.choices);
    this.words.addEventListener("keydown", (event) => this.moveFocus(event));
    for (const kind of ["pointerover", "focusin"]) this.words.addEventListener(kind, ({ target }) => this.alignTooltip(target));
    this.draw(0);
  }

  // Keeps the tooltip of a piece inside the page.
  alignTooltip(piece) {
    piece.classList.toggle("late", piece.offsetLeft > (this.words.offsetLeft + this.words.clientWidth) / 2);
  }

  draw(focused) {
    const { pieces, log_probs: logs, energy, text } = this.found;
    this.words.setAttribute("aria-label", `Translation: ${text}`);
    this.words.replaceChildren(...wordsOf(pieces, pieces.map(([piece, begins], n) => {
      const made = element("button", piece, { type: "button" });
      made.className = `word${begins ? " begins" : ""}${this.held.has(n) ? " held" : ""}`;
      const chance = logs[n] === null ? "" : `${number(logs[n])} nats, ${percent(logs[n])}`;
      made.dataset.tip = chance;
      made.setAttribute("aria-label", `${piece}, log-probability ${chance}${this.held.has(n) ? ", held" : ""}`);
      made.tabIndex = n === focused ? 0 : -1;
      made.style.backgroundColor = shade(logs[n]);
      made.addEventListener("click", () => this.requestAlternatives(n));
      return made;
    })));
    this.rest.hidden = !this.held.size || this.sampled();
    const token = energy === null ? null : energy / pieces.length;
    const change = energy - this.first;
    const since = this.first === energy ? this.from : `changed by you: ${change > 0 ? "+" : ""}${number(change)} nats`;
    this.numbers.textContent = `energy ${number(energy)} nats, ${number(token, 3)} a token · ${since}`;
  }

  get buttons() { return [...this.words.querySelectorAll(".word")]; }

  // Returns whether this line comes from the pieces that it holds, so that sampling the rest would give it again.
  sampled() {
    const { tokens = [], held = [] } = this.result.request;
    return held.length === this.held.size && held.every((n) => this.held.has(n) && tokens[n] === this.found.tokens[n]);
  }

  // Moves the focus from piece to piece with the arrow keys.
  moveFocus(event) {
    const pieces = this.buttons, now = pieces.indexOf(document.activeElement);
    const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: pieces.length - 1 }[event.key];
    if (next === undefined || !pieces[next]) return;
    event.preventDefault();
    pieces[now].tabIndex = -1;
    pieces[next].tabIndex = 0;
    pieces[next].focus();
  }

  async requestAlternatives(position) {
    const { source, decoding, preset } = this.result.request;
    try {
      const listed = await alternatives({ source, decoding, preset, tokens: this.found.tokens, position });
      this.offer(position, listed);
    } catch (error) {
      this.result.actions.showError(error);
    }
  }

  offer(position, listed) {
    const [piece] = this.found.pieces[position], table = element("table");
    table.append(element("caption", `Alternatives to “${piece}”`), head());
    const body = table.createTBody();
    for (const one of listed) {
      const line = body.insertRow(), now = one.token === this.found.tokens[position];
      const choose = element("button", one.piece[0], { type: "button" });
      choose.disabled = now;
      choose.addEventListener("click", () => this.choose(position, one));
      const name = element("th", "", { scope: "row" });
      name.append(choose, now ? " (current)" : "");
      const change = one.energy - this.found.energy;
      line.append(name, cell(percent(one.log_prob)), cell(number(one.energy)), cell(`${change > 0 ? "+" : ""}${number(change)}`));
    }
    const holds = this.held.has(position);
    const hold = element("button", `${holds ? "Release" : "Hold"} “${piece}”`, { type: "button" });
    hold.addEventListener("click", () => this.hold(position, !holds));
    const close = element("button", "Close", { type: "button" });
    close.addEventListener("click", () => this.close(position));
    const buttons = element("p", "", { class: "row" });
    buttons.append(hold, close);
    this.choices.replaceChildren(table, buttons);
    this.choices.onkeydown = (event) => {
      if (event.key === "Escape") this.close(position);
    };
    hold.focus();
  }

  choose(position, { tokens, pieces, log_probs, energy, text }) {
    Object.assign(this.found, { tokens, pieces, log_probs, energy, text });
    this.hold(position, true);
  }

  // Holds or releases a piece. A held piece does not change while the others are sampled again.
  hold(position, holds) {
    if (holds) this.held.add(position);
    else this.held.delete(position);
    this.draw(position);
    this.close(position);
  }

  sampleTheRest() {
    this.result.actions.translateAgain(this.result, { tokens: this.found.tokens, held: [...this.held], template: "", phrases: [] });
  }

  close(position) {
    this.choices.replaceChildren();
    this.buttons[position].focus();
  }
}

function head() {
  const made = element("thead"), line = element("tr");
  for (const name of ["piece", "probability", "new energy", "change"]) line.append(element("th", name, { scope: "col" }));
  made.append(line);
  return made;
}

const cell = (text) => element("td", text);

const percent = (log) => {
  if (log === null) return "–";
  const share = 100 * Math.exp(log);
  return share >= 0.1 ? `${share.toFixed(1)} %` : `${share.toPrecision(1)} %`;
};

const shade = (log) => {
  const part = log === null ? 0 : Math.min(1, -log / DARKEST);
  return `rgb(${SHADES[0].map((light, n) => Math.round(light + part * (SHADES[1][n] - light)))})`;
};
