// What the model answered, as elements of the page. Text of models and files is only ever set as text.

import { clock } from "/drawing.js";

const TITLES = { transcribe: "Transcript", translate: "Translation" };
const UNSURE = 0.8;
const DOUBTFUL = 0.5;

/** Returns an element with these properties and children. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Returns a section with a transcript or translation. `play(seconds)` is called for a click on a word. */
export function resultSection(answer, name, play) {
  const section = document.getElementById("result-template").content.firstElementChild.cloneNode(true);
  section.querySelector("h2").textContent = TITLES[answer.ability];
  section.dataset.ability = answer.ability;
  const text = section.querySelector(".text");
  for (const segment of answer.segments) text.append(paragraph(segment, answer.segments.length > 1, play));
  if (!answer.segments.length) {
    text.append(element("p", { className: "missing", textContent: "The model found no words in this recording." }));
    section.querySelector(".actions").hidden = true;
  }
  section.querySelector(".legend").hidden = !answer.segments.some((segment) => segment.words.length);
  section.querySelector(".copy").onclick = (event) => copy(event.currentTarget, answer.text);
  const link = section.querySelector("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(answer, null, 2)], { type: "application/json" }));
  link.download = `${name}.json`;
  return section;
}

async function copy(button, text) {
  await navigator.clipboard.writeText(text);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function paragraph(segment, stamped, play) {
  const made = element("p");
  if (stamped) {
    const stamp = element("button", { type: "button", className: "stamp", textContent: clock(segment.start) });
    stamp.onclick = () => play(segment.start);
    made.append(stamp);
  }
  if (!segment.words.length) made.append(segment.text);
  for (const word of segment.words) made.append(wordButton(word, play), " ");
  return made;
}

function wordButton(word, play) {
  const sure = word.confidence < DOUBTFUL ? " doubtful" : word.confidence < UNSURE ? " unsure" : "";
  const times = `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s`;
  const title = `${times}, ${Math.round(100 * word.confidence)} %`;
  const button = element("button", { type: "button", className: `word${sure}`, textContent: word.word, title });
  button.setAttribute("aria-label", `${word.word}, ${title}`);
  button.onclick = () => play(word.start);
  word.button = button;
  return button;
}

/** Returns a table of sentences with their similarity after a layer, the closest first. */
export function similarityTable(answer, layer, showAttention) {
  const values = answer.layers[layer];
  const best = Math.max(...values);
  const table = element("table", { className: "similar" });
  const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a]);
  for (const i of order) {
    const bar = element("span", { className: "bar" });
    bar.style.width = `${Math.max(0, 100 * values[i])}%`;
    const row = element(
      "tr",
      { className: values[i] === best && values.length > 1 ? "best" : "" },
      element("td", { textContent: answer.sentences[i] }),
      element("td", { className: "share" }, bar),
      element("td", { className: "value", textContent: values[i].toFixed(3) }),
    );
    if (showAttention) {
      const button = element("button", { type: "button", textContent: "Attention" });
      button.onclick = () => showAttention(answer.sentences[i]);
      row.append(element("td", { className: "show" }, button));
    }
    table.append(row);
  }
  return table;
}
