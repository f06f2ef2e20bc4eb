// Pictures of a recording on canvases that share one axis of time.

const FONT = "12px ui-sans-serif, system-ui, sans-serif";
const TICK_STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120];
const MIN_TICK_PIXELS = 55;
const MIDDLE = 0.7; // of the scale of colors
const BRIGHTEST = 0.998; // of the weights are below the last color
const QUIET = 2000; // of 32768

export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Returns seconds as m:ss, or as s.s if they are few. */
export function clock(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

/** Returns a canvas's context, cleared and scaled to the screen, with its size in CSS pixels. */
function prepared(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = FONT;
  context.textBaseline = "middle";
  return { context, width, height };
}

function rgb(text) {
  const digits = text.replace("#", "");
  return [0, 2, 4].map((place) => parseInt(digits.slice(place, place + 2), 16));
}

/** Returns 256 colors from the page's background over blue to its ink. */
function palette() {
  const stops = [color("box"), color("blue"), color("ink")].map(rgb);
  return Array.from({ length: 256 }, (_, value) => {
    const place = value / 255;
    const [from, to] = place < MIDDLE ? [stops[0], stops[1]] : [stops[1], stops[2]];
    const share = place < MIDDLE ? place / MIDDLE : (place - MIDDLE) / (1 - MIDDLE);
    return from.map((start, i) => Math.round(start + share * (to[i] - start)));
  });
}

/** Returns a canvas of columns x rows pixels, colored by `value(column, row)` from 0 to 255; row 0 is on top. */
function pixels(columns, rows, value) {
  const canvas = new OffscreenCanvas(columns, rows);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const colors = palette();
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      image.data.set([...colors[value(column, row)], 255], 4 * (row * columns + column));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Returns the lowest and highest sample of each column, from -1 to 1. Noise of a quiet recording stays small. */
function peaksOf(samples, columns) {
  const peaks = Array.from({ length: columns }, (_, column) => {
    const begin = Math.floor((column / columns) * samples.length);
    const end = Math.max(begin + 1, Math.floor(((column + 1) / columns) * samples.length));
    let low = 0;
    let high = 0;
    for (let i = begin; i < end; i++) {
      low = Math.min(low, samples[i]);
      high = Math.max(high, samples[i]);
    }
    return [low, high];
  });
  const loudest = peaks.reduce((most, [low, high]) => Math.max(most, high, -low), QUIET);
  return peaks.map((peak) => peak.map((sample) => sample / loudest));
}

/** A recording's pictures. `marks` are the words; `position` is what is played, `active` the word that it is in. */
export class Track {
  constructor(canvases) {
    Object.assign(this, canvases); // words, waveform, picture, ticks
    this.clear();
  }

  clear() {
    Object.assign(this, { samples: null, duration: 0, source: null, marks: [], position: 0, active: null });
    this.forget();
    this.words.hidden = true;
  }

  /** Forgets what was computed for the window's size and colors. */
  forget() {
    this.image = this.peaks = null;
  }

  draw() {
    if (!this.samples) return;
    this.drawWaveform();
    this.drawPicture();
    this.drawTicks();
    this.words.hidden = !this.marks.length;
    if (this.marks.length) this.drawWords();
  }

  drawWaveform() {
    const { context, width, height } = prepared(this.waveform);
    this.drawActive(context, width, height);
    context.fillStyle = color("blue");
    this.peaks ??= peaksOf(this.samples, Math.max(1, Math.round(width)));
    this.peaks.forEach(([low, high], column) => {
      const top = (height / 2) * (1 - 0.94 * high);
      const bottom = (height / 2) * (1 - 0.94 * low);
      context.fillRect(column, top, 1, Math.max(1, bottom - top));
    });
    this.drawPosition(context, width, height);
  }

  drawPicture() {
    const { context, width, height } = prepared(this.picture);
    if (!this.source) return;
    const { columns, bins, data } = this.source;
    this.image ??= pixels(columns, bins, (column, row) => data[column * bins + (bins - 1 - row)]);
    const drawn = ((columns * this.source.seconds) / this.duration) * width;
    context.drawImage(this.image, 0, 0, Math.min(drawn, width), height);
    this.drawPosition(context, width, height);
  }

  drawTicks() {
    const { context, width, height } = prepared(this.ticks);
    const least = (MIN_TICK_PIXELS / width) * this.duration;
    const step = TICK_STEPS.find((seconds) => seconds >= least) ?? TICK_STEPS.at(-1);
    context.fillStyle = color("soft");
    for (let seconds = 0; seconds <= this.duration; seconds += step) {
      const place = (seconds / this.duration) * width;
      context.fillRect(place, 0, 1, 4);
      if (place < width - 30) context.fillText(clock(seconds), place + 3, height / 2 + 2);
    }
  }

  drawWords() {
    const { context, width, height } = prepared(this.words);
    for (const word of this.marks) {
      const left = (word.start / this.duration) * width;
      const space = Math.max(1.5, ((word.end - word.start) / this.duration) * width - 1.5);
      context.fillStyle = color(word === this.active ? "blue" : "grid");
      context.fillRect(left, 3, space, height - 6);
      if (context.measureText(word.word).width > space - 6) continue;
      context.fillStyle = color(word === this.active ? "paper" : "ink");
      context.fillText(word.word, left + 4, height / 2 + 1);
    }
  }

  drawActive(context, width, height) {
    if (!this.active) return;
    context.fillStyle = color("train");
    context.globalAlpha = 0.45;
    const left = (this.active.start / this.duration) * width;
    context.fillRect(left, 0, ((this.active.end - this.active.start) / this.duration) * width, height);
    context.globalAlpha = 1;
  }

  drawPosition(context, width, height) {
    if (!this.position) return;
    context.fillStyle = color("orange");
    context.fillRect((this.position / this.duration) * width - 0.75, 0, 1.5, height);
  }
}

/** Draws attention (pieces x states), from 0 to nearly its maximum, with a piece before each row. */
export function drawAttention(canvas, pieces, weights) {
  const row = 20;
  canvas.style.height = `${row * pieces.length}px`;
  const { context, width } = prepared(canvas);
  const margin = Math.min(width / 3, 10 + Math.max(...pieces.map((piece) => context.measureText(piece).width)));
  const sorted = weights.flat().sort((a, b) => a - b);
  const most = Math.max(sorted[Math.floor(BRIGHTEST * (sorted.length - 1))], 1e-6);
  const value = (column, i) => Math.round(255 * Math.min(1, weights[i][column] / most));
  const image = pixels(weights[0].length, pieces.length, value);
  context.imageSmoothingEnabled = false;
  context.drawImage(image, margin, 0, width - margin, row * pieces.length);
  context.fillStyle = color("ink");
  pieces.forEach((piece, i) => context.fillText(piece, 0, row * (i + 0.5) + 1, margin - 8));
}
