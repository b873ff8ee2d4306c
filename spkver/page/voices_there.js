"use strict";
// The engine of the page that `spkver serve` gives: every answer comes from the service.

const engine = {
  ...JSON.parse(document.getElementById("service").textContent),

  async ask(path, options = {}) {
    const token = document.getElementById("token")?.value.trim();
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const answer = await fetch(path, { ...options, headers }).catch(() => {
      throw new Error("The server does not answer.");
    });
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(found.error ?? `The server refused this (${answer.status}).`);
    return found;
  },

  async start() {
    document.getElementById("token")?.addEventListener("change", () => working("Loading …", list));
  },

  async people() {
    if (document.getElementById("token")?.value === "") return [];
    return (await this.ask("/v1/speakers")).speakers;
  },

  async identify(samples) {
    if (!(await this.people()).length) return { name: null, threshold: 0, candidates: [], doubts: [] };
    const options = { method: "POST", headers: { "Content-Type": "audio/wav" }, body: wav(samples, this.rate) };
    const found = await this.ask("/v1/identify?top=3", options);
    const candidates = found.candidates.map(({ name, score, log_likelihood_ratio: ratio }) => (
      { name, score, probability: ratio == null ? null : 1 / (1 + Math.exp(-ratio)) }));
    return { ...found, candidates, doubts: found.doubts.map(shortened) };
  },

  async enrol(name, samples) {
    const form = new FormData();
    form.set("name", name);
    form.set("purpose", "to be recognised by this service"); // what the box above the name says
    form.set("audio", wav(samples, this.rate), "voice.wav");
    return (await this.ask("/v1/enrol", { method: "POST", body: form })).doubts.map(shortened);
  },

  async forget(name) {
    const headers = { "Content-Type": "application/json" };
    await this.ask("/v1/forget", { method: "POST", headers, body: JSON.stringify({ name }) });
  },
};

const shortened = (line) => line.replace(/^audio( \d+)?: /, "");

function wav(samples, rate) { // 16-bit, one channel
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, words) => [...words].forEach((letter, place) => view.setUint8(at + place, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, at) => view.setInt16(44 + 2 * at, Math.max(-1, Math.min(1, value)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}
