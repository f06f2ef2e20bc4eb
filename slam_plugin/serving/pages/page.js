// The page: from the microphone or a file to pictures, text and comparisons. One recording at a time.

import { Track, clock, drawAttention } from "/drawing.js";
import { Recorder, samplesOf } from "/recorder.js";
import { resultSection, similarityTable } from "/results.js";

const $ = (id) => document.getElementById(id);
const { abilities: names, maxBytes, maxSeconds } = document.body.dataset;
const abilities = names.split(" ").filter(Boolean);
const writing = abilities.filter((name) => name === "transcribe" || name === "translate");
const player = $("player");
const track = new Track({ words: $("words"), waveform: $("waveform"), picture: $("picture"), ticks: $("ticks") });

let recorder = null;
let current = null; // {file, name, control}: the recording and what ends its requests
let compared = null;
let attended = null;
let frame = 0; // the next animation frame that follows the player

// ---- states: idle, recording, working, done, error

function enter(state, words = "") {
  document.body.dataset.state = state;
  $("status").textContent = words;
  $("error").hidden = state !== "error";
  $("record").setAttribute("aria-pressed", String(state === "recording"));
  $("file").disabled = state === "recording";
  $("record-label").textContent = state === "recording" ? "Stop" : "Record";
}

function fail(error) {
  if (error.name === "AbortError") return; // another recording has taken its place
  enter("error");
  $("error").textContent = error.message;
}

// ---- requests

