// A transcript beside its sound: words are marked as they are said, a click on one plays from there, and a search
// goes from hit to hit.
"use strict";

const audio = document.querySelector("audio");
const text = document.getElementById("transcript");
const said = text ? [...text.querySelectorAll(".w")] : [];
const words = said.filter((word) => word.dataset.start !== undefined);
const starts = words.map((word) => Number(word.dataset.start));
let current = -1;

// The last word that has begun; words are in order, so halving finds it.
function at(seconds) {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= seconds) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function mark(seconds) {
  const now = at(seconds);
  if (now === current) return;
  if (current >= 0) words[current].classList.remove("now");
  current = now;
  if (now < 0) return;
  words[now].classList.add("now");
  const place = words[now].getBoundingClientRect();
  if (!audio.paused && (place.top < 120 || place.bottom > innerHeight - 60)) {
    words[now].scrollIntoView({ block: "center", behavior: calm() ? "auto" : "smooth" });
  }
}

function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

function seek(seconds, play) {
  if (!audio) return;
  audio.currentTime = seconds;
  if (play) audio.play().catch(() => {});
  mark(seconds);
}

if (audio && words.length) {
  let frame = 0;
  const follow = () => {
    mark(audio.currentTime);
    frame = requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => { cancelAnimationFrame(frame); follow(); });
  audio.addEventListener("pause", () => cancelAnimationFrame(frame));
  audio.addEventListener("seeked", () => mark(audio.currentTime));
}

if (text) {
  text.addEventListener("click", (event) => {
    const target = event.target.closest("[data-start]");
    if (!target || String(getSelection())) return;
    seek(Number(target.dataset.start), true);
    // A button that a pointer has pressed would take the space key, which plays and pauses.
    if (event.detail) target.blur();
  });
}

// "#t=12.3" in the address: from a search over all transcripts.
const place = /^#t=([\d.]+)$/.exec(location.hash);
if (place && words.length) {
  const word = words[Math.max(at(Number(place[1])), 0)];
  word.scrollIntoView({ block: "center" });
  word.classList.add("now");
  if (audio) audio.addEventListener("loadedmetadata", () => seek(Number(place[1]), false), { once: true });
}

// The space key plays and pauses wherever nothing else wants it.
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || !audio || event.target.closest("input, button, a, audio, select, textarea, summary")) return;
  event.preventDefault();
  if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
});

const field = document.getElementById("q");
const told = document.getElementById("found");
let hits = [];
let chosen = -1;

let passages = null;
let indexed = null;

function find() {
  for (const word of text.querySelectorAll(".hit, .chosen")) word.classList.remove("hit", "chosen");
  if (!passages) {
    passages = finding.passages(said.map((span) => ({ span, text: span.textContent, first: "first" in span.dataset, spaced: span.nextSibling?.nodeType === Node.TEXT_NODE })));
    indexed = finding.indexed(passages);
  }
  chosen = -1;
  hits = finding.hits(indexed, field.value).map((hit) => {
    const found = finding.words(passages, hit).map((word) => word.span);
    for (const span of found) span.classList.add("hit");
    return found[0];
  });
  tell();
}

function tell() {
  const many = hits.length;
  told.textContent = !field.value.trim() ? "" : many ? `${chosen >= 0 ? `${chosen + 1} of ` : ""}${many} ${many === 1 ? "hit" : "hits"}` : "Not said";
  document.getElementById("before").hidden = document.getElementById("after").hidden = !many;
}

function go(by) {
  if (!hits.length) return;
  if (chosen >= 0) hits[chosen].classList.remove("chosen");
  chosen = (chosen + by + hits.length + (chosen < 0 && by < 0 ? 1 : 0)) % hits.length;
  hits[chosen].classList.add("chosen");
  hits[chosen].scrollIntoView({ block: "center", behavior: calm() ? "auto" : "smooth" });
  if (hits[chosen].dataset.start !== undefined) seek(Number(hits[chosen].dataset.start), false);
  tell();
}

if (text && field) {
  field.addEventListener("input", find);
  field.form.addEventListener("submit", (event) => { event.preventDefault(); go(1); });
  document.getElementById("before").addEventListener("click", () => go(-1));
  document.getElementById("after").addEventListener("click", () => go(1));
  if (field.value) find();
}
