"use strict";
// The engine of a page without a server: onnxruntime-web runs the model here, and the people are in memory only.

const content = (id) => {
  const element = document.getElementById(id);
  const text = atob(element.textContent);
  element.remove(); // frees memory
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
};
const unpacked = (bytes) =>
  new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);
const unit = (vector) => {
  const length = Math.sqrt(dot(vector, vector));
  return Float32Array.from(vector, (value) => value / length);
};

const engine = {
  ...JSON.parse(document.getElementById("model").textContent),
  book: new Map(), // name: [{vector, seconds}]

  async start() {
    const url = URL.createObjectURL(new Blob([content("program")], { type: "text/javascript" }));
    this.runtime = await import(url);
    URL.revokeObjectURL(url);
    this.runtime.env.wasm.wasmBinary = await unpacked(content("wasm"));
    this.runtime.env.wasm.numThreads = 1;
    this.session = await this.runtime.InferenceSession.create(await unpacked(content("network")));
    if (this.cohort) {
      const values = new Int16Array(await unpacked(content("cohort")));
      const row = (at) => unit(values.subarray(at * this.dim, (at + 1) * this.dim));
      this.cohort.vectors = Array.from({ length: values.length / this.dim }, (_, at) => row(at));
    }
  },

  async listen(samples) {
    if (samples.length < this.min_samples) throw new Error("Too short: speak for two seconds or more.");
    if (samples.every((value) => value === samples[0])) throw new Error("Only silence arrived: check the microphone.");
    const given = new this.runtime.Tensor("float32", samples, [1, samples.length]);
    const { embs, seconds } = await this.session.run({ waveform: given });
    if (!embs.data.every(Number.isFinite)) throw new Error("This recording cannot be used.");
    return { vector: unit(embs.data), seconds: seconds.data[0] };
  },

  // mean and standard deviation of the highest cosines with the cohort, as in spkver/verify/cohort.py
  worth(vector) {
    const { top, vectors } = this.cohort;
    const highest = vectors.map((one) => dot(one, vector)).sort((a, b) => b - a).slice(0, top);
    const mean = highest.reduce((sum, value) => sum + value, 0) / highest.length;
    return [mean, Math.sqrt(highest.reduce((sum, value) => sum + (value - mean) ** 2, 0) / highest.length)];
  },

  score(one, other) { // S-norm, and the correction for seconds of speech, as in spkver/verify/lengths.py
    let score = Math.min(1, Math.max(-1, dot(one.vector, other.vector)));
    if (this.cohort) {
      const sides = [one, other].map(({ vector }) => this.worth(vector));
      score = sides.reduce((sum, [mean, deviation]) => sum + (score - mean) / deviation / 2, 0);
    }
    if (!this.lengths) return score;
    const { seconds, shift, slope, least, most } = this.lengths;
    const [a, b] = [one, other].map((side) => Math.max(side.seconds, this.least_seconds));
    const short = Math.log(1 / a + 1 / b) - Math.log(2 / seconds);
    const x = Math.min(most, Math.max(least, short));
    return score + x * (shift + slope * score);
  },

  ratio(score) { // natural-log likelihood ratio
    const { scale, offset, least, most } = this.calibration;
    return Math.min(most, Math.max(least, scale * score + offset));
  },

  person(recordings) {
    const sum = recordings[0].vector.map((_, at) => recordings.reduce((all, one) => all + one.vector[at], 0));
    return { vector: unit(sum), seconds: recordings.reduce((all, one) => all + one.seconds, 0) };
  },

  async people() {
    const people = [...this.book].map(([name, all]) => ({ name, recordings: all.length }));
    return people.sort((a, b) => a.name.localeCompare(b.name));
  },

  async identify(samples) {
    const found = await this.listen(samples);
    const candidates = [...this.book].map(([name, all]) => {
      const score = this.score(this.person(all), found);
      return { name, score, probability: 1 / (1 + Math.exp(-this.ratio(score))) };
    }).sort((a, b) => b.score - a.score).slice(0, 3);
    const [first, second] = candidates;
    const accepted = Boolean(first && first.score >= this.threshold);
    const apart = second ? this.calibration.scale * (first.score - second.score) : Infinity;
    return {
      name: accepted ? first.name : null,
      ambiguous: accepted && apart < Math.log(this.odds),
      threshold: this.threshold,
      candidates,
      doubts: this.doubts(samples, found),
      seconds: found.seconds,
    };
  },

  async enrol(name, samples) {
    const found = await this.listen(samples);
    this.book.set(name, [...(this.book.get(name) ?? []), found]);
    return this.doubts(samples, found);
  },

  async forget(name) { this.book.delete(name); },

  doubts(samples, { seconds }) { // those of spkver/verify/doubts.py that matter with a microphone
    const lines = [];
    if (seconds < this.short_seconds) {
      lines.push(`short: ${seconds.toFixed(1)} s of speech; from ${this.short_seconds} s on, errors are much rarer`);
    }
    const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const flat = samples.reduce((count, value) => count + (Math.abs(value) >= peak - 1e-4), 0) / samples.length;
    if (peak >= 0.1 && flat > this.clipped_share) lines.push("clipped: speak from further away");
    if (peak < 0.02) lines.push("very quiet: speak closer to the microphone");
    return lines;
  },
};
