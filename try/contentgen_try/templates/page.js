// A click on a time plays the recording from there; the segment that is being played is marked.
for (const section of document.querySelectorAll("section")) {
  const audio = section.querySelector("audio");
  if (!audio) continue;
  const items = [...section.querySelectorAll("li[data-start]")];
  const starts = items.map((item) => Number(item.dataset.start));
  items.forEach((item, i) => item.querySelector("a").addEventListener("click", (event) => {
    event.preventDefault();
    audio.currentTime = starts[i];
    audio.play();
  }));
  audio.addEventListener("timeupdate", () => {
    const now = starts.findLastIndex((start) => start <= audio.currentTime + 0.05);
    items.forEach((item, i) => item.classList.toggle("now", i === now));
  });
}
