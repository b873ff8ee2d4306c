"use strict";
// Without the script, the page has the same content, but no sorting, filters, readouts or play buttons.

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const labelled = (text, control) => make("label", {}, text, control);

// --- tables: sort by column, filter by text and by value

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const key = (row, column) => row.cells[column].textContent.trim();
  heads.forEach((head, column) => {
    const number = head.classList.contains("number");
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => (number ? parseFloat(key(row, column).replace("−", "-")) : key(row, column));
      const compare = (a, b) => {
        const [one, other] = [value(a), value(b)];
        if (!number) return one.localeCompare(other) * (down ? -1 : 1);
        if (isNaN(one) || isNaN(other)) return isNaN(one) - isNaN(other);
        return (one - other) * (down ? -1 : 1);
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
  const rows = [...body.rows];
  const search = make("input", { type: "search", autocomplete: "off" });
  const choices = (table.dataset.pick || "").split(" ").filter(Boolean).map(Number).map((column) => {
    const names = [...new Set(rows.map((row) => key(row, column)))].sort();
    return { column, names, select: make("select", {}, new Option("all", ""), ...names.map((name) => new Option(name))) };
  }).filter((choice) => choice.names.length > 1);
  const count = make("output", { className: "count" });
  count.setAttribute("aria-live", "polite");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(words.every((word) => text.includes(word)) &&
        choices.every(({ column, select }) => !select.selectedIndex || key(row, column) === select.value));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  search.addEventListener("input", filter);
  choices.forEach(({ select }) => select.addEventListener("change", filter));
  const pickers = choices.map(({ column, select }) => labelled(heads[column].textContent.trim(), select));
  table.closest(".wide").before(make("div", { className: "controls" }, labelled("find", search), ...pickers, count));
  filter();
}

// --- charts: readout of the lines at the pointer, or at the position set by the arrow keys

function normal(z) { // the normal distribution: Abramowitz and Stegun 26.2.17
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const tail = Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI) *
    t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return z > 0 ? 1 - tail : tail;
}

function axis(text) {
  const [scale, low, high, ...unit] = text.split(" ");
  return (share) => {
    const value = +low + share * (high - low);
    const number = scale === "probit" ? 100 * normal(value) : value;
    return `${Number(number.toPrecision(3))}${scale === "probit" ? " %" : unit.join(" ") && " " + unit.join(" ")}`;
  };
}

function readable(chart) {
  const inside = chart.querySelector(".inside");
  const lines = [...chart.querySelectorAll("[data-name]")].map((path) => ({
    name: path.dataset.name,
    points: path.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number)),
  }));
  if (!lines.length) return;
  const [x, y] = [axis(chart.dataset.x), axis(chart.dataset.y)];
  const [width, height] = [inside.width.baseVal.value, inside.height.baseVal.value];
  const output = chart.closest("figure").querySelector(".readout");
  const cross = inside.querySelector(".grid").cloneNode();
  cross.setAttribute("class", "cross");
  const at = (points, place) => {
    for (let i = 1; i < points.length; i++) {
      const [[a, b], [c, d]] = [points[i - 1], points[i]];
      if (Math.min(a, c) <= place && place <= Math.max(a, c)) return a === c ? d : b + (d - b) * (place - a) / (c - a);
    }
    return null;
  };
  let place = width / 2;
  const show = () => {
    place = Math.max(0, Math.min(width, place));
    cross.setAttribute("d", `M${place} 0V${height}`);
    inside.append(cross);
    const said = lines.map(({ name, points }) => [name, at(points, place)]).filter(([, up]) => up !== null && up > -1 && up < height + 1)
      .map(([name, up]) => `${name} ${y(1 - up / height)}`);
    output.textContent = `at ${x(place / width)}: ${said.join("; ") || "nothing"}`;
  };
  const clear = () => { cross.remove(); output.textContent = ""; };
  chart.addEventListener("pointermove", (event) => {
    place = (event.clientX - inside.getScreenCTM().e) / inside.getScreenCTM().a;
    show();
  });
  chart.addEventListener("pointerleave", clear);
  chart.tabIndex = 0;
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    place += step * width / (event.shiftKey ? 100 : 25);
    show();
  });
  chart.addEventListener("blur", clear);
}

