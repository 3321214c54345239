// Shows one or two samplers on one sentence of the report. The page holds the viewer's scripts before this one.

const { vocabulary, runs } = JSON.parse(at("chain-data").textContent);
let chains = [];
const player = new Player((step) => chains.forEach((chain) => chain.show(step)));

// Lists the sentences of the first sampler, and keeps the selected sentence.
function list() {
  const { sentences } = runs[at("run").value], kept = at("sentence").value;
  at("sentence").replaceChildren(...sentences.map(({ id, source, output }) => new Option(`${id}  ${source || output}`, id)));
  if (sentences.some(({ id }) => String(id) === kept)) at("sentence").value = kept;
  show();
}

function show() {
  const samplers = ["run", "other"].flatMap((id) => runs[at(id).value] ?? []);
  const found = samplers.map(({ sentences }) => sentences.find(({ id }) => String(id) === at("sentence").value));
  for (const name of ["source", "reference"]) {
    at(name).textContent = found[0][name];
    at(name).hidden = at(name).previousElementSibling.hidden = !found[0][name];
  }
  chains = [];
  at("results").replaceChildren(...samplers.map((sampler, n) => result(sampler, found[n])));
  player.reset(Math.max(0, ...chains.map(({ last }) => last)));
}

// Returns the text of each token, and whether it begins a word.
function piecesOf(tokens) {
  const pieces = tokens.map((token) => vocabulary[token]);
  return pieces.map(([text, begins], n) => [text, begins && !pieces[n - 1]?.[2]]);
}

function result({ title }, sentence) {
  const node = element("section", "", { class: "result" }), side = element("div", "", { class: "chains" });
  node.append(element("h3", title), element("p", sentence?.output ?? "This sentence is not in this run.", { class: "output" }), side);
  for (const { length, chain, records } of sentence?.chains ?? []) {
    const made = new Chain(length, chain, new Set(), records.at(-1).sweep);
    for (const record of records) made.add({ record, pieces: piecesOf(record.tokens) });
    side.append(made.node);
    chains.push(made);
  }
  return node;
}

for (const select of [at("run"), at("other")]) {
  for (const [n, { experiment, title }] of runs.entries()) {
    let group = [...select.children].find(({ label }) => label === experiment);
    if (!group) {
      group = element("optgroup", "", { label: experiment });
      select.append(group);
    }
    group.append(new Option(title, n));
  }
}
at("other").parentElement.hidden = runs.length < 2;
at("run").addEventListener("change", list);
for (const id of ["other", "sentence"]) at(id).addEventListener("change", show);
// Select first a sampler that rejects proposals, so that there is something to see.
const rejects = ({ records }) => records.some(({ proposals, accepted }) => proposals > accepted);
at("run").value = Math.max(0, runs.findIndex(({ sentences }) => sentences.some((one) => one.chains.some(rejects))));
list();
player.go(1);
