// Shows the HTML from the server, and sends answers to the server.
"use strict";
const role = document.body.dataset.role,
  at = (id) => document.getElementById(id);
const [key, proof] = JSON.parse(sessionStorage.getItem(role) || "[null, null]");
const shown = ["calls", "qr", "form"];
const LOST =
  "The connection to mfa-kit is lost. " + (role === "admin" ? "Look at the terminal." : "Please ask the admin.");
const OTHER =
  "Another window has this page. " +
  (role === "admin"
    ? "If you have closed that window, the terminal shows a new address."
    : "If you cannot find it, ask the admin.");
let over = false,
  live = false,
  failures = 0,
  goneAt = null,
  focusIn = "";

const forget = () => {
  live = false;
  for (const id of shown) if (at(id)) at(id).replaceChildren();
  goneAt = null;
};
const tell = (text) => {
  at("connection").textContent = text;
  at("connection").hidden = !text;
};

// Adds the new lines of the log and keeps the others, because a screen reader reads each new element.
function addLines(list, html) {
  const news = document.createElement("template");
  news.innerHTML = html;
  const lines = [...news.content.querySelectorAll("li")];
  for (const line of list.querySelectorAll("li")) if (!lines.some(({ id }) => id === line.id)) line.remove();
  list.append(...lines.filter(({ id }) => !at(id)));
}

// The QR code gets the height that is left in the window, so that a phone sees all of it.
function fit() {
  const code = document.querySelector(".qr");
  if (code) code.style.setProperty("--room", `${innerHeight - code.getBoundingClientRect().top - scrollY - 8}px`);
}

function show(id, html) {
  const place = at(id),
    active = document.activeElement,
    was = place.contains(active) ? active.id : "";
  if (was) focusIn = id;
  else if (active !== document.body) focusIn = "";
  const list = id === "log" && place.querySelector("ul");
  if (list) addLines(list, html);
  else place.innerHTML = html;
  const next = (id === "form" && place.querySelector("[data-focus]")) || (was && at(was));
  if (next && !next.disabled && (focusIn === id || role === "colleague")) next.focus();
  const gone = place.querySelector("[data-gone]");
  if (id === "log") place.scrollTop = place.scrollHeight;
  if (id === "qr") goneAt = gone ? Date.now() + 1000 * gone.dataset.gone : null;
}

function tick() {
  fit();
  const left = document.querySelector("[data-next]");
  if (left) {
    const past = (Date.now() - 1000 * left.dataset.next) % 30000;
    left.textContent = Math.ceil((past > 0 ? 30000 - past : -past) / 1000) + " s";
  }
  if (goneAt !== null && goneAt <= Date.now()) {
    at("qr").replaceChildren();
    goneAt = null;
  }
}

async function act(said) {
  if (!live) throw new Error("the server is not known");
  const headers = { "content-type": "application/json", "x-key": key };
  const response = await fetch(`/${role}/act`, { method: "POST", headers, body: JSON.stringify(said) });
  return response.ok ? response.json() : null;
}

function answer(form) {
  const field = form.querySelector("input:not([readonly])");
  if (form.dataset.sent) return;
  form.dataset.sent = "yes";
  act({ do: "answer", number: +form.dataset.number, text: field.value }).catch(() => tell(LOST));
}

document.addEventListener("submit", (event) => {
  event.preventDefault();
  answer(event.target);
});
document.addEventListener("input", ({ target }) => {
  if (target.dataset.code !== undefined && /^\d{6}$/.test(target.value.replace(/\s/g, ""))) answer(target.form);
});
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("button[data-do]");
  if (!button) return;
  const said = { do: button.dataset.do, text: button.dataset.text || "", number: +button.dataset.number || 0 };
  const got = await act(said).catch(() => tell(LOST));
  if (got && /^\/open\/[\w-]+$/.test(got.address)) window.open(got.address, "_blank", "noopener");
});
window.addEventListener("resize", fit);
window.addEventListener("pagehide", forget);
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

function take(line) {
  const news = JSON.parse(line);
  if (news.proof !== undefined) {
    if (news.proof !== proof) throw new Error("another program answers");
    failures = 0;
    return tell("");
  }
  if (news.replaced) {
    over = true;
    forget();
    return tell("This view was opened in another window. Close this one.");
  }
  for (const [id, html] of Object.entries(news.parts)) show(id, html);
  tick();
  if (news.ended) over = true;
}

async function listen() {
  const response = await fetch(`/${role}/news`, { headers: { "x-key": key } });
  if (!response.ok) {
    over = true;
    throw new Error("refused");
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "",
    proven = false;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!proven && JSON.parse(line).proof !== proof) {
        over = true;
        throw new Error("another program answers");
      }
      proven = live = true;
      take(line);
    }
  }
}

async function run() {
  if (key === null) return tell(OTHER);
  while (!over && failures < 30) {
    await listen().catch(() => {});
    if (over && !at("connection").textContent && at("end").textContent) return;
    forget();
    failures += 1;
    if (!at("connection").textContent) tell(LOST);
    await new Promise((next) => setTimeout(next, failures < 5 ? 200 : 1000));
  }
}
setInterval(tick, 250);
run();
