"use strict";
(() => {
  const { vocabulary, runs } = JSON.parse(document.getElementById("chain-data").textContent);
  const at = Object.fromEntries(
    ["run", "sentence", "chain", "chain-label", "source", "reference", "output", "sweep", "sweep-number", "state",
      "counts", "trace"].map((id) => [id, document.getElementById(id)]),
  );
  const shown = {}; // the run, sentence, chain, and the chain's states

  const element = (name, text, kind) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const fill = (select, texts, chosen) => {
    select.replaceChildren(...texts.map((text, n) => new Option(text, n)));
    select.selectedIndex = Math.max(0, chosen);
  };
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); // plotly reads tags
  const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));

  // Every state, from the start and what changed in each sweep.
  const states = ({ start, changes }) => {
    const state = [...start];
    return changes.map((list) => {
      for (let n = 0; n < list.length; n += 2) state[list[n]] = list[n + 1];
      return [...state];
    });
  };

  function chooseRun() {
    const kept = shown.sentence?.id;
    shown.run = runs[at.run.value];
    const texts = shown.run.sentences.map(({ id, source, output }) => `${id}  ${source || output}`);
    fill(at.sentence, texts, shown.run.sentences.findIndex(({ id }) => id === kept));
    chooseSentence();
  }

  function chooseSentence() {
    shown.sentence = shown.run.sentences[at.sentence.value];
    for (const name of ["source", "reference", "output"]) {
      at[name].textContent = shown.sentence[name];
      at[name].hidden = at[name].previousElementSibling.hidden = !shown.sentence[name];
    }
    const { chains } = shown.sentence;
    fill(at.chain, chains.map(({ length, chain }) => `${chain}, length ${length}`), 0);
    at["chain-label"].hidden = chains.length < 2;
    chooseChain();
  }

  function chooseChain() {
    shown.chain = shown.sentence.chains[at.chain.value];
    shown.states = states(shown.chain);
    const last = shown.states.length - 1;
    at.sweep.max = last;
    at.sweep.disabled = last === 0;
    at.sweep.value = Math.min(1, last);
    at.trace.hidden = last === 0; // a decoder without sweeps has no curve
    draw();
    chooseSweep();
  }

  function chooseSweep() {
    const sweep = Number(at.sweep.value), last = shown.states.length - 1;
    const text = sweep === 0 ? "start" : `${sweep} of ${last}`;
    at["sweep-number"].value = text;
    at.sweep.setAttribute("aria-valuetext", text);
    const state = shown.states[sweep], before = shown.states[Math.max(0, sweep - 1)];
    at.state.replaceChildren(...state.map((token, n) => piece(token, before[n])));
    at.counts.replaceChildren(...counts(sweep).map(([name, value, more]) => {
      const group = document.createElement("div"), figure = element("dd", value);
      if (more) figure.append(" ", element("small", more));
      group.append(element("dt", name), figure);
      return group;
    }));
    Plotly.relayout(at.trace, { "shapes[0].x0": sweep, "shapes[0].x1": sweep });
  }

  function piece(token, before) {
    const [text, begins] = vocabulary[token];
    const made = element("span", "", begins ? "piece begins" : "piece");
    if (token === before) {
      made.append(element("span", text));
    } else {
      made.append(element("del", vocabulary[before][0]), element("ins", text));
    }
    return made;
  }

  function counts(sweep) {
    const { proposals, accepted, novel, temperature, energy, length } = shown.chain;
    const share = (count) => (proposals[sweep] ? `${Math.round((100 * count) / proposals[sweep])} %` : "");
    const rejected = proposals[sweep] - accepted[sweep];
    return [
      ["proposals", proposals[sweep]],
      ["accepted", accepted[sweep], share(accepted[sweep])],
      ["novel", novel[sweep], share(novel[sweep])],
      ["rejected", rejected, share(rejected)],
      ["temperature", temperature[sweep] === null ? "–" : +temperature[sweep].toFixed(3)],
      [`energy (${shown.run.energy})`, number(energy[sweep], 2), `${number(energy[sweep] && energy[sweep] / length, 3)} a token`],
    ];
  }

  // The energy by sweep above a map of the positions that changed; a line at the current sweep runs through both.
  function draw() {
    const { energy, changes, length } = shown.chain;
    const sweeps = energy.map((_, n) => n);
    const changed = Array.from({ length }, () => sweeps.map(() => null));
    const words = Array.from({ length }, () => sweeps.map(() => ""));
    changes.forEach((list, sweep) => {
      for (let n = 0; n < list.length; n += 2) {
        const [before, after] = [shown.states[sweep - 1][list[n]], list[n + 1]].map((token) => plain(vocabulary[token][0]));
        changed[list[n]][sweep] = 1;
        words[list[n]][sweep] = `${before} → ${after}`;
      }
    });
    const grid = { gridcolor: "#e6eaee", zeroline: false };
    const whole = (count, most) => ({ tick0: 0, dtick: Math.max(1, Math.ceil(count / most)) }); // no ticks at fractions
    const traces = [
      { x: sweeps, y: energy, mode: "lines+markers", line: { color: shown.run.colour, width: 2 }, marker: { size: 5 },
        hovertemplate: "%{y:.2f} nats at sweep %{x}<extra></extra>" },
      { type: "heatmap", z: changed, text: words, yaxis: "y2", showscale: false, xgap: 2, ygap: 1,
        y: changed.map((_, n) => n + 1), colorscale: [[0, "#e3a23c"], [1, "#e3a23c"]],
        hovertemplate: "sweep %{x}, position %{y}: %{text}<extra></extra>", hoverongaps: false },
    ];
    Plotly.react(at.trace, traces, {
      height: 380, showlegend: false, margin: { l: 56, r: 12, t: 10, b: 42 },
      font: { family: "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif", size: 13, color: "#3a4450" },
      xaxis: { ...grid, ...whole(energy.length, 12), title: { text: "sweep", font: { size: 13 } }, range: [-0.5, Math.max(1, energy.length - 1) + 0.5], anchor: "y2" },
      yaxis: { ...grid, title: { text: "energy (nats)", font: { size: 13 } }, domain: [0.5, 1] },
      yaxis2: { ...grid, ...whole(length, 6), title: { text: "position", font: { size: 13 } }, domain: [0, 0.44], range: [length + 0.5, 0.5] },
      shapes: [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: 0, x1: 0, line: { color: "#1d232a", width: 1 } }],
    }, { responsive: true, displayModeBar: false });
  }

  runs.forEach(({ experiment, sampler, seed }, n) => {
    let group = [...at.run.children].find(({ label }) => label === experiment);
    if (!group) {
      group = document.createElement("optgroup");
      group.label = experiment;
      at.run.append(group);
    }
    group.append(new Option(seed === null ? sampler : `${sampler} (seed ${seed})`, n));
  });
  for (const [id, choose] of [["run", chooseRun], ["sentence", chooseSentence], ["chain", chooseChain]]) {
    at[id].addEventListener("change", choose);
  }
  at.sweep.addEventListener("input", chooseSweep);
  // First the sampler that has something to show: one that moves, and does not accept everything.
  const rejects = ({ proposals, accepted }) => proposals.some((count, n) => count > accepted[n]);
  at.run.value = Math.max(0, runs.findIndex(({ sentences }) => sentences.some(({ chains }) => chains.some(rejects))));
  chooseRun();
  at.trace.on("plotly_click", ({ points }) => {
    at.sweep.value = points[0].x;
    chooseSweep();
  });
})();
