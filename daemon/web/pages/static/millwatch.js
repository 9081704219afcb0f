// What every page shares: asking the server, telling what came of it, parts that stay up to date.

const token = document.querySelector('meta[name="millwatch-token"]')?.content ?? "";
const notice = document.getElementById("notice");
const SILENT_MS = 10000;
let silence = 0;
let leaving = false;

/** Tell something for a few seconds; a screen reader reads it out. */
export function tell(text, bad = false) {
  clearTimeout(silence);
  notice.className = bad ? "bad" : "";
  notice.textContent = text;
  silence = setTimeout(() => { notice.textContent = ""; }, bad ? 8000 : 3500);
}

/** Whose session is over comes back to the page, and the filter, that this is. */
function logIn(more = {}) {
  location.assign(`/login?${new URLSearchParams({ ...more, next: location.pathname + location.search })}`);
}

/** The JSON that the server answers with. Throws an Error with its words, and `status`; 0 where the answer was lost. */
export async function ask(address, method = "GET", document_ = undefined) {
  const lost = () => {
    throw Object.assign(new Error("Millwatch does not answer; is it running?"), { status: 0 });
  };
  const answer = await fetch(address, {
    method,
    headers: { "x-millwatch-token": token, ...(document_ && { "content-type": "application/json" }) },
    body: document_ && JSON.stringify(document_),
  }).catch(lost);
  if (answer.status === 401 && !leaving) {
    leaving = true;
    logIn(method === "GET" ? {} : { lost: "yes" });
  }
  const known = answer.headers.get("content-type")?.startsWith("application/json");
  const told = known ? await answer.json().catch(lost) : {};
  if (!answer.ok) {
    throw Object.assign(new Error(told.detail ?? `It failed (${answer.status}).`), { status: answer.status });
  }
  return told;
}

for (const select of document.querySelectorAll("[data-submit]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

const isAskedFor = (live) => live.querySelector("button[data-post]:disabled") !== null;

// The server renders a live part as it renders the page; only what changed is put in its place.
for (const live of document.querySelectorAll("[data-live]")) {
  let before = "";
  let asking = false;
  const renew = async () => {
    // Who is slow to answer is asked one thing at a time.
    if (document.hidden || asking || isAskedFor(live)) return;
    asking = true;
    const answer = await fetch(live.dataset.live, { signal: AbortSignal.timeout?.(SILENT_MS) }).catch(() => null);
    const html = answer?.ok ? await answer.text().catch(() => null) : null;
    asking = false;
    if (answer?.redirected) logIn();
    else if (html === null) tell("Millwatch does not answer; what is shown may be old.", true);
    else if (html !== before && !isAskedFor(live)) { put(live, html); before = html; }
  };
  setInterval(renew, 1000 * Number(live.dataset.every));
}

/** Put a part in its place; whoever reads what is wide, or is about to press a button, stays there. */
function put(live, html) {
  const wide = () => [...live.querySelectorAll(".scroll")];
  const held = live.contains(document.activeElement) ? document.activeElement : null;
  const at = wide().indexOf(held);
  const asides = wide().map((each) => each.scrollLeft);
  live.innerHTML = html;
  wide().forEach((each, number) => { if (asides[number]) each.scrollTo(asides[number], 0); });
  const post = held?.dataset.post;
  const same = post ? live.querySelector(`[data-post="${CSS.escape(post)}"]`) : wide()[at];
  if (held) same?.focus({ preventScroll: true });
}

// A button with data-post does that, once it was asked for with its own words.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  event.preventDefault();  // its form is for browsers without a script
  if (!confirm(button.dataset.confirm)) return;
  button.disabled = true;
  try {
    await ask(button.dataset.post, "POST", button.dataset.body && JSON.parse(button.dataset.body));
    location.reload();
  } catch (error) {
    tell(error.message, true);
    button.disabled = false;
  }
});

/** A key as a button shows it. */
export function key(text) {
  const made = document.createElement("kbd");
  made.textContent = text;
  return made;
}

/** What a key stands for, in small letters: digits want Shift on a French keyboard, a Russian one has other letters. */
export function keyOf(event) {
  const isKnown = event.shiftKey || event.key.length > 1 || /[a-z0-9]/i.test(event.key);
  return (isKnown ? event.key : event.code.replace(/^(Digit|Key)/, "")).toLowerCase();
}

/** Whether a key is meant for a field, or for the browser. */
export function isTyping(event) {
  return event.ctrlKey || event.metaKey || event.altKey
    || event.target.closest("input, select, textarea, dialog") !== null;
}

/** Show a picture or its heatmap. */
export function toggleHeatmap(image, button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  image.dataset.picture ??= image.getAttribute("src");
  image.src = on ? image.dataset.heatmap : image.dataset.picture;
  button.setAttribute("aria-pressed", String(on));
}

const shown = document.querySelector("img[data-heatmap]");
const heat = document.getElementById("heat");
if (shown && heat && document.body.classList.contains("image")) {
  const unseen = document.getElementById("unseen");
  const tellWhy = async () => {
    const why = await ask(shown.getAttribute("src")).then(() => "this browser cannot show it", (error) => error.message);
    unseen.textContent = `Not to be seen: ${why}.`;
    unseen.hidden = false;
  };
  shown.addEventListener("load", () => { unseen.hidden = true; });
  shown.addEventListener("error", tellWhy);
  if (shown.complete && shown.naturalWidth === 0) tellWhy();  // it failed before this script ran
  heat.addEventListener("click", () => toggleHeatmap(shown, heat));
  document.addEventListener("keydown", (event) => {
    if (!isTyping(event) && keyOf(event) === "h") toggleHeatmap(shown, heat);
  });
}
