// The page is complete without this. With it, the page follows what changes, filters as one types, and copies commands.
"use strict";
(() => {
  const live = document.getElementById("live");
  // What each part had last, as the server sent it.
  const last = new Map();
  let asked = 0;
  let shown = 0;

  // Whether what is shown is live.
  function say() {
    live.textContent = document.querySelector("[data-away]")
      ? "Not live: the server cannot read the store; trying again."
      : "Live: changes are shown as they happen.";
  }

  // Puts what the server says now in place of what is shown, and leaves alone what somebody is at.
  async function refresh() {
    const mine = ++asked;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
      const text = await answer.text();
      if (mine < shown) return;
      shown = mine;
      const fresh = new DOMParser().parseFromString(text, "text/html");
      document.title = fresh.title;
      for (const part of document.querySelectorAll("[data-part]")) {
        const next = fresh.getElementById(part.id);
        if (next && next.innerHTML !== last.get(part)) replace(part, next);
      }
      say();
    } catch {
      live.textContent = "The server does not answer; trying again.";
    }
  }

  function replace(part, next) {
    const focused = part.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const scrolls = new Map([...part.querySelectorAll(".scroll")].map((it) => [it.getAttribute("aria-label"), it.scrollLeft]));
    last.set(part, next.innerHTML);
    part.replaceChildren(...document.importNode(next, true).childNodes);
    for (const it of part.querySelectorAll(".scroll")) it.scrollLeft = scrolls.get(it.getAttribute("aria-label")) ?? 0;
    buttons(part);
    if (focused) part.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  function buttons(part) {
    if (!navigator.clipboard) return;
    for (const code of part.querySelectorAll("code.command")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.dataset.key = "copy " + code.textContent;
      button.setAttribute("aria-label", "Copy the command " + code.textContent);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
      code.after(" ", button);
    }
  }

  const filter = document.getElementById("filter");
  if (filter) {
    let later;
    const follow = () => {
      const query = new URLSearchParams(new FormData(filter));
      for (const [name, value] of [...query]) if (!value) query.delete(name);
      history.replaceState(null, "", "?" + query);
      refresh();
    };
    filter.addEventListener("input", () => { clearTimeout(later); later = setTimeout(follow, 150); });
    filter.addEventListener("submit", (event) => { event.preventDefault(); follow(); });
  }

  for (const part of document.querySelectorAll("[data-part]")) {
    last.set(part, part.innerHTML);
    buttons(part);
  }
  const events = new EventSource("api/v1/events");
  let begun = false;
  events.addEventListener("open", () => {
    say();
    // What happened while there was no connection.
    if (begun) refresh();
    begun = true;
  });
  events.addEventListener("message", refresh);
  // How long ago something was grows by itself.
  setInterval(() => { if (!document.hidden) refresh(); }, 60000);
  events.addEventListener("error", () => { live.textContent = "The connection is lost; trying again."; });
})();
