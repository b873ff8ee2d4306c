"use strict";
// The page of voices: record, identify, enrol, forget. An engine, in a script before this one, does the work:
//   engine.rate                 Hz of the samples that it takes
//   engine.start()              called once, before anything else; resolves when it is ready
//   engine.people()             [{name, recordings}]
//   engine.identify(samples)    {name, ambiguous, threshold, candidates: [{name, score, probability}], doubts, seconds}
//   engine.enrol(name, samples) warnings, a list of lines
//   engine.forget(name)
//   engine.limits               [least, most] score of the scale

const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const MOST_SECONDS = 60;
const CLICK_SECONDS = 0.35; // a shorter press starts a recording that the next press ends
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

let heard = null; // samples of the last recording
let busy = false;

// --- microphone

// Samples are collected in a worklet, at the rate of the device, and resampled by the browser when they are complete.
const COLLECTOR = `registerProcessor("collect", class extends AudioWorkletProcessor {
  process(inputs) { if (inputs[0].length) this.port.postMessage(inputs[0][0].slice()); return true; }
});`;

class Microphone {
  async open() {
    if (!navigator.mediaDevices) throw new Error("the browser gives none to this address; use https or localhost");
    const wish = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: wish });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(COLLECTOR)}`);
    this.pieces = [];
    this.node = new AudioWorkletNode(this.context, "collect", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => {
      this.pieces.push(data);
      const level = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length);
      $("record").style.setProperty("--level", Math.min(1, level * 6).toFixed(2));
    };
    this.context.createMediaStreamSource(this.stream).connect(this.node);
  }
  get seconds() { return (this.pieces.length * this.pieces[0]?.length || 0) / this.context.sampleRate; }
  async close() { // releases the microphone
    this.node.port.onmessage = null;
    this.stream.getTracks().forEach((track) => track.stop());
    $("record").style.removeProperty("--level");
    const rate = this.context.sampleRate;
    await this.context.close();
    return resampled(joined(this.pieces), rate);
  }
}

function joined(pieces) {
  const all = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) { all.set(piece, at); at += piece.length; }
  return all;
}

async function resampled(samples, rate) {
  if (rate === engine.rate || !samples.length) return samples;
  const context = new OfflineAudioContext(1, Math.ceil((samples.length * engine.rate) / rate), engine.rate);
  const buffer = context.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(samples, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

async function decoded(file) { // the first channel of a file
  const context = new OfflineAudioContext(1, 1, engine.rate);
  return (await context.decodeAudioData(await file.arrayBuffer())).getChannelData(0);
}

// --- recording, by a button that is held or pressed twice

let microphone = null, pressed = 0, timer = 0;

async function press() {
  if (busy) return;
  if (microphone) return release(true);
  pressed = performance.now();
  const opening = new Microphone();
  microphone = opening;
  say("Allow the microphone, then speak.");
  try {
    await opening.open();
  } catch (error) {
    microphone = null;
    const refused = error.name === "NotAllowedError";
    return say(refused ? "The browser did not allow the microphone." : `No microphone: ${error.message}`);
  }
  $("record").setAttribute("aria-pressed", "true");
  $("record").textContent = "Listening";
  timer = setInterval(() => {
    say(`${opening.seconds.toFixed(1)} s. Release the button, or press it again, to end.`);
    if (opening.seconds > MOST_SECONDS) release(true);
  }, 100);
}

async function release(always) {
  if (!microphone?.node) return;
  if (!always && (performance.now() - pressed) / 1000 < CLICK_SECONDS) return;
  const closing = microphone;
  microphone = null;
  clearInterval(timer);
  $("record").setAttribute("aria-pressed", "false");
  $("record").textContent = "Hold and speak";
  await listen(() => closing.close());
}

// --- answers

const say = (line) => { $("state").textContent = line; };

async function working(line, work) {
  busy = true;
  $("record").disabled = true;
  say(line);
  try {
    await work();
    say(" ");
  } catch (error) {
    say(error.message);
  }
  busy = false;
  $("record").disabled = false;
}

const listen = (give) => working("Listening to it …", async () => {
  heard = null;
  $("keep").hidden = true;
  const samples = await give();
  const found = await engine.identify(samples);
  heard = samples;
  $("keep").hidden = false;
  show(found);
});

function show(found) {
  const known = found.candidates.length > 0;
  const names = found.candidates.map((one) => one.name);
  const title = !known ? "Nobody is enrolled yet"
    : found.ambiguous ? `${names[0]} or ${names[1]}`
      : found.name ? `This is ${found.name}` : "Nobody known";
  const answer = $("answer");
  answer.replaceChildren(make("h3", { textContent: title }));
  if (!known) answer.append(paragraph("Give this voice a name below. Then speak again, to be recognised."));
  if (found.ambiguous) answer.append(paragraph("Ambiguous: the two sound alike. Speak longer."));
  for (const one of found.candidates) {
    const same = one.score >= found.threshold;
    const words = [`score ${number(one.score)}`];
    if (one.probability != null) words.push(`same speaker: ${percent(one.probability)}`);
    const scale = make("div", { className: "scale", role: "img" }, make("i"), make("b"));
    scale.setAttribute("aria-label", `score ${number(one.score)}, threshold ${number(found.threshold)}`);
    scale.children[0].style.width = place(one.score);
    scale.children[1].style.left = place(found.threshold);
    const line = make("div", { className: "names" },
      make("span", { textContent: one.name }), make("span", { textContent: words.join(", ") }));
    answer.append(make("div", { className: same ? "candidate same" : "candidate" }, line, scale));
  }
  if (known) {
    const note = `The line is the threshold, ${number(found.threshold)}. The probability assumes that the same and `
      + "another speaker are equally likely beforehand.";
    answer.append(paragraph(note, "note"));
  }
  answer.append(...bullets(found.doubts));
  if (found.name && !found.ambiguous) $("name").value = found.name;
}

const paragraph = (words, kind = "") => make("p", { className: kind, textContent: words });
const bullets = (lines) =>
  lines.length ? [make("ul", {}, ...lines.map((line) => make("li", { textContent: line })))] : [];
const number = (value) => value.toFixed(2).replace("-", "−");
const place = (score) => {
  const [least, most] = engine.limits;
  return `${(100 * Math.min(1, Math.max(0, (score - least) / (most - least)))).toFixed(1)}%`;
};
const percent = (share) => {
  if (share > 0.999 || share < 0.001) return share > 0.5 ? "over 99.9 %" : "under 0.1 %";
  return `${(100 * share).toFixed(share < 0.01 || share > 0.99 ? 1 : 0)} %`;
};

// --- people

async function list() {
  const people = await engine.people();
  $("people").replaceChildren(...people.map(({ name, recordings }) => {
    const button = make("button", { type: "button", textContent: "Forget" });
    button.setAttribute("aria-label", `Forget ${name}`);
    button.addEventListener("click", () => working("Forgetting …", async () => {
      await engine.forget(name);
      await list();
    }));
    const count = make("small", { textContent: plural(recordings, "recording") });
    return make("li", {}, make("span", { textContent: name }, count), button);
  }));
  $("nobody").hidden = people.length > 0;
}

async function keep(event) {
  event.preventDefault();
  const name = $("name").value.trim().normalize("NFC");
  if (!heard || !name) return say("Give a name.");
  const samples = heard;
  await working("Enrolling …", async () => {
    const warnings = await engine.enrol(name, samples);
    heard = null;
    $("keep").reset();
    $("keep").hidden = true;
    $("answer").replaceChildren(
      make("h3", { textContent: `${name} is enrolled` }),
      paragraph("Speak again, to be recognised. Several recordings of a person make the answer surer."),
      ...bullets(warnings),
    );
    await list();
  });
}

const button = $("record");
button.addEventListener("pointerdown", (event) => { if (event.button === 0) press(); });
for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, () => release(false));
button.addEventListener("contextmenu", (event) => event.preventDefault());
const presses = (event) => event.key === " " || event.key === "Enter";
button.addEventListener("keydown", (event) => {
  if (!presses(event)) return;
  event.preventDefault();
  if (!event.repeat) press();
});
button.addEventListener("keyup", (event) => { if (presses(event)) release(false); });
$("file").addEventListener("change", async () => {
  const [file] = $("file").files;
  if (file && !busy) await listen(() => decoded(file).catch(() => {
    throw new Error(`${file.name}: the browser cannot read this recording.`);
  }));
  $("file").value = "";
});
$("keep").addEventListener("submit", keep);
working("Loading …", async () => { await engine.start(); await list(); });
