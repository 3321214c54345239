// Moves all chains of the page to the same step: by playing, step by step, or by dragging.

import { at, element } from "./dom.js";

const SECONDS = 0.6; // a step, when playing
const NOTE = "A step is a sweep, in which a chain redraws as many positions as it has; of mask-predict it is a filling "
  + "or a masking. Marked pieces differ from the step before, which stands above them. The line is the energy; below it, "
  + "a row is a position, from the first one down, marked where a step changed it.";

export class Player {
  // Fill the element `player`. `show` is called with the step to show. Until somebody moves, the last step is shown as it comes.
  constructor(show) {
    Object.assign(this, { show, follows: true, place: 0, timer: null });
    const row = element("div", "", { class: "row slide" });
    row.append(
      element("button", "Play", { id: "play", type: "button" }),
      element("button", "‹", { id: "back", type: "button", "aria-label": "One step back" }),
      element("button", "›", { id: "next", type: "button", "aria-label": "One step on" }),
      element("label", "Step", { for: "step" }),
      element("input", "", { id: "step", type: "range", min: 0, max: 0, step: 1, value: 0 }),
      element("output", "", { id: "step-number", for: "step" }),
    );
    at("player").append(row, element("p", NOTE, { class: "note" }));
    at("step").addEventListener("input", () => this.move(Number(at("step").value)));
    at("back").addEventListener("click", () => this.move(this.step - 1));
    at("next").addEventListener("click", () => this.move(this.step + 1));
    at("play").addEventListener("click", () => (this.timer ? this.pause() : this.play()));
  }

  get step() { return Number(at("step").value); }

  get last() { return Number(at("step").max); }

  // Begin anew with so many steps, keeping the place where somebody has moved to.
  reset(last) {
    this.pause();
    this.extend(last);
    at("player").hidden = false;
  }

  // Say that there are so many steps now.
  extend(last) {
    at("step").max = last;
    at("step").disabled = last === 0;
    at("step").value = this.follows ? last : Math.min(this.place, last);
    this.draw();
  }

  // Go to a step, because somebody asked for it.
  move(step) {
    this.pause();
    this.go(step);
  }

  go(step) {
    this.place = Math.max(0, Math.min(step, this.last));
    this.follows = this.place === this.last;
    at("step").value = this.place;
    this.draw();
  }

  draw() {
    const text = this.step === 0 ? "start" : `${this.step} of ${this.last}`;
    at("step-number").value = text;
    at("step").setAttribute("aria-valuetext", text);
    this.show(this.step);
  }

  play() {
    if (this.step === this.last) this.go(0);
    at("play").textContent = "Pause";
    this.timer = setInterval(() => {
      this.go(this.step + 1);
      if (this.step === this.last) this.pause();
    }, SECONDS * 1000);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    at("play").textContent = "Play";
  }
}