async function post(name, recording, fields = []) {
  const form = new FormData();
  form.append("file", recording.file, "sound");
  fields.forEach(([field, value]) => form.append(field, value));
  let response;
  try {
    response = await fetch(`/api/${name}`, { method: "POST", body: form, signal: recording.control.signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new Error(answer.error ? sentence(answer.error) : `The server answered with the status ${response.status}.`);
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}${/[.)]$/.test(words) ? "" : "."}`;
const json = async (...request) => (await post(...request)).json();

// ---- a recording

async function take(file, name) {
  clear();
  const recording = { file, name, control: new AbortController() };
  current = recording;
  try {
    if (file.size > Number(maxBytes)) throw new Error(`The file is larger than ${Math.round(maxBytes / 2 ** 20)} MiB.`);
    enter("working", `Reading ${name} …`);
    const sound = await (await post("sound", recording)).blob();
    await showSound(sound, name);
    await showPicture(await json("picture", recording));
    for (const ability of writing) {
      enter("working", ability === "transcribe" ? "Transcribing …" : "Translating …");
      const fields = $("target") ? [["target", $("target").value]] : [];
      showResult(await json(ability, recording, fields));
    }
    if ($("compare")) $("compare").hidden = false;
    enter("done", `${name}, ${clock(track.duration)}`);
  } catch (error) {
    if (recording === current) fail(error);
  }
}

function clear() {
  current?.control.abort();
  player.pause();
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  track.clear();
  compared = attended = null;
  $("results").replaceChildren();
  $("sound").hidden = true;
  if (!$("compare")) return;
  $("compare").hidden = $("attention").hidden = true;
  $("similarities").replaceChildren();
}

async function showSound(sound, name) {
  track.samples = samplesOf(await sound.arrayBuffer());
  track.duration = track.samples.length / 16000;
  player.src = URL.createObjectURL(sound);
  $("sound-title").textContent = name;
  $("sound").hidden = false;
  track.draw();
}

async function showPicture(answer) {
  const data = Uint8Array.from(atob(answer.pixels), (letter) => letter.charCodeAt(0));
  track.source = { columns: answer.columns, bins: answer.bins, seconds: answer.seconds_per_column, data };
  track.draw();
}

function showResult(answer) {
  $("results").append(resultSection(answer, current.name, play));
  const words = answer.segments.flatMap((segment) => segment.words);
  if (words.length) track.marks = words;
  track.draw();
}

// ---- playing

function play(seconds) {
  player.currentTime = seconds;
  player.play().catch(() => {}); // a pause that follows at once is no error
  follow();
}

/** Shows what is played: its place in the pictures, and the word. */
function follow() {
  const time = player.currentTime;
  const active = track.marks.find((word) => word.start <= time + 0.01 && time < word.end) ?? null;
  if (active !== track.active) {
    track.active?.button.classList.remove("active");
    active?.button.classList.add("active");
    active?.button.scrollIntoView({ block: "nearest" });
  }
  track.active = active;
  track.position = time;
  track.draw();
  cancelAnimationFrame(frame);
  if (!player.paused) frame = requestAnimationFrame(follow);
}

for (const event of ["play", "pause", "seeked"]) player.addEventListener(event, follow);
for (const canvas of [track.words, track.waveform, track.picture]) {
  canvas.onclick = (event) => play((event.offsetX / canvas.clientWidth) * track.duration);
}

// ---- input

$("record").onclick = async () => {
  $("record").disabled = true; // until the user has allowed or refused the microphone
  try {
    if (document.body.dataset.state === "recording") stopRecording();
    else await startRecording();
  } catch (error) {
    recorder = null;
    fail(error);
  } finally {
    $("record").disabled = false;
  }
};

async function startRecording() {
  clear();
  recorder = new Recorder((seconds, level) => {
    $("level").style.width = `${100 * level}%`;
    $("status").textContent = `Recording, ${clock(seconds)}`;
    if (seconds >= Number(maxSeconds) - 1) stopRecording();
  });
  await recorder.start();
  enter("recording", "Recording");
}

async function stopRecording() {
  const stopped = recorder;
  recorder = null;
  if (stopped) await take(await stopped.stop(), "Recording");
}

$("file").onchange = (event) => {
  const [file] = event.target.files;
  if (file) take(file, file.name);
  event.target.value = ""; // so that the same file may be chosen again
};

for (const kind of ["dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    const [file] = kind === "drop" ? event.dataTransfer.files : [];
    if (file && document.body.dataset.state !== "recording") take(file, file.name);
  });
}

if ($("target")) $("target").onchange = () => current && take(current.file, current.name);

// ---- comparing with sentences

if ($("compare")) {
  $("compare-form").onsubmit = async (event) => {
    event.preventDefault();
    const lines = $("sentences").value.split("\n").map((line) => line.trim()).filter(Boolean);
    await computing("Comparing …", async () => {
      compared = await json("similarity", current, lines.map((line) => ["sentence", line]));
      showSimilarities();
    });
  };
  $("layer").onchange = () => {
    showSimilarities();
    showAttention();
  };
}

async function computing(words, work) {
  enter("working", words);
  try {
    await work();
    enter("done", `${current.name}, ${clock(track.duration)}`);
  } catch (error) {
    fail(error);
  }
}

function showSimilarities() {
  if (!compared) return;
  const attend = abilities.includes("attention") ? attendTo : null;
  $("similarities").replaceChildren(similarityTable(compared, Number($("layer").value), attend));
}

function attendTo(line) {
  return computing("Looking at the attention …", async () => {
    attended = { line, ...(await json("attention", current, [["sentence", line]])) };
    showAttention();
  });
}

function showAttention() {
  $("attention").hidden = !attended;
  if (!attended) return;
  const layer = Number($("layer").value);
  $("attention-caption").textContent =
    `Attention of layer ${layer + 1} from “${attended.line}” to ${attended.seconds.toFixed(1)} s of speech, ` +
    "the mean over heads. If the model has aligned both, a diagonal runs from the top left to the bottom right.";
  drawAttention($("attention-picture"), attended.pieces, attended.layers[layer]);
}

// ---- the window

function redraw() {
  track.forget();
  track.draw();
  if ($("compare")) showAttention();
}

window.addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
$("origin").textContent = location.origin;
