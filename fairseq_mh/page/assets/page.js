// The page: a form, the player, and a result for each decoder.

import { at } from "./dom.js";
import { Player } from "./player.js";
import { Result } from "./result.js";
import { Settings } from "./settings.js";
import { translate } from "./stream.js";

const TITLES = { mh: "Metropolis-Hastings", gibbs: "degenerate Gibbs", "mask-predict": "mask-predict" };
const about = await (await fetch("about")).json();
let results = [], failed = false; // failed: one of those that were asked for last
const running = new Map(); // results that are still made, each with the AbortController of its request

const settings = new Settings(about);
const player = new Player((step) => results.forEach((result) => result.show(step)));
at("model").textContent = about.model;
count();

function count() {
  const typed = at("source").value.length;
  at("count").textContent = `${typed.toLocaleString("en")} of at most ${about.source.toLocaleString("en")} characters. Enter translates.`;
}

function refuse(error) {
  at("error").textContent = error ? sentence(error.message) : "";
  at("error").hidden = !error;
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// The time of a frame may hold many events; the chains are drawn once.
let waits = false;
function drawSoon() {
  if (waits) return;
  waits = true;
  requestAnimationFrame(() => {
    waits = false;
    player.extend(last());
  });
}

const last = () => Math.max(0, ...results.map((result) => result.last));

const told = { failed: refuse, again };

function run() {
  const source = at("source").value;
  const requests = settings.requests().map((request) => ({ ...request, source }));
  const many = requests.length > 1;
  stop();
  results = requests.map((request, n) =>
    new Result(`${many ? `${"AB"[n]}: ` : ""}${TITLES[request.decoding]}`, request, told));
  at("results").replaceChildren(...results.map(({ node }) => node));
  follow(results);
}

// Ask again for one of the results, and for more of it; the others go on.
function again(result, more) {
  const made = new Result(result.title, { ...result.request, ...more }, told);
  results[results.indexOf(result)] = made;
  result.node.replaceWith(made.node);
  running.get(result)?.abort();
  running.delete(result);
  follow([made]);
}

function stop() {
  for (const control of running.values()) control.abort();
  running.clear();
}

function say(text) {
  at("status").textContent = text;
  at("stop").disabled = !running.size;
}

// Ask the server for these results, and show them while they are made.
function follow(asked) {
  const begun = performance.now();
  failed = false;
  refuse(null);
  player.reset(last());
  for (const result of asked) running.set(result, new AbortController());
  say("The chains run …");
  for (const result of asked) make(result, begun);
}

async function make(result, begun) {
  const { signal } = running.get(result);
  const runs = () => !signal.aborted;
  try {
    await translate(result.request, (event) => runs() && result.add(event) && drawSoon(), signal);
  } catch (error) {
    if (!runs()) return;
    failed = true;
    refuse(error);
  }
  if (!runs()) return;
  running.delete(result);
  if (running.size) return;
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  say(failed ? "Not translated." : `Translated in ${seconds} s.`);
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
at("stop").addEventListener("click", () => {
  stop();
  say("Stopped.");
  at("translate").focus();
});
at("source").addEventListener("input", count);
at("source").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("form").requestSubmit();
});
window.addEventListener("hashchange", count);
