// Runs the page: a form, the player, and a result for each decoder.

import { at, element } from "./dom.js";
import { Player } from "./player.js";
import { comparison, Result } from "./result.js";
import { Settings } from "./settings.js";
import { translate } from "./stream.js";

const TITLES = { mh: "Metropolis-Hastings", gibbs: "degenerate Gibbs", "mask-predict": "mask-predict" };
const about = await (await fetch("about")).json();
let results = [], failed = false; // failed: whether one of the latest requests failed
const running = new Map(); // unfinished results, each with the AbortController of its request

const settings = new Settings(about);
const player = new Player((step) => results.forEach((result) => result.show(step)));
at("model").textContent = about.model;
if (about.examples.length) at("source").placeholder = about.examples[0];
offerExamples();
count();

function count() {
  const typed = at("source").value.length;
  at("count").textContent = `${typed.toLocaleString("en")} of at most ${about.source.toLocaleString("en")} characters. Enter translates.`;
}

// Says what the model knows, and offers examples, until the first translation.
function offerExamples() {
  const buttons = about.examples.map((example) => {
    const button = element("button", example, { type: "button" });
    button.addEventListener("click", () => {
      at("source").value = example;
      at("source").dispatchEvent(new Event("input"));
      run();
    });
    return button;
  });
  const field = about.field ? `This model knows ${about.field}. ` : "";
  const note = element("p", `${field}${buttons.length ? "Try one of these:" : ""}`, { class: "note" });
  at("examples").replaceChildren(note, ...buttons);
  at("examples").hidden = !note.textContent;
}

function showError(error) {
  at("error").textContent = error ? sentence(error.message) : "";
  at("error").hidden = !error;
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// Draws the chains once per frame, because many events may come within a frame.
let scheduled = false;
function drawSoon() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    at("player").hidden = false;
    player.extend(last());
  });
}

const last = () => Math.max(0, ...results.map((result) => result.last));

const actions = { showError, translateAgain };

function run() {
  const source = at("source").value;
  const requests = settings.requests().map((request) => ({ ...request, source }));
  const many = requests.length > 1;
  stop();
  results = requests.map((request, n) => {
    const title = `${many ? `${"AB"[n]}: ` : ""}${TITLES[request.decoding]}`;
    return new Result(title, request, settings.sweeps(request), actions);
  });
  at("examples").hidden = true;
  at("translations").replaceChildren(...results.map(({ found }) => found));
  at("results").replaceChildren(...results.map(({ node }) => node));
  start(results);
}

// Replaces one result by that of a changed request; the other result goes on.
function translateAgain(result, changes) {
  const made = new Result(result.title, { ...result.request, ...changes }, result.sweeps, actions);
  results[results.indexOf(result)] = made;
  result.found.replaceWith(made.found);
  result.node.replaceWith(made.node);
  running.get(result)?.abort();
  running.delete(result);
  start([made]);
}

function stop() {
  for (const control of running.values()) control.abort();
  running.clear();
}

function setStatus(text) {
  at("status").textContent = text;
  at("stop").disabled = !running.size;
  player.setRunning(running.size > 0);
  const both = results.length === 2 && results.every(({ done }) => done);
  at("comparison").textContent = both ? comparison(...results) : "";
  at("comparison").hidden = !both;
}

// Asks the server for these results, and shows them while they are computed.
function start(requested) {
  const startTime = performance.now();
  failed = false;
  showError(null);
  player.reset(last());
  at("player").hidden = !results.some(({ chains }) => chains.size);
  for (const result of requested) running.set(result, new AbortController());
  setStatus("The chains are running …");
  for (const result of requested) receive(result, startTime);
}

async function receive(result, startTime) {
  const { signal } = running.get(result);
  const active = () => !signal.aborted;
  try {
    await translate(result.request, (event) => active() && result.add(event) && drawSoon(), signal);
  } catch (error) {
    if (!active()) return;
    failed = true;
    result.fail();
    showError(error);
  }
  if (!active()) return;
  running.delete(result);
  if (running.size) return;
  const seconds = ((performance.now() - startTime) / 1000).toFixed(1);
  setStatus(failed ? "Not translated." : `Translated in ${seconds} s.`);
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
at("stop").addEventListener("click", () => {
  stop();
  setStatus("Stopped.");
  at("translate").focus();
});
at("source").addEventListener("input", count);
at("source").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("form").requestSubmit();
});
window.addEventListener("hashchange", count);
