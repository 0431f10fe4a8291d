// Sorts, filters and shows the samples of a run. Texts become text nodes only.
"use strict";

const PAGE = 25;
const WORDS_SHOWN = 200;

function matches(sample, wanted) {
  if (wanted.set && sample.set !== wanted.set) return false;
  if (wanted.verdict !== "" && Number(sample.correct >= 1) !== Number(wanted.verdict)) return false;
  if (wanted.from !== "" && sample.step < Number(wanted.from)) return false;
  if (wanted.to !== "" && sample.step > Number(wanted.to)) return false;
  const words = wanted.words.toLowerCase();
  return !words || (sample.prompt + "\n" + sample.text).toLowerCase().includes(words);
}

function select(samples, wanted) {
  const value = (sample) => {
    const found = sample[wanted.sort];
    return found === null || found === undefined ? -Infinity : found;
  };
  const sign = wanted.down ? -1 : 1;
  return samples.map((sample, i) => [sample, i])
    .filter(([sample]) => matches(sample, wanted))
    .sort((a, b) => sign * (value(a[0]) - value(b[0]) || 0) || a[1] - b[1])
    .map(([sample]) => sample);
}

function marked(document, text, words) {
  const parts = [];
  const low = text.toLowerCase(), wanted = words.toLowerCase();
  let from = 0;
  while (wanted && parts.length < WORDS_SHOWN) {
    const at = low.indexOf(wanted, from);
    if (at < 0) break;
    const mark = document.createElement("mark");
    mark.textContent = text.slice(at, at + wanted.length);
    parts.push(document.createTextNode(text.slice(from, at)), mark);
    from = at + wanted.length;
  }
  parts.push(document.createTextNode(text.slice(from)));
  return parts;
}

function shown(document, sample, words) {
  const box = document.createElement("div");
  box.className = "sample";
  const facts = [`step ${sample.step}`, sample.set];
  if (sample.reward !== null) facts.push(`reward ${Number(sample.reward).toPrecision(3)}`);
  for (const [name, value] of Object.entries(sample.parts)) facts.push(`${name} ${Number(value).toPrecision(3)}`);
  if (sample.tokens !== null) facts.push(`${sample.tokens} tokens`);
  if (!sample.stopped) facts.push("cut off");
  if (sample.answer) facts.push(`the answer is ${sample.answer}`);
  const line = document.createElement("div");
  line.className = "note";
  const verdict = document.createElement("b");
  verdict.className = sample.correct >= 1 ? "good" : "bad";
  verdict.textContent = sample.correct >= 1 ? "✓ right " : "✗ wrong ";
  line.append(verdict, document.createTextNode(facts.join(" · ")));
  box.append(line);
  for (const [kind, text] of [["prompt", sample.prompt], ["text", sample.text]]) {
    const block = document.createElement("pre");
    block.className = kind;
    block.append(...marked(document, text, words));
    box.append(block);
  }
  return box;
}

function start(document) {
  const samples = JSON.parse(document.getElementById("samples").textContent).samples;
  const field = (id) => document.getElementById(id);
  let limit = PAGE;
  const draw = () => {
    const wanted = { down: field("down").checked };
    for (const id of ["words", "set", "verdict", "from", "to", "sort"]) wanted[id] = field(id).value;
    const found = select(samples, wanted);
    field("count").textContent = `${found.length} of ${samples.length} samples`;
    field("list").replaceChildren(...found.slice(0, limit).map((s) => shown(document, s, wanted.words)));
    field("more").hidden = found.length <= limit;
  };
  for (const id of ["words", "set", "verdict", "from", "to", "sort", "down"]) {
    field(id).addEventListener("input", () => { limit = PAGE; draw(); });
  }
  field("more").addEventListener("click", () => { limit += PAGE; draw(); });
  draw();
}

if (typeof document !== "undefined") start(document);
if (typeof module !== "undefined") module.exports = { select, matches };
