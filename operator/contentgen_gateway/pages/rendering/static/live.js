// A job's progress as it happens, over Server-Sent Events; when the run ends, the page is loaded anew.
"use strict";

const FIRST_PAUSE_MS = 5000;
const LONGEST_PAUSE_MS = 60000;
const live = document.querySelector("[data-live]");

function follow(jobId) {
  const source = new EventSource(`/api/stream/job/${encodeURIComponent(jobId)}`);
  const told = (event) => {
    const now = JSON.parse(event.data);
    show(jobId, now);
    return now;
  };
  source.addEventListener("progress", told);
  source.addEventListener("stage", told);
  source.addEventListener("message", told);
  source.addEventListener("end", () => {
    source.close();
    location.reload();
  });
  return source;
}

function show(jobId, now) {
  if (typeof now.progress === "number") {
    const bar = live.querySelector(`[data-progress="${CSS.escape(jobId)}"]`);
    const text = live.querySelector(`[data-progress-text="${CSS.escape(jobId)}"]`);
    if (bar) bar.value = now.progress;
    if (text) text.textContent = `${now.progress} %`;
  }
  if (now.message) live.querySelector("[data-live-note]").textContent = now.message;
  const current = now.stage && live.querySelector(`[data-step="${CSS.escape(now.stage)}"]`);
  if (current && !current.classList.contains("step-now")) location.reload();
}

// EventSource reconnects after a lost connection, but not after a status such as 503 (API server unavailable) or 429.
function followAgain(jobId) {
  let source, timer, pause = FIRST_PAUSE_MS;
  const start = () => {
    source = follow(jobId);
    source.addEventListener("open", () => { pause = FIRST_PAUSE_MS; });
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(start, pause * (0.5 + Math.random() / 2));
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    });
  };
  const stop = () => {
    clearTimeout(timer);
    source.close();
  };
  start();
  return { start, stop };
}

// A browser has few connections to one host: a page that nobody looks at gives its one back.
if (live) {
  const following = followAgain(live.dataset.live);
  document.addEventListener("visibilitychange", () => {
    following.stop();
    if (document.visibilityState === "visible") following.start();
  });
}