// --- maps: highlight one group

function choosable(chart) {
  const groups = [...chart.querySelectorAll("[data-group]")];
  if (!groups.length) return;
  const names = groups.map((group) => group.dataset.group);
  const select = make("select", {}, new Option("all", ""), ...names.map((name) => new Option(name)));
  const choose = () => {
    chart.classList.toggle("chosen", select.selectedIndex > 0);
    groups.forEach((group, number) => group.classList.toggle("on", select.selectedIndex === number + 1));
  };
  select.addEventListener("change", choose);
  groups.forEach((group, number) => group.addEventListener("click", () => {
    select.selectedIndex = select.selectedIndex === number + 1 ? 0 : number + 1;
    choose();
  }));
  chart.before(make("div", { className: "controls" }, labelled("bring out", select)));
}

// --- recordings: turn links to recordings into play buttons

function playable(link) {
  const audio = document.getElementById(link.hash.slice(1));
  if (!audio) return;
  const button = make("button", { type: "button", className: "play", textContent: "▶" });
  button.setAttribute("aria-label", `play ${link.dataset.recording}`);
  button.dataset.plays = audio.id;
  button.addEventListener("click", () => {
    const playing = !audio.paused;
    document.querySelectorAll("audio").forEach((other) => other.pause());
    if (!playing) { audio.currentTime = 0; audio.play(); }
  });
  const mark = () => { button.textContent = audio.paused ? "▶" : "■"; };
  ["play", "pause", "ended"].forEach((event) => audio.addEventListener(event, mark));
  link.replaceWith(button);
}

// --- timelines: a window of a recording, whose turns can be played

const clock = (seconds) => {
  const tenths = Math.round(seconds * 10);
  const [hours, minutes] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60];
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
};

