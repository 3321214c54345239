// Moves all chains of the page to the same step, by playing, step by step, or by dragging.

import { at, element } from "./dom.js";

const SECONDS = 0.6; // per step when playing
const NOTE = "A step of a chain is a sweep, which redraws as many positions as the chain has; a step of mask-predict fills "
  + "or masks positions. Marked pieces have changed in this step; their old text is above them. The line is the energy, "
  + "with its first and last value. Each row below it is a position, the first one at the top, with a mark at every step that changed it.";

export class Player {
  // Fills the element `player`, and calls `show` with the step to show: the newest step, until the user moves to another one.
  constructor(show) {
    Object.assign(this, { show, follows: true, chosen: 0, timer: null, running: false });
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

  // Starts again with steps up to `last`, at the step to which the user has moved.
  reset(last) {
    this.pause();
    this.extend(last);
    at("player").hidden = false;
  }

  // Sets whether steps are still to come, so that their number is unknown.
  setRunning(running) {
    this.running = running;
    this.draw();
  }

  // Sets the number of the last step.
  extend(last) {
    at("step").max = last;
    at("step").disabled = last === 0;
    at("step").value = this.follows ? last : Math.min(this.chosen, last);
    this.draw();
  }

  // Stops playing and goes to a step, at the user's request.
  move(step) {
    this.pause();
    this.go(step);
  }

  go(step) {
    this.chosen = Math.max(0, Math.min(step, this.last));
    this.follows = this.chosen === this.last;
    at("step").value = this.chosen;
    this.draw();
  }

  draw() {
    const text = this.step === 0 ? "start" : `${this.step}${this.running ? "" : ` of ${this.last}`}`;
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
