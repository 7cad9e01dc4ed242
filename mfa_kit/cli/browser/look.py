"""The CSS and the script of the page. The script shows the HTML from the server, and sends answers to the server."""

STYLE = """
  [hidden] { display: none !important }
  body { max-width: 52rem; font-size: 17px }
  header { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: baseline; margin-bottom: 1rem }
  h1 { flex: 1 1 12rem; overflow-wrap: anywhere }
  .big { font-size: 22px; line-height: 1.3; margin: .6rem 0 }
  .said { min-height: 1.6em; font-weight: 600 }
  .qr { background: #fff; width: min(100%, 24rem); margin: 1rem 0; border-radius: 8px }
  .qr svg { display: block; width: 100%; height: auto }
  .secret { font-family: ui-monospace, monospace; white-space: pre-wrap }
  form, .buttons { display: flex; flex-wrap: wrap; gap: .8rem; align-items: end; margin: 1rem 0 }
  .buttons { align-items: stretch } .buttons span { display: contents }
  label { display: block; font-weight: 600 } .field { flex: 1 1 11rem; max-width: 17rem }
  input { font: inherit; font-size: 24px; width: 100%; box-sizing: border-box; padding: .4rem .6rem; color: var(--ink);
    background: var(--back); border: 2px solid var(--soft); border-radius: 6px; letter-spacing: .08em }
  input[readonly] { border-style: dashed; color: var(--soft) }
  button { font: inherit; padding: .55rem 1.1rem; min-height: 44px; border-radius: 6px; border: 2px solid var(--ink);
    background: var(--back); color: var(--ink); cursor: pointer }
  button.first { background: var(--ink); color: var(--back) }
  button:disabled { cursor: default; color: var(--soft); border-color: var(--line) }
  :focus-visible { outline: 3px solid var(--focus); outline-offset: 2px }
  :root { --focus: #0b57d0 }
  .left { font-variant-numeric: tabular-nums } #log { max-height: 20rem; overflow-y: auto }
  .log { margin: .5rem 0; padding: 0; list-style: none }
  .log li { border-top: 1px solid var(--line); padding: .3rem 0 } .log .wrong { font-weight: 600 }
  tr[aria-current] td { font-weight: 600 } tr[aria-current] td:first-child::before { content: "\\2192  " }
  @media screen and (prefers-color-scheme: dark) { :root { --focus: #a8c7fa } }
  @media screen and (max-width: 40rem) { td[data-head]::before { content: "" } button { flex: 1 1 40% }
    .field { max-width: none; flex-basis: 100% } }
  @media print { .qr, .secret { display: none } }
"""

SCRIPT = """
"use strict";
const role = document.body.dataset.role, at = (id) => document.getElementById(id);
const [key, proof] = JSON.parse(sessionStorage.getItem(role) || "[null, null]");
const shown = ["calls", "qr", "form"];
const LOST = "The connection to mfa-kit is lost. "
  + (role === "admin" ? "Look at the terminal." : "Please ask the admin.");
let over = false, live = false, failures = 0, goneAt = null, focusIn = "";

const forget = () => { live = false; for (const id of shown) if (at(id)) at(id).replaceChildren(); goneAt = null; };
const tell = (text) => { at("connection").textContent = text; at("connection").hidden = !text; };

function show(id, html) {
  const place = at(id), active = document.activeElement, was = place.contains(active) ? active.id : "";
  if (was) focusIn = id;
  else if (active !== document.body) focusIn = "";
  place.innerHTML = html;
  const next = (id === "form" && place.querySelector("[data-focus]")) || (was && at(was));
  if (next && !next.disabled && (focusIn === id || role === "colleague")) next.focus();
  const gone = place.querySelector("[data-gone]");
  if (id === "log") place.scrollTop = place.scrollHeight;
  if (id === "qr") goneAt = gone ? Date.now() + 1000 * gone.dataset.gone : null;
}

function tick() {
  const left = document.querySelector("[data-next]");
  if (left) {
    const over = (Date.now() - 1000 * left.dataset.next) % 30000;
    left.textContent = Math.ceil((over > 0 ? 30000 - over : -over) / 1000) + " s";
  }
  if (goneAt !== null && goneAt <= Date.now()) { at("qr").replaceChildren(); goneAt = null; }
}

async function act(said) {
  if (!live) throw new Error("the server is not known");
  const headers = { "content-type": "application/json", "x-key": key };
  const answer = await fetch(`/${role}/act`, { method: "POST", headers, body: JSON.stringify(said) });
  return answer.ok ? answer.json() : null;
}

function answer(form) {
  const field = form.querySelector("input:not([readonly])");
  if (form.dataset.sent) return;
  form.dataset.sent = "yes";
  act({ do: "answer", number: +form.dataset.number, text: field.value }).catch(() => tell(LOST));
}

document.addEventListener("submit", (event) => { event.preventDefault(); answer(event.target); });
document.addEventListener("input", ({ target }) => {
  if (target.dataset.code !== undefined && /^\\d{6}$/.test(target.value.replace(/\\s/g, ""))) answer(target.form);
});
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("button[data-do]");
  if (!button) return;
  const said = { do: button.dataset.do, text: button.dataset.text || "", number: +button.dataset.number || 0 };
  const got = await act(said).catch(() => tell(LOST));
  if (got && /^\\/open\\/[\\w-]+$/.test(got.address)) window.open(got.address, "_blank", "noopener");
});
window.addEventListener("pagehide", forget);
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

function take(line) {
  const news = JSON.parse(line);
  if (news.proof !== undefined) {
    if (news.proof !== proof) throw new Error("another program answers");
    failures = 0;
    return tell("");
  }
  if (news.replaced) { over = true; forget(); return tell("This view was opened in another window. Close this one."); }
  for (const [id, html] of Object.entries(news.parts)) show(id, html);
  tick();
  if (news.ended) over = true;
}

async function listen() {
  const response = await fetch(`/${role}/news`, { headers: { "x-key": key } });
  if (!response.ok) { over = true; throw new Error("refused"); }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", proven = false;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!proven && JSON.parse(line).proof !== proof) { over = true; throw new Error("another program answers"); }
      proven = live = true;
      take(line);
    }
  }
}

async function run() {
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
"""
