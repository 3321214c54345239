// The page: a form, the player, and a result for each decoder.

import { at } from "./dom.js";
import { Player } from "./player.js";
import { Result } from "./result.js";
import { Settings } from "./settings.js";
import { translate } from "./stream.js";

const TITLES = { mh: "Metropolis-Hastings", gibbs: "degenerate Gibbs", "mask-predict": "mask-predict" };
const about = await (await fetch("about")).json();
let results = [], running = null; // running: the AbortController of the run that goes on

const settings = new Settings(about.numbers);
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
    player.extend(Math.max(0, ...results.map((result) => result.last)));
  });
}

const told = { failed: refuse, again };

function run() {
  const source = at("source").value;
  const requests = settings.requests().map((request) => ({ ...request, source }));
  const many = requests.length > 1;
  results = requests.map((request, n) =>
    new Result(`${many ? `${"AB"[n]}: ` : ""}${TITLES[request.decoding]}`, request, told));
  at("results").replaceChildren(...results.map(({ node }) => node));
  return follow(results);
}

// Ask again for one of the results, and for more of it.
function again(result, more) {
  const made = new Result(result.title, { ...result.request, ...more }, told);
  results[results.indexOf(result)] = made;
  result.node.replaceWith(made.node);
  return follow([made]);
}

async function follow(asked) {
  running?.abort();
  const mine = new AbortController(), begun = performance.now();
  running = mine;
  refuse(null);
  player.reset();
  at("status").textContent = "The chains run …";
  at("stop").disabled = false;
  const show = (result) => (event) => mine === running && result.add(event) && drawSoon();
  const ends = await Promise.allSettled(asked.map((result) => translate(result.request, show(result), mine.signal)));
  if (mine !== running) return;
  running = null;
  at("stop").disabled = true;
  const failed = ends.find(({ reason }) => reason && reason.name !== "AbortError");
  if (failed) refuse(failed.reason);
  const stopped = mine.signal.aborted, seconds = ((performance.now() - begun) / 1000).toFixed(1);
  at("status").textContent = stopped ? "Stopped." : failed ? "Not translated." : `Translated in ${seconds} s.`;
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
at("stop").addEventListener("click", () => {
  running?.abort();
  at("translate").focus();
});
at("source").addEventListener("input", count);
at("source").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("form").requestSubmit();
});
window.addEventListener("hashchange", count);