function timeline(details, { seconds, tracks }) {
  const overview = details.querySelector(".overview");
  const audio = details.querySelector("audio");
  const lengths = [15, 60, 300, 1200].filter((length) => length < seconds);
  if (seconds <= 1200) lengths.push(seconds); // more turns than that are too many to select from
  let [from, length, end] = [0, lengths.find((one) => one >= 60) || lengths.at(-1), Infinity];

  const button = (text, act) => {
    const made = make("button", { type: "button", textContent: text });
    made.addEventListener("click", act);
    return made;
  };
  const zoom = make("select", {}, ...lengths.map((one) =>
    new Option(one === seconds ? "whole recording" : one < 60 ? `${one} s` : `${one / 60} min`, one, false, one === length)));
  const place = make("input", { type: "range", min: 0, step: "any", value: 0 });
  const moving = make("div", { className: "controls" }, labelled("from", place),
    button("earlier", () => show(from - length * 0.9)), button("later", () => show(from + length * 0.9)));
  const readout = make("output", { className: "readout" });
  readout.setAttribute("aria-live", "polite");
  const errors = tracks.filter(([, kind]) => kind === "error").flatMap(([, , , spans]) => spans.map(([start]) => start))
    .sort((a, b) => a - b);
  const detail = make("div", { className: "lanes detail" });
  const strips = tracks.map(([name, kind, colour]) => {
    const strip = make("div", { className: "strip" });
    const label = make("span", { textContent: name, title: name });
    detail.append(make("div", { className: `lane ${kind} c${colour}` }, label, strip));
    return strip;
  });

  const show = (start) => {
    from = Math.max(0, Math.min(start, seconds - length));
    place.max = Math.max(0, seconds - length);
    place.step = Math.max(length / 4, 1);
    place.value = from;
    place.setAttribute("aria-valuetext", `${clock(from)} to ${clock(from + length)}`);
    overview.style.setProperty("--from", `${100 * from / seconds}%`);
    overview.style.setProperty("--span", `${100 * length / seconds}%`);
    overview.hidden = moving.hidden = length >= seconds;
    details.querySelector(".ends").replaceChildren(
      make("span", { textContent: clock(from) }), make("span", { textContent: clock(from + length) }));
    tracks.forEach(([name, kind, , spans], number) => {
      let first = 0;
      for (let above = spans.length; first < above;) { // the first that ends in the window
        const middle = (first + above) >> 1;
        if (spans[middle][1] <= from) first = middle + 1; else above = middle;
      }
      const buttons = [];
      for (let i = first; i < spans.length && spans[i][0] < from + length; i += 1) buttons.push(turn(name, kind, spans[i]));
      strips[number].replaceChildren(...buttons);
    });
    head();
  };
  const turn = (name, kind, [start, stop]) => {
    const what = `${name}${kind === "found" ? " (found)" : ""}, ${clock(start)} to ${clock(stop)}`;
    const made = button("", () => {
      readout.textContent = `${what}, ${(stop - start).toFixed(1)} s`;
      detail.querySelector(".playing")?.classList.remove("playing");
      made.classList.add("playing");
      if (audio) play(start, stop);
    });
    made.setAttribute("aria-label", audio ? `play ${what}` : what);
    made.title = what;
    const [left, right] = [Math.max(start, from), Math.min(stop, from + length)];
    made.style.left = `${100 * (left - from) / length}%`;
    made.style.width = `${100 * (right - left) / length}%`;
    return made;
  };
  const play = (start, stop) => {
    document.querySelectorAll("audio").forEach((other) => { if (other !== audio) other.pause(); });
    end = stop;
    audio.currentTime = start;
    audio.play().catch(() => { readout.textContent = "the recording cannot be played; is it where it was?"; });
  };
  const head = () => {
    const at = audio ? audio.currentTime : -1;
    detail.style.setProperty("--at", at >= from && at <= from + length && at > 0 ? `${100 * (at - from) / length}%` : "-1rem");
  };
  const follow = () => {
    if (audio.currentTime >= end) {
      audio.pause();
      end = Infinity;
    }
    if (!audio.paused && end === Infinity && (audio.currentTime < from || audio.currentTime > from + length)) show(audio.currentTime);
    head();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  if (audio) {
    audio.addEventListener("play", follow);
    audio.addEventListener("seeked", head);
  }
  zoom.addEventListener("change", () => {
    const middle = from + length / 2;
    length = Number(zoom.value);
    show(middle - length / 2);
  });
  place.addEventListener("input", () => show(Number(place.value)));
  overview.addEventListener("click", (event) => {
    const box = overview.querySelector(".strip").getBoundingClientRect();
    show(seconds * (event.clientX - box.left) / box.width - length / 2);
  });
  let last = -1;
  const jump = (next) => {
    if (next === undefined) { readout.textContent = "no further error"; return; }
    last = next;
    show(next - length / 4);
    readout.textContent = `error at ${clock(next)}`;
  };
  const controls = make("div", { className: "controls" }, labelled("show", zoom), moving);
  if (errors.length) {
    controls.append(button("previous error", () => jump(errors.findLast((one) => one < last))),
      button("next error", () => jump(errors.find((one) => one > last))));
  }
  overview.after(detail);
  details.append(controls, readout);
  show(0);
}

const timelines = document.getElementById("timelines");
if (timelines) {
  const data = JSON.parse(timelines.textContent);
  document.querySelectorAll("details.timeline").forEach((details) => {
    const build = () => {
      if (details.open && !details.querySelector(".detail")) timeline(details, data[Number(details.dataset.number)]);
    };
    details.addEventListener("toggle", build);
    build();
  });
}
document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("svg.chart").forEach((chart) => { readable(chart); choosable(chart); });
document.querySelectorAll("a.play").forEach(playable);
