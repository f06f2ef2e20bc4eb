// The microphone, and WAV files written and read here, so that no codec is needed on either side.

const HEADER_BYTES = 44;

/** Records the microphone. `onBlock(seconds, level)` is called a few times a second; the level is from 0 to 1. */
export class Recorder {
  constructor(onBlock) {
    this.onBlock = onBlock;
    this.blocks = [];
    this.samples = 0;
  }

  async start() {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers offer the microphone only to pages from this machine (127.0.0.1) or over HTTPS.");
    }
    const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    } catch (error) {
      const refused = error.name === "NotAllowedError";
      throw new Error(refused ? "The browser was not allowed to use the microphone." : `No microphone: ${error.message}`);
    }
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/capture.js");
    const node = new AudioWorkletNode(this.context, "capture");
    node.port.onmessage = (message) => this.add(message.data);
    this.context.createMediaStreamSource(this.stream).connect(node);
    node.connect(this.context.destination); // it gives silence: without a listener it would not run
  }

  add(block) {
    this.blocks.push(block);
    this.samples += block.length;
    const loudest = block.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    this.onBlock(this.samples / this.context.sampleRate, Math.sqrt(Math.min(1, loudest)));
  }

  /** Stops, and returns the recording as a WAV file. */
  async stop() {
    const rate = this.context.sampleRate;
    this.stream.getTracks().forEach((track) => track.stop());
    await this.context.close();
    return new Blob([wavOf(this.blocks, this.samples, rate)], { type: "audio/wav" });
  }
}

/** Returns a WAV file of 16 bits with the samples of all blocks. */
function wavOf(blocks, samples, rate) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + 2 * samples));
  const text = (place, letters) => [...letters].forEach((letter, i) => view.setUint8(place + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + 2 * samples, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples, true);
  let place = HEADER_BYTES;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(place, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
      place += 2;
    }
  }
  return view.buffer;
}

/** Returns the samples of a mono WAV file of 16 bits, as the server sends it. */
export function samplesOf(buffer) {
  return new Int16Array(buffer, HEADER_BYTES, (buffer.byteLength - HEADER_BYTES) >> 1);
}
