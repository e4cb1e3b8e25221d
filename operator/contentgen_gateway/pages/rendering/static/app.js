// What a browser can do beyond links and forms; everything works without it.
"use strict";

// "/" goes to the search, as on many sites; never while somebody types.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const find = document.getElementById("find");
  if (find) {
    event.preventDefault();
    find.focus();
    find.select();
  }
});

// Buttons that copy are there only where copying works.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.setAttribute("aria-label", "Copied");
  });
}

// Arrow keys go to the neighbours of a picture or a page of a list.
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, audio, video, [contenteditable]")) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`a[rel="${rel}"]`);
  if (link) link.click();
});

// Nobody looks at a page that is hidden: what it asks for again and again can wait.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.requestConfig.verb === "get") event.preventDefault();
});

// Parts that somebody has opened stay open when the page is refreshed.
const opened = new Set();
document.addEventListener("toggle", ({ target }) => {
  if (target.id) opened[target.open ? "add" : "delete"](target.id);
}, true);
for (const swapped of ["htmx:afterSwap", "htmx:oobAfterSwap"]) {
  document.addEventListener(swapped, () => {
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  });
}

// A change that the server refuses is told, wherever it was asked for.
document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  let note = document.getElementById("refused");
  if (!note) {
    note = document.createElement("p");
    note.id = "refused";
    note.className = "refused";
    note.setAttribute("role", "alert");
    document.body.append(note);
  }
  note.textContent = status === 429 ? "Too many requests: wait a few seconds." : `That did not work (${status}). Load the page anew.`;
});
